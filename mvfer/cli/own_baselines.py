"""Which baseline goes with which scan of `mvfer predict`. In: flags and items. Out: a baseline per item, or none.

`--baseline` names scans of the one person whom all items show, at rest. `--by_person` finds in the files' names whom each shows,
and takes a person's other items for the baseline, whatever they show. `--scanner` names scans of other people by the scanner, and
goes with both.
"""

import argparse
import re
import sys
from collections.abc import Callable, Mapping, Sequence
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
    flags.add_argument(
        "--scanner",
        nargs="*",
        metavar="SCAN",
        help="scans of other people by the same scanner, eight or more, whatever they show: what it makes of any face is told "
        "from what faces do. For a scanner that the model never met and people of whom there are few scans or one; with "
        "--by_person, none need be named: the scans of all others are taken",
    )


def baselines_of(
    args: argparse.Namespace, items: "Sequence[Item]", processor, classifier, journal: "Journal | None" = None
) -> "Callable[[Item], Baseline | None]":
    """A function from an item to its [`Baseline`], or to `None`; a journal keeps what it costs.

    Raises:
        ValueError: if the model takes no baselines, a scan of `--baseline` or `--scanner` cannot be read, these are too few, or
            the pattern is none.
    """

    def baseline_of(scans: Sequence[str] | None, at_rest: bool = False) -> "Baseline | None":
        if not scans:
            return None
        return classifier.baseline_of(processor(meshes=list(scans), return_tensors="pt"), at_rest=at_rest)

    _check_scanner(args)
    scanner, rest = baseline_of(args.scanner), baseline_of(args.baseline, at_rest=True)
    if not args.by_person:
        same = _joined(classifier, rest, scanner)
        return lambda item: same
    people = people_of([item.name for item in items], args.by_person)
    classifier.model.known_baselines()
    means = _means(args, items, processor, classifier, journal)
    own = _of_others(means, people)
    if args.scanner is None:
        return own
    others = _of_other_people(means, people) if args.scanner == [] else lambda item: scanner
    return lambda item: _joined(classifier, own(item), others(item))


def _check_scanner(args: argparse.Namespace) -> None:
    """Raise a ValueError if too few scans are named."""
    if args.scanner is None or args.scanner == [] and args.by_person:
        return
    from mvfer.data.baselines import FEWEST_OTHERS  # it brings datasets, which nothing else here needs

    if len(args.scanner) < FEWEST_OTHERS:
        raise ValueError(f"--scanner: expected {FEWEST_OTHERS} scans or more, got {len(args.scanner)}")


def _joined(classifier, own: "Baseline | None", scanner: "Baseline | None") -> "Baseline | None":
    """What a person's own scans and those of others on the scanner tell together."""
    if own is None or scanner is None:
        return scanner if own is None else own
    return classifier.model.known_baselines().on_scanner(own, scanner)


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


def _sums(means: dict[str, "torch.Tensor"], people: Mapping[str, str]) -> "dict[str, tuple[torch.Tensor, int]]":
    """Of every person the sum of the means, and how many they are."""
    sums: dict[str, Any] = {}
    for name, mean in means.items():
        if name in people:
            total, count = sums.get(people[name], (0, 0))
            sums[people[name]] = total + mean.double(), count + 1
    return sums


def _mean(total: "torch.Tensor", count: int) -> "Baseline":
    import torch

    from modeling_mvfer.baseline_mvfer import Baseline

    return Baseline((total / count).float()[None], torch.tensor([float(count)]), torch.tensor([False]))


def _of_others(means: dict[str, "torch.Tensor"], people: dict[str, str]) -> "Callable[[Item], Baseline | None]":
    """From an item to the mean of the person's other items."""
    sums = _sums(means, people)

    def of(item: "Item"):
        if item.name not in means or item.name not in people:
            return None
        total, count = sums[people[item.name]]
        return _mean(total - means[item.name].double(), count - 1) if count > 1 else None

    return of


def _of_other_people(means: dict[str, "torch.Tensor"], people: dict[str, str]) -> "Callable[[Item], Baseline | None]":
    """From an item to the mean of everybody else's; whose name is not known counts as somebody of their own."""
    from mvfer.data.baselines import FEWEST_OTHERS

    whom = {name: people.get(name, name) for name in means}
    sums = _sums(means, whom)
    everything, everybody = sum(total for total, _ in sums.values()), len(means)

    def of(item: "Item"):
        total, count = sums.get(people.get(item.name, item.name), (0, 0))
        others = everybody - count
        return _mean(everything - total, others) if others >= FEWEST_OTHERS else None

    return of
