"""A few tested scans with what the model says of them, for a picture. In: answers, a model and a split. Out: rows to draw."""

from mvfer.data.split_reader import SplitReader, frames_of
from mvfer.evaluation.classifiers import Classifier, present_classes
from mvfer.reports.pictures import PredictedScan, displayable
from processing.cameras_mvfer import view_name


def example_rows(split) -> list[int]:
    """The first row of every class that occurs in the split (`datasets.Dataset`): not chosen by how well it is classified."""
    labels, label_names = list(split["expression"]), split.features["expression"].names
    return [labels.index(label_names.index(name)) for name in present_classes(split)]


def predictions(processor, chosen, classifier: Classifier) -> list[PredictedScan]:
    """What the model says of a few rows, with the scores that its pipelines give: calibrated where the model is.

    Args:
        processor (`MVFERProcessor`), chosen (`datasets.Dataset`): labelled rows; classifier: of the model.
    Returns:
        `list[Prediction]`: of a sequence, the middle frame is shown.
    """
    names = chosen.features["expression"].names
    image_processor = processor.image_processor
    shown = []
    for (index,), (scan,), inputs in SplitReader(classifier.model, image_processor, chosen, batch_size=1):
        found = classifier(inputs)
        frames, weights = frames_of(scan), found.features.view_weights[0]  # weights (T, V)
        middle = len(frames) // 2
        shown.append(
            PredictedScan(
                title=chosen["id"][index],
                views=displayable(frames[middle], image_processor.channels),
                view_names=[view_name(angles) for angles in scan["view_angles_deg"].tolist()],
                probabilities=dict(zip(classifier.labels, found.probabilities[0].tolist(), strict=True)),
                view_weights=weights[middle].tolist(),
                true_label=names[chosen["expression"][index]],
            )
        )
    return shown
