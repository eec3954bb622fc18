"""Which rows make which batch: a pure function of (seed, epoch, batch, rank), so a resumed run sees what the unbroken one would.

Goes in: the number of rows, the batch size of one process, how many processes. Comes out: lists of `(epoch, row)` pairs. The
last, incomplete batch of an epoch is dropped, so that every rank has the same number of rows.
"""

from collections.abc import Iterator

import torch


class EpochBatches:
    """Batch sampler of one rank that starts anywhere.

    Args:
        rows (`int`): rows of the training split.
        batch_size (`int`): rows per process and batch.
        rank, world (`int`): this process and how many there are; they share one global batch.
        start (`int`): index of the first global batch, counted over all epochs.
    Raises:
        ValueError: if the split has fewer rows than one global batch.
    """

    def __init__(self, rows: int, batch_size: int, *, seed: int, rank: int = 0, world: int = 1, start: int = 0):
        self.per_epoch = rows // (batch_size * world)
        if self.per_epoch == 0:
            raise ValueError(
                f"{rows} training rows do not fill one batch of {batch_size} x {world} processes; pass a smaller --batch_size"
            )
        self.rows, self.batch_size, self.seed, self.rank, self.world, self.start = (
            rows,
            batch_size,
            seed,
            rank,
            world,
            start,
        )

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        epoch, batch = divmod(self.start, self.per_epoch)
        while True:
            order = torch.randperm(
                self.rows, generator=torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
            ).tolist()
            for index in range(batch, self.per_epoch):
                first = (index * self.world + self.rank) * self.batch_size
                yield [(epoch, row) for row in order[first : first + self.batch_size]]
            epoch, batch = epoch + 1, 0
