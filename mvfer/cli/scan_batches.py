"""Files to the model's inputs, batch by batch. In: [`Item`]s. Out: what was read of each, and answers of many at once.

What is wrong with one file is its own result; it loses none of the others.
"""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mvfer.cli.scan_files import Item
from processing.face_frame_mvfer import FaceFrame
from processing.meshes_mvfer import Mesh

BATCH_SIZE = 16  # also of reading: so many lie in memory at once, twice as many per worker
FEW = 16  # items that are drawn sooner in torch than numba is imported; both draw the same


class Read(NamedTuple):
    """The processor's inputs of one item, name to array (1, ...), and where the face was found; or why there are none."""

    inputs: dict[str, np.ndarray]
    face: FaceFrame | None = None
    error: Exception | None = None


class ItemReader:
    """Reads items, one after the other, and perhaps only a few; a sequence is framed as its first frame that can be read."""

    def __init__(self, image_processor, *, few: bool = False):
        self.image_processor = image_processor
        in_torch = few and image_processor.render_backend == "auto"
        self._options = {"return_tensors": "np"} | ({"render_backend": "torch"} if in_torch else {})
        self._onset: tuple = (None, None)  # a sequence, and its onset with the face's frame

    def __call__(self, item: Item) -> Read:
        try:
            if item.problem:
                raise ValueError(item.problem)
            batch = self.image_processor(**self._asked(item), **self._options)
        except Exception as error:  # whatever one file does, the next ones are read
            return Read({}, error=error)
        return Read(dict(batch), next(iter(batch.face_frames), None))

    def _asked(self, item: Item) -> dict:
        if item.is_whole:
            frames = {"frames": list(item.paths), "frame_times_s": item.sequence.times_s}  # type: ignore[union-attr]
            return {"sequences": [frames]}
        if item.is_photos:
            return {"images": [list(item.paths)]}
        if item.sequence is None:
            return {"meshes": list(item.paths)}
        onset, face = self._onset_of(item.sequence.paths)
        return {"sequences": [{"frames": list(item.paths), "onset": onset, "face_frame": face}]}

    def _onset_of(self, paths: Sequence[str]) -> tuple[Mesh, FaceFrame]:
        if self._onset[0] is not paths:
            self._onset = paths, self._first_readable(paths)
        return self._onset[1]

    def _first_readable(self, paths: Sequence[str]) -> tuple[Mesh, FaceFrame]:
        error: Exception = ValueError("no frames")
        for path in paths:
            try:
                return self.image_processor.framed(path)
            except (ValueError, OSError) as why:
                error = why
        raise error


def read_batches(
    items: Sequence[Item], image_processor, *, batch_size: int = BATCH_SIZE, num_workers: int = 0
) -> Iterator[list[tuple[Item, Read]]]:
    """Read so many items at a time, in order; with workers, in other processes while the model is asked."""
    reader = ItemReader(image_processor, few=len(items) <= FEW)
    groups = [items[start : start + batch_size] for start in range(0, len(items), batch_size)]
    if not num_workers:
        for group in groups:
            yield [(item, reader(item)) for item in group]
        return
    from torch.utils.data import DataLoader

    collate = _Together(reader)
    loader = DataLoader(groups, batch_size=None, collate_fn=collate, num_workers=num_workers)
    for group, reads in zip(groups, loader, strict=True):
        yield list(zip(group, reads, strict=True))


class _Together:
    """In a worker. Arrays travel through a pipe: shared tensors would each keep a file open."""

    def __init__(self, reader: ItemReader):
        self.reader = reader

    def __call__(self, group: Sequence[Item]) -> list[Read]:
        return [self.reader(item) for item in group]


def ask_together(
    batch: Sequence[tuple[Item, Read]],
    ask: Callable[[Mapping[str, Tensor], list[int]], Sequence],
    *,
    kind_of: Callable[[Item], Hashable] = lambda item: None,
) -> list:
    """Of every item what `ask` answers, or the exception that it cost.

    Args:
        ask: is given inputs of several items and their places in the batch; it answers for each, in this order. Where it
            fails, it is asked one by one.
        kind_of: items of different kinds are not asked about together, nor are those of different shapes.
    """
    answers: list = [read.error for _, read in batch]
    groups: dict[Hashable, list[int]] = {}
    for place, (item, read) in enumerate(batch):
        if read.error is None:
            shapes = tuple(sorted((name, value.shape) for name, value in read.inputs.items()))
            groups.setdefault((shapes, kind_of(item)), []).append(place)
    for places in groups.values():
        for place, answer in zip(places, _asked(batch, places, ask), strict=True):
            answers[place] = answer
    return answers


def _asked(batch: Sequence[tuple[Item, Read]], places: list[int], ask: Callable) -> Sequence:
    inputs = [batch[place][1].inputs for place in places]
    together = {name: torch.from_numpy(np.concatenate([one[name] for one in inputs])) for name in inputs[0]}
    try:
        return ask(together, places)
    except Exception as error:
        if len(places) == 1:
            return [error]
    return [answer for place in places for answer in _asked(batch, [place], ask)]
