"""Which baseline goes with which scan of `mvfer predict`. In: flags and items. Out: a baseline per item, or none.

`--baseline` names scans of the one person whom all items show, at rest. `--by_person` finds in the files' names whom each shows,
and takes a person's other items for the baseline, whatever they show. `--scanner` names scans of other people by the scanner.
"""

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from mvfer.progress import is_quiet, progress_bar

if TYPE_CHECKING:
    import torch

    from modeling_mvfer.baseline_mvfer import Baseline
    from mvfer.cli.scan_files import Item
    from mvfer.data.journal import Journal


def add_baseline_flags(flags: argparse.ArgumentParser) -> None:
    """The flags by which scans are seen relative to others of the same person, or of the same scanner."""
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
    one.add_argument(
        "--scanner",
        nargs="+",
        metavar="SCAN",
        help="scans of other people by the same scanner, eight or more, whatever they show: what it makes of any face is told "
        "from what faces do. For a scanner that the model never met and people of whom there is one scan",
    )


def baselines_of(
    args: argparse.Namespace, items: "Sequence[Item]", processor, classifier, journal: "Journal | None" = None
) -> "Callable[[Item], Baseline | None]":
    """A function from an item to its [`Baseline`], or to `None`; a journal keeps what it costs.

    Raises:
        ValueError: if the model takes no baselines, a scan of `--baseline` or `--scanner` cannot be read, these are too few, or
            the pattern is none.
    """
    if args.scanner:
        from mvfer.data.baselines import FEWEST_OTHERS  # it brings datasets, which nothing else here needs

        if len(args.scanner) < FEWEST_OTHERS:
            raise ValueError(f"--scanner: expected {FEWEST_OTHERS} scans or more, got {len(args.scanner)}")
    if same := args.baseline or args.scanner:
        inputs = processor(meshes=list(same), return_tensors="pt")
        everybodys = classifier.baseline_of(inputs, at_rest=bool(args.baseline))
        return lambda item: everybodys
    if not args.by_person:
        return lambda item: None
    people = people_of([item.name for item in items], args.by_person)
    classifier.model.known_baselines()
    return _of_others(_means(args, items, processor, classifier, journal), people)


def stacked(baselines: "Sequence[Baseline]") -> "Baseline":
    """Those of several samples, as a batch has them."""
    import torch

    from modeling_mvfer.baseline_mvfer import Baseline

    return Baseline(*(torch.cat(parts) for parts in zip(*baselines, strict=True)))


def people_of(files: Sequence[str], pattern: str, *, flag: str = "--by_person") -> dict[str, str]:
    """Whom each file shows: the pattern's first group, or all that it matches; files without a match are left out.

    Raises:
        ValueError: if the pattern is no regular expression, or matches no file.
    """
    try:
        found = {file: re.search(pattern, file) for file in files}
    except re.error as error:
        raise ValueError(f"{flag} {pattern!r}: not a regular expression ({error})") from error
    people = {file: match.group(1 if match.re.groups else 0) or "" for file, match in found.items() if match}
    if not people:
        raise ValueError(f"{flag} {pattern!r}: matches none of the files, such as {files[0]}")
    if not is_quiet():
        scans = len(set(files))
        print(f"mvfer: {len(set(people.values()))} people in {len(people)} of {scans} scans", file=sys.stderr)
    return people


def _means(
    args: argparse.Namespace, items: "Sequence[Item]", processor, classifier, journal: "Journal | None"
) -> dict[str, "torch.Tensor"]:
    """The mean feature of every item that can be read, `(D,)`; what is wrong with others is told when they are predicted."""
    import torch

    from modeling_mvfer.classifier_mvfer import features_of
    from mvfer.cli.scan_batches import ask_together, read_batches
    from mvfer.cli.scan_files import stamp

    def ask(inputs, places):
        with torch.no_grad():
            return list(features_of(classifier.model, inputs).scan_means.float().cpu())

    means: dict[str, Any] = {}
    once = {item.name: item for item in items}
    if journal is not None:
        kept = {name: journal.get("mean", name, stamp(item)) for name, item in once.items()}
        means = {name: torch.tensor(mean) for name, mean in kept.items() if mean is not None}
    todo = [item for name, item in once.items() if name not in means]
    options = {"batch_size": args.batch_size, "num_workers": args.num_workers}
    with progress_bar(what="baselines", unit="scan", total=len(once), initial=len(means)) as bar:
        for batch in read_batches(todo, processor.image_processor, **options):
            for (item, _), mean in zip(batch, ask_together(batch, ask), strict=True):
                if isinstance(mean, Exception):
                    continue
                means[item.name] = mean
                if journal is not None:
                    journal.add("mean", item.name, stamp(item), mean.tolist())
            if journal is not None:
                journal.commit()
            bar.update(len(batch))
    return means


def _of_others(means: dict[str, "torch.Tensor"], people: dict[str, str]) -> "Callable[[Item], Baseline | None]":
    import torch

    from modeling_mvfer.baseline_mvfer import Baseline

    totals: dict[str, Any] = {}
    counts: dict[str, int] = {}
    for name, mean in means.items():
        if name in people:
            person = people[name]
            totals[person] = totals.get(person, 0) + mean.double()
            counts[person] = counts.get(person, 0) + 1

    def of(item: "Item"):
        person, own = people.get(item.name), means.get(item.name)
        if person is None or own is None or counts[person] < 2:
            return None
        others = counts[person] - 1
        mean = ((totals[person] - own.double()) / others).float()
        return Baseline(mean[None], torch.tensor([float(others)]), torch.tensor([False]))

    return of
