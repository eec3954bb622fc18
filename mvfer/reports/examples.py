"""A few tested scans with what the model says of them, for a picture. In: answers, a model and a split. Out: rows to draw."""

import torch

from modeling_mvfer.zeroshot_mvfer import class_scores
from mvfer.data.split_reader import SplitReader, frames_of
from mvfer.evaluation.classifiers import Classifier
from mvfer.evaluation.zero_shot import present_classes
from mvfer.reports.pictures import Prediction, displayable
from processing.cameras_mvfer import view_name


def example_rows(split) -> list[int]:
    """The first row of every class that occurs in the split (`datasets.Dataset`): not chosen by how well it is classified."""
    labels, every_name = list(split["expression"]), split.features["expression"].names
    return [labels.index(every_name.index(name)) for name in present_classes(split)]


@torch.no_grad()
def predictions(model, processor, chosen, classifier: Classifier) -> list[Prediction]:
    """What the model says of a few rows, with the scores that its pipelines give: calibrated where the model is.

    Args:
        model (`MVFERModel` or `MVFERForFaceClassification`, in evaluation mode), processor (`MVFERProcessor`).
        chosen (`datasets.Dataset`): labelled rows; classifier: from `classifier_of`.
    Returns:
        `list[Prediction]`: of a sequence, the middle frame is shown.
    """
    names = chosen.features["expression"].names
    image_processor = processor.image_processor
    shown = []
    for (index,), (scan,), inputs in SplitReader(model, image_processor, chosen, batch_size=1):
        output = model.get_image_features(**inputs)
        embeds = torch.nn.functional.normalize(output.pooler_output.float(), dim=-1)
        scores, _ = class_scores(classifier.logits(embeds), model.config, calibrated=classifier.calibrated)
        frames, weights = frames_of(scan), output.view_weights[0]  # weights (T, V)
        middle = len(frames) // 2
        shown.append(
            Prediction(
                title=chosen["id"][index],
                views=displayable(frames[middle], image_processor.channels),
                view_names=[view_name(angles) for angles in scan["view_angles_deg"].tolist()],
                probabilities=dict(zip(classifier.labels, scores[0].tolist(), strict=True)),
                view_weights=weights[middle].tolist(),
                true_label=names[chosen["expression"][index]],
            )
        )
    return shown
