"""Who goes to which split: by subject, and by a hash of the name, so that the order of the files does not matter."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence

from mvfer.data.schema import SPLITS


def split_subjects(
    subjects: Iterable[str], *, fractions: Sequence[float] = (0.8, 0.1, 0.1), seed: int = 0
) -> dict[str, str]:
    """Assign every subject to train, validation or test.

    Subjects are ordered by a hash of (seed, name) and cut at the fractions, so sizes are exact, and the order in which
    the subjects were found does not matter. A split with a positive fraction gets at least one subject.

    Returns:
        `dict[str, str]`: subject -> split.
    Raises:
        ValueError: if fractions do not sum to 1 or there are fewer subjects than splits.
    """
    if len(fractions) != len(SPLITS) or any(f < 0 for f in fractions) or abs(sum(fractions) - 1) > 1e-6:
        raise ValueError(f"expected {len(SPLITS)} fractions that sum to 1, got {tuple(fractions)}")
    names = sorted(set(subjects), key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())
    wanted = [i for i, fraction in enumerate(fractions) if fraction > 0]
    if len(names) < len(wanted):
        raise ValueError(
            f"expected at least {len(wanted)} subjects for {len(wanted)} splits, got {len(names)}; scan more people, or give "
            "a split the share 0"
        )
    counts = [max(1, round(fraction * len(names))) if fraction > 0 else 0 for fraction in fractions]
    while sum(counts) != len(names):  # rounding: the largest split gives or takes
        largest = max(wanted, key=lambda i: counts[i])
        counts[largest] += 1 if sum(counts) < len(names) else -1
    assigned = [split for split, count in zip(SPLITS, counts, strict=True) for _ in range(count)]
    return dict(zip(names, assigned, strict=True))


def check_disjoint(subjects: Mapping[str, Iterable[str]]) -> None:
    """Raise a ValueError if a subject occurs in two splits (split -> subjects)."""
    seen: dict[str, str] = {}
    for split, names in subjects.items():
        for name in set(names):
            if seen.setdefault(name, split) != split:
                raise ValueError(f"subject {name!r} is in {seen[name]} and in {split}; subjects must not cross splits")
