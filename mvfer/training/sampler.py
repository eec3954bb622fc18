"""Which rows make which batch: a pure function of (seed, epoch, batch, rank), so a resumed run sees what the unbroken one would.

In: the subject of every row, the batch size of one process, how many processes. Out: lists of `(epoch, row)` pairs. Several
scans of one person come one after the other: identity then does not separate the scans of a batch, expression does. Sources
have equal shares; where texts are learnt from and few rows have any, these rows come more often. The last, incomplete batch of
an epoch is dropped, so that every rank has the same number of rows.
"""

from collections.abc import Hashable, Iterator, Sequence

import numpy as np


def batches_of(
    subjects: Sequence[Hashable],
    batch_size: int,
    *,
    sources: Sequence[int] | None = None,
    captioned: Sequence[bool] | None = None,
    world: int = 1,
    **options,
) -> Iterator[list[tuple[int, int]]]:
    """The endless batches of one rank. Every source has the same share of each; of captioned rows, if few, half of it.

    Args:
        subjects, batch_size, world, options: as in `EpochBatches`.
        sources (*optional*): which data set each row is of; a small one comes round more often. Default: all are of one.
        captioned (*optional*): which rows have a text that is learnt from; default: all are alike.
    """
    captioned = [True] * len(subjects) if captioned is None else captioned
    rows_of: dict[int, list[int]] = {}
    for row, source in enumerate(sources or [0] * len(subjects)):
        rows_of.setdefault(source, []).append(row)
    parts = []  # rows, and how many of them are in a batch
    sizes = equal_shares([len(rows) // world for rows in rows_of.values()], batch_size)
    for rows, size in zip(rows_of.values(), sizes, strict=True):
        described = [row for row in rows if captioned[row]]
        half = min(size // 2, len(described) // world)
        if half and 2 * len(described) < len(rows):
            parts += [(described, half), ([row for row in rows if not captioned[row]], size - half)]
        elif size:
            parts.append((rows, size))
    samplers = [EpochBatches([subjects[row] for row in rows], size, world=world, **options) for rows, size in parts]
    for batches in zip(*samplers, strict=True):
        yield [(epoch, rows[index]) for (rows, _), batch in zip(parts, batches, strict=True) for epoch, index in batch]


def equal_shares(most: Sequence[int], total: int) -> list[int]:
    """Split `total` into shares as equal as can be, each at most `most`; what no share can hold goes to the largest."""
    shares, left = [0] * len(most), total
    by_size = sorted(range(len(most)), key=lambda part: most[part])
    for place, part in enumerate(by_size):
        shares[part] = min(most[part], left // (len(most) - place))
        left -= shares[part]
    shares[by_size[-1]] += left
    return shares


class EpochBatches:
    """Batch sampler of one rank that starts anywhere.

    Args:
        subjects: whom each row of the training split shows.
        batch_size (`int`): rows per process and batch.
        scans_per_subject (`int`, defaults to 1): how many rows of a subject come together; 1 shuffles rows freely.
        rank, world (`int`): this process and how many there are; they share one global batch.
        start (`int`): index of the first global batch, counted over all epochs.
    Raises:
        ValueError: if the split has fewer rows than one global batch.
    """

    def __init__(
        self,
        subjects: Sequence[Hashable],
        batch_size: int,
        *,
        seed: int,
        scans_per_subject: int = 1,
        rank: int = 0,
        world: int = 1,
        start: int = 0,
    ):
        self.per_epoch = len(subjects) // (batch_size * world)
        if self.per_epoch == 0:
            raise ValueError(
                f"{len(subjects)} training rows do not fill one batch of {batch_size} x {world} processes; "
                "pass a smaller --batch_size"
            )
        by_subject: dict[Hashable, list[int]] = {}
        for row, subject in enumerate(subjects):
            by_subject.setdefault(subject, []).append(row)
        self.rows_of_subjects = list(by_subject.values())
        self.batch_size, self.scans_per_subject, self.seed = batch_size, scans_per_subject, seed
        self.rank, self.world, self.start = rank, world, start

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        epoch, batch = divmod(self.start, self.per_epoch)
        while True:
            order = self._order(epoch)
            for index in range(batch, self.per_epoch):
                first = (index * self.world + self.rank) * self.batch_size
                yield [(epoch, row) for row in order[first : first + self.batch_size]]
            epoch, batch = epoch + 1, 0

    def _order(self, epoch: int) -> list[int]:
        """All rows once: every subject's rows shuffled and cut into groups, the groups shuffled."""
        rng, size = np.random.default_rng((self.seed, epoch)), self.scans_per_subject
        groups = []
        for rows in self.rows_of_subjects:
            rows = rng.permutation(rows).tolist()
            groups += [rows[first : first + size] for first in range(0, len(rows), size)]
        return [row for group in rng.permutation(len(groups)) for row in groups[group]]
