"""Views of a split, batch by batch, as a model wants them. In: a model, its image processor and a split. Out: batches.

Rows are read as they are stored: nothing is augmented and no caption is read. The image processor says how many frames of a
sequence are read, and whether they become one dynamic image per view.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch

from mvfer.data.batching import Collator, ViewDataset
from mvfer.progress import progress_bar
from processing.rank_pooling_mvfer import rank_pool


class Batch(NamedTuple):
    """Some rows of a split: their numbers, their samples (see `ViewDataset`), and what `get_image_features` takes."""

    rows: range
    samples: list[dict]
    inputs: dict[str, torch.Tensor]


class SplitReader:
    """Iterates over a split as `Batch`es, in the order of its rows; `len` counts the batches.

    Args:
        model: only its device and dtype are used.
        image_processor (`MVFERImageProcessor`): the model's.
        split (`datasets.Dataset`): rows of `mvfer.data.schema`.
        num_frames (`int`, *optional*): longer sequences are sampled to this many frames; default the processor's number.
        keep_frames (`bool`): samples hold all frames read, even where the model reads dynamic images, so that the frames can
            be changed; `collate` makes dynamic images of them.
        batch_size (`int`, defaults to 64): rows at once; the last batch may be smaller.
        progress (`str`, *optional*): title of a progress bar; without it there is none.
    Attributes:
        num_views (`int`): of the first row.
    Raises:
        ValueError: if there are no rows, or as `ViewDataset`.
    """

    def __init__(
        self,
        model,
        image_processor,
        split,
        *,
        num_frames: int | None = None,
        keep_frames: bool = False,
        batch_size: int = 64,
        progress: str | None = None,
    ):
        if len(split) == 0:
            raise ValueError("expected at least one row to read, got an empty split")
        self.model, self.image_processor = model, image_processor
        self.batch_size, self.progress = batch_size, progress
        self.views = ViewDataset(
            split,
            num_frames=image_processor.num_frames if num_frames is None else num_frames,
            frames="sequence" if keep_frames else image_processor.frames,
            memory_budget_bytes=0,  # every row is read once
        )
        self.num_views = self.views.num_views

    def __len__(self) -> int:
        return math.ceil(len(self.views) / self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        starts = range(0, len(self.views), self.batch_size)
        for start in progress_bar(starts, what=self.progress, unit="batch", hidden=not self.progress):
            rows = range(start, min(start + self.batch_size, len(self.views)))
            samples = [self.views[row] for row in rows]
            yield Batch(rows, samples, self.collate(samples))

    def collate(self, samples: Sequence[dict]) -> dict[str, torch.Tensor]:
        """See `model_inputs`; for samples that were changed."""
        return model_inputs(self.model, self.image_processor, samples)


def model_inputs(model, image_processor, samples: Sequence[dict]) -> dict[str, torch.Tensor]:
    """What `get_image_features` takes, on the model's device and with pixels of its dtype.

    Args:
        samples: dicts as `Collator` takes them; where the model reads dynamic images, frames `(T, V, H, W, 3)` are pooled.
    """
    if image_processor.frames == "rank_pooled":
        samples = [_pooled(sample) for sample in samples]
    collator = Collator(None, image_processor)
    inputs = collator.finish(collator.gather(list(samples)), model.device)
    inputs["pixel_values"] = inputs["pixel_values"].to(model.dtype)
    return inputs


def frames_of(sample: dict) -> np.ndarray:
    """The views of a sample as `(T, V, H, W, 3)`; a single scan is one frame."""
    return sample["views"] if sample["views"].ndim == 5 else sample["views"][None]


def _pooled(sample: dict) -> dict:
    if sample["views"].ndim == 4:  # it is one already
        return sample
    return {name: value for name, value in sample.items() if name != "frame_times_s"} | {
        "views": rank_pool(sample["views"])
    }
