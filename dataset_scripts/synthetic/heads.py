"""Heads that can be made to move: families that are drawn at random, and finite sets of people.

In: what a builder read. Out: `Head`s, one per person, for `synthesis`. A builder gives `build_heads` a function that loads a
`HeadModel` or a `HeadSet`, and a `Source` that says where it comes from and, of a finite set, who is in it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from torch import Tensor

from dataset_scripts.synthetic.unit_tables import ARKIT, UnitTable
from mvfer.data import schema


@dataclass
class Head:
    """One person, whose vertices are neutral + sum of weight x shape; y up, face towards +z, any unit.

    Args:
        vertices (`(N, 3)` float32): at rest.
        faces (`(M, 3)` int64): triangles.
        shapes (`(A, N, 3)` float32): displacements, in the order of `shape_names`.
        columns: what the rows say of the person (sex, age_group, ancestry) as far as known.
    """

    vertices: Tensor
    faces: np.ndarray
    shape_names: list[str]
    shapes: Tensor
    table: UnitTable = ARKIT
    columns: dict[str, str] = field(default_factory=dict)


class HeadRejected(ValueError):
    """A person who cannot be used, and why; the others can."""


@dataclass
class HeadModel:
    """A family of heads with one topology and the same shapes for everybody; any number of people.

    Args:
        faces (`(M, 3)` int64): triangles.
        shape_names: names of `table` ("mouthSmileLeft"), the subject's sides.
        shapes (`(A, N, 3)` float32): displacements.
        identities: takes the random streams of S subjects; gives vertices `(S, N, 3)` float32 and S dicts of columns.
    """

    faces: np.ndarray
    shape_names: list[str]
    shapes: Tensor
    identities: Callable[[Sequence[np.random.Generator]], tuple[Tensor, list[dict]]]
    rejected: list[dict] = field(default_factory=list)
    table: UnitTable = ARKIT

    def heads(self, numbers: Sequence[int], streams: Sequence[np.random.Generator]) -> list[Callable[[], Head]]:
        """What gives the people of these random streams; their numbers do not matter."""
        vertices, columns = self.identities(streams)
        shared = (self.faces, self.shape_names, self.shapes, self.table)
        return [partial(Head, person, *shared, known) for person, known in zip(vertices, columns, strict=True)]


@dataclass
class HeadSet:
    """A finite set of people, each with a topology and shapes of their own.

    Args:
        head: the person of a number, below the number of people that `Source.families` names. One who cannot be used
            raises `HeadRejected` and is left out; any other error ends the build.
    """

    head: Callable[[int], Head]
    rejected: list[dict] = field(default_factory=list)

    def heads(self, numbers: Sequence[int], streams: Sequence[np.random.Generator]) -> list[Callable[[], Head]]:
        """What gives the people of these numbers, one at a time; nothing is drawn."""
        return [partial(self.head, number) for number in numbers]


@dataclass(frozen=True)
class Source:
    """Where the heads come from, for the folder's card.

    Args:
        name: prefix of the subjects: "anny" -> "anny-00012".
        families: of a finite set of people, their numbers, near-twins together; empty if any number can be drawn.
        sharing: what the card says of passing the set on, where somebody's face is in it.
    """

    name: str
    title: str
    url: str
    license: str
    version: str
    citation: str
    families: tuple[tuple[int, ...], ...] = ()
    sharing: str = ""

    def splits(self, subjects: Sequence[int], seed: int) -> dict[str, Sequence[int]]:
        """Numbers of the people of train, validation and test.

        Drawn people are counted through. Of a finite set, whole families are drawn, so that no near-twin is in two splits.

        Raises:
            ValueError: if there are fewer people, or the splits cannot be filled without cutting a family.
        """
        counts = dict(zip(schema.SPLITS, subjects, strict=True))
        if not self.families:
            starts = np.cumsum([0, *subjects]).tolist()
            return {split: range(start, start + counts[split]) for split, start in zip(counts, starts, strict=False)}
        people = sum(map(len, self.families))
        if sum(subjects) > people:
            raise ValueError(f"expected at most {people} subjects, as many as {self.title} has, got {sum(subjects)}")
        order = [self.families[i] for i in np.random.default_rng([seed, people]).permutation(len(self.families))]
        chosen: dict[str, list[int]] = {split: [] for split in counts}
        for split in sorted(counts, key=lambda name: counts[name]):
            for family in order.copy():
                if len(chosen[split]) + len(family) <= counts[split]:
                    chosen[split] += family
                    order.remove(family)
            if len(chosen[split]) < counts[split]:
                raise ValueError(
                    f"{counts[split]} subjects for {split} would cut a family of near-twins "
                    f"(sizes left: {sorted(map(len, order))}); choose other numbers"
                )
        return {split: sorted(numbers) for split, numbers in chosen.items()}
