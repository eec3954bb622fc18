"""A share of a piece of work. In: all that is to be done, in order. Out: what falls to one of several equal tasks.

Which share is which depends on the number of tasks alone, never on who does it or when. So a task that was killed is done again
by anybody, with the same result, and no task has to know of another.
"""

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

Thing = TypeVar("Thing")


@dataclass(frozen=True)
class Part:
    """Task `index` of `count`, from 0; written `0-of-8`, as Parquet shards are."""

    index: int
    count: int

    def of(self, things: Sequence[Thing]) -> Sequence[Thing]:
        """Every `count`-th: neighbours are alike, so that all parts cost about the same."""
        return things[self.index :: self.count]

    def __str__(self) -> str:
        return f"{self.index}-of-{self.count}"


def parsed(text: str) -> Part:
    """A part as it is written.

    Raises:
        ValueError: if it is none.
    """
    found = re.fullmatch(r"(\d+)-of-(\d+)", text)
    if not found or int(found[1]) >= int(found[2]):
        raise ValueError(f"expected a part such as 0-of-8, counted from 0, got {text!r}")
    return Part(int(found[1]), int(found[2]))


def add_part_flag(flags: argparse.ArgumentParser, what: str) -> None:
    """`--part`, for commands whose work can be shared; `what` is a part of."""
    flags.add_argument(
        "--part",
        type=_part,
        metavar="0-of-8",
        help=f"do this part of the {what} and no more; the same command without --part then finishes, from what all parts "
        "left (mvfer distribute does both)",
    )


def _part(text: str) -> Part:
    try:
        return parsed(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
