"""Are scans known again by the hashes that a model folder keeps, and no others?

    python -m benchmarks.same_scans data/a --twin data/b

In: a data set, and perhaps one of the same scans, drawn in another way, whose rows have the same ids. Out: how many scans of the
twin are found, and how many pairs of different people, and of different scans of one person, are taken for the same scan.
"""

import argparse
import itertools
from collections import Counter, defaultdict
from collections.abc import Mapping

import numpy as np

from mvfer.data.duplicates import thumbnail
from mvfer.data.scan_digests import FEWEST, scan_digests
from mvfer.data.schema import load_splits, view_arrays

SALT = "benchmark"


def main(argv: list[str] | None = None) -> None:
    """Print the counts."""
    args = parser().parse_args(argv)
    scans, people = read(args.dataset, args.rows)
    digests = {name: scan_digests(small, SALT) for name, small in scans.items()}
    if args.twin:
        twins = {name: scan_digests(small, SALT) for name, small in read(args.twin, args.rows)[0].items()}
        both = digests.keys() & twins.keys()
        print(f"found again: {sum(len(digests[name] & twins[name]) >= FEWEST for name in both)} of {len(both)} scans")
    taken = [pair for pair, shared in shared_by(digests).items() if shared >= FEWEST]
    same = sum(people[one] == people[other] for one, other in taken)
    pairs = len(digests) * (len(digests) - 1) // 2
    print(f"of {pairs} pairs of scans of {len(set(people.values()))} people, taken for the same scan:")
    print(f"  of two people {len(taken) - same}, of one person {same}")


def read(folder: str, most: int) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Thumbnails and people by the ids of rows."""
    splits = load_splits(folder).values()
    rows = list(itertools.islice((row for split in splits for row in split), most))
    return {row["id"]: thumbnail(view_arrays(row)) for row in rows}, {row["id"]: row["subject"] for row in rows}


def shared_by(digests: Mapping[str, set[str]]) -> Counter:
    """How many hashes two scans have in common, of those that have any."""
    where = defaultdict(list)
    for name, own in digests.items():
        for digest in own:
            where[digest].append(name)
    return Counter(pair for names in where.values() for pair in itertools.combinations(sorted(names), 2))


def parser() -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser(
        prog="python -m benchmarks.same_scans", description=(__doc__ or "").partition("\n")[0]
    )
    flags.add_argument("dataset", help="a data set")
    flags.add_argument("--twin", metavar="DIR", help="one of the same scans, drawn in another way")
    flags.add_argument("--rows", type=int, default=3000, help="rows that are read at most (default: 3000)")
    return flags


if __name__ == "__main__":
    main()
