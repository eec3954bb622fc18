"""A few tested scans with what the model says of them, for a picture. In: a model and a split. Out: rows to draw."""

from collections.abc import Sequence

import torch

from evaluation.classifiers import classifier_of
from evaluation.features import embed_split
from evaluation.pictures import Prediction, displayable
from evaluation.zero_shot import present_classes
from processing.batching import Collator, ViewDataset
from processing.cameras_mvfer import view_name

MISTAKES = 6


def example_predictions(
    model, processor, split, *, kinds: Sequence[str] | None = None, language: str = "en"
) -> list[Prediction]:
    """The first scan of every class that occurs in the split (not chosen by how well it is classified).

    Args:
        model (`MVFERModel` or `MVFERForFaceClassification`, in evaluation mode), processor (`MVFERProcessor`).
        split (`datasets.Dataset`): rows of `dataset_scripts.schema`.
        kinds, language: of the prompts, as in `prompts_for`.
    Returns:
        `list[Prediction]`: of a sequence, the middle frame is shown.
    """
    names = present_classes(split)
    classifier = classifier_of(model, processor.tokenizer, names, kinds=kinds, language=language)
    labels, every_name = list(split["expression"]), split.features["expression"].names
    return _describe(
        model, processor, split.select([labels.index(every_name.index(name)) for name in names]), classifier
    )


def worst_mistakes(
    model, processor, split, *, kinds: Sequence[str] | None = None, language: str = "en"
) -> list[Prediction]:
    """The wrong answers that the model was surest of, at most six and one per person, surest first; arguments as above."""
    names = present_classes(split)
    classifier = classifier_of(model, processor.tokenizer, names, kinds=kinds, language=language)
    features = embed_split(model, processor.image_processor, split, progress=False)
    with torch.no_grad():
        probabilities = classifier.logits(torch.from_numpy(features.image_embeds).to(model.device)).softmax(-1)
    sure, guesses = (part.tolist() for part in probabilities.max(-1))
    every_name = split.features["expression"].names
    wrong = [
        row
        for row, label in enumerate(features.labels)
        if label >= 0 and classifier.labels[guesses[row]] != every_name[label]
    ]
    chosen: dict[str, int] = {}
    for row in sorted(wrong, key=lambda row: -sure[row]):
        chosen.setdefault(features.subjects[row], row)
    rows = list(chosen.values())[:MISTAKES]
    return _describe(model, processor, split.select(rows), classifier) if rows else []


@torch.no_grad()
def _describe(model, processor, chosen, classifier) -> list[Prediction]:
    """What the model says of each of these rows."""
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
        probabilities = classifier.logits(embeds)[0].softmax(-1).tolist()
        frames, weights = scan["views"], output.view_weights[0]  # weights (T, V)
        frames = frames if frames.ndim == 5 else frames[None]
        middle = len(frames) // 2
        shown.append(
            Prediction(
                title=chosen["id"][index],
                views=displayable(frames[middle], image_processor.channels),
                view_names=[view_name(angles) for angles in scan["view_angles_deg"].tolist()],
                probabilities=dict(zip(classifier.labels, probabilities, strict=True)),
                view_weights=weights[middle].tolist(),
                true_label=names[label],
            )
        )
    return shown
