"""A few tested scans with what the model says of them, for a picture. In: a model and a split. Out: rows to draw."""

from collections.abc import Sequence

import torch

from evaluation.classifiers import classifier_of
from evaluation.pictures import Prediction, displayable
from evaluation.zero_shot import present_classes
from processing.batching import Collator, ViewDataset
from processing.cameras_mvfer import view_name


@torch.no_grad()
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
    labels, every_name = split["expression"], split.features["expression"].names
    chosen = split.select([list(labels).index(every_name.index(name)) for name in names])
    image_processor = processor.image_processor
    scans = ViewDataset(chosen, num_frames=image_processor.num_frames, frames=image_processor.frames)
    collate = Collator(None, image_processor, phrases=False)
    shown = []
    for index, name in enumerate(names):
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
                true_label=name,
            )
        )
    return shown
