"""Batches from loader processes, which leave it to the main process when to stop.

In: samples and which of them make which batch. Out: batches, some loaded ahead. A cluster, or a terminal, signals a whole group
of processes: a loader that ended at once would take the main process's last checkpoint along.
"""

import signal
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from torch.utils.data import DataLoader, Dataset

AHEAD = 4  # batches per process
STOP_SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name)]


def load_batches(
    samples: Dataset, batches: Iterable, collate: Callable[[list], Any], *, num_workers: int
) -> Iterator[Any]:
    """Collated batches in order; `num_workers` 0 loads them in this process when they are asked for."""
    return iter(
        DataLoader(
            samples,
            batch_sampler=batches,
            collate_fn=collate,
            num_workers=num_workers,
            prefetch_factor=AHEAD if num_workers else None,
            worker_init_fn=_leave_stopping_to_main,
        )
    )


def _leave_stopping_to_main(worker: int) -> None:
    """It ends when the main process tells it to, or is gone."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
