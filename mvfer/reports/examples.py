"""A few tested scans with what the model says of them, for a picture. In: answers, a model and a split. Out: rows to draw."""

import torch

from modeling_mvfer.zeroshot_mvfer import class_scores
from mvfer.data.batching import Collator, ViewDataset
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
    scans = ViewDataset(chosen, num_frames=image_processor.num_frames, frames=image_processor.frames)
    collate = Collator(None, image_processor, phrases=False)
    shown = []
    for index, label in enumerate(chosen["expression"]):
        scan = scans[index] | {"captions": [], "known_captions": []}
        batch = {key: value.to(model.device) for key, value in collate([scan]).items()}
        batch["pixel_values"] = batch["pixel_values"].to(model.dtype)
        output = model.get_image_features(**batch)
        embeds = torch.nn.functional.normalize(output.pooler_output.float(), dim=-1)
        scores, _ = class_scores(classifier.logits(embeds), model.config, calibrated=classifier.calibrated)
        frames, weights = scan["views"], output.view_weights[0]  # weights (T, V)
        frames = frames if frames.ndim == 5 else frames[None]
        middle = len(frames) // 2
        shown.append(
            Prediction(
                title=chosen["id"][index],
                views=displayable(frames[middle], image_processor.channels),
                view_names=[view_name(angles) for angles in scan["view_angles_deg"].tolist()],
                probabilities=dict(zip(classifier.labels, scores[0].tolist(), strict=True)),
                view_weights=weights[middle].tolist(),
                true_label=names[label],
            )
        )
    return shown
