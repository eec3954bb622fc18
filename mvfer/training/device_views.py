"""Rendering on the GPU while training: loader processes hand over geometry, and whole batches are rendered here.

In: a `ViewDataset` with free views, and batches of its drafts. Out: batches for the model, the same as loader processes
would make of the same rows with the same rasteriser.
"""

from collections.abc import Callable, Iterable, Iterator

import torch
from torch.utils.data import Dataset

from mvfer.data.batching import ViewDataset


class Drafts(Dataset):
    """The rows of a `ViewDataset` without their views."""

    def __init__(self, views: ViewDataset):
        self.views = views

    def __len__(self) -> int:
        return len(self.views)

    def __getitem__(self, index: int | tuple[int, int]) -> dict:
        return self.views.draft(index)


def rendered_batches(
    drafts: Iterable[list[dict]], views: ViewDataset, collate: Callable[[list[dict]], dict], device: torch.device
) -> Iterator[dict]:
    """Render, complete and collate every batch of drafts."""
    for batch in drafts:
        rendered = views.free_views.render_drafts(batch, device)
        yield collate([views.complete(draft, seen) for draft, seen in zip(batch, rendered, strict=True)])
