"""Which baseline goes with which file of `mvfer predict`. In: flags and files. Out: a baseline per file, or none.

`--baseline` names scans of the one person whom all files show, at rest. `--by_person` finds in the files' names whom each shows,
and takes a person's other files for the baseline, whatever they show.
"""

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def add_baseline_flags(flags: argparse.ArgumentParser) -> None:
    """The flags by which scans are seen relative to others of the same person."""
    one = flags.add_mutually_exclusive_group()
    one.add_argument(
        "--baseline",
        nargs="+",
        metavar="REST",
        help="scans of the same person at rest: what the face looks like anyway is told from what it does",
    )
    one.add_argument(
        "--by_person",
        metavar="PATTERN",
        help="the part of a file's name or path that tells whom it shows, as a regular expression, such as 'F\\d+': each scan is "
        "seen relative to the person's others, whatever they show (every file is read twice)",
    )


def baselines_of(args: argparse.Namespace, files: Sequence[str], processor, classifier) -> Callable[[str], object]:
    """A function from a file to its [`Baseline`], or to `None`.

    Raises:
        ValueError: if the model takes no baselines, a scan of `--baseline` cannot be read, or the pattern is none.
    """
    if args.baseline:
        inputs = processor(meshes=list(args.baseline), return_tensors="pt")
        everybodys = classifier.baseline_of(inputs, at_rest=True)
        return lambda file: everybodys
    if not args.by_person:
        return lambda file: None
    return _of_others(_means(files, processor, classifier), people_of(files, args.by_person))


def people_of(files: Sequence[str], pattern: str) -> dict[str, str]:
    """Whom each file shows: the pattern's first group, or all that it matches; files without a match are left out.

    Raises:
        ValueError: if the pattern is no regular expression, or matches no file.
    """
    try:
        found = {file: re.search(pattern, file) for file in files}
    except re.error as error:
        raise ValueError(f"--by_person {pattern!r}: not a regular expression ({error})") from error
    people = {file: match.group(1 if match.re.groups else 0) or "" for file, match in found.items() if match}
    if not people:
        raise ValueError(f"--by_person {pattern!r}: matches none of the files, such as {files[0]}")
    scans = len(set(files))
    print(f"mvfer: {len(set(people.values()))} people in {len(people)} of {scans} scans", file=sys.stderr)
    return people


def _means(files: Sequence[str], processor, classifier) -> dict[str, "torch.Tensor"]:
    """The mean feature of every file that can be read, `(1, D)`; what is wrong with others is told when they are predicted."""
    from tqdm import tqdm

    means = {}
    for file in tqdm(dict.fromkeys(files), desc="baselines", unit="scan", disable=None):
        try:
            means[file] = classifier.baseline_of(processor(meshes=[file], return_tensors="pt")).mean
        except Exception:
            if classifier.model.relative_features is None:
                raise
    return means


def _of_others(means: dict[str, "torch.Tensor"], people: dict[str, str]) -> Callable[[str], object]:
    import torch

    from modeling_mvfer.baseline_mvfer import Baseline

    files_of: dict[str, list[str]] = {}
    for file in means:
        if file in people:
            files_of.setdefault(people[file], []).append(file)

    def of(file: str):
        others = [means[other] for other in files_of.get(people.get(file, ""), []) if other != file]
        return Baseline.of(torch.cat(others)) if others and file in people else None

    return of
