"""Check a data set before anybody trains on it: `python -m dataset_scripts.validate DIR`.

Prints the counts, writes `contact_sheet.png` into the folder, and lists every reason why the data must not be used; the
exit status is 1 if there is one. It reads every picture. With `--against OTHER` it also looks for scans that another set has
as well, under whatever names: people of two sets that two keys gave pseudonyms cannot be compared by these.
"""

import argparse
import itertools
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from datasets import Dataset
from PIL import Image

from mvfer.data.duplicates import same_scans, thumbnail
from mvfer.data.schema import (
    CAPTION_SOURCES,
    REJECTED_FILE,
    SHEET_FILE,
    dataset_info,
    faults_of,
    load_splits,
    open_splits,
    view_arrays,
)
from mvfer.progress import add_quiet_flag, be_quiet, progress_bar
from processing.names_mvfer import shown, shown_lines
from processing.prompts_mvfer import EXPRESSIONS, named_emotion

LARGEST_IMBALANCE = 10.0  # most over least frequent class of a split, above which a warning is given
EXAMPLES = 3  # of each kind of failure


@dataclass
class Report:
    """What was found: counts per split and class, failures (the data must not be used), warnings."""

    counts: dict[str, Counter] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def text(self) -> str:
        names = [name for name in (*EXPRESSIONS, "unknown") if any(count[name] for count in self.counts.values())]
        lines = [f"{'':12s}" + "".join(f"{split:>12s}" for split in self.counts)]
        lines += [f"{name:12s}" + "".join(f"{count[name]:12d}" for count in self.counts.values()) for name in names]
        lines += [f"warning: {text}" for text in self.warnings] + [f"FAILED: {text}" for text in self.failures]
        return "\n".join(lines)

    def fail(self, what: str, examples: Sequence[str]) -> None:
        """List a kind of failure with its number and some examples, if there are any."""
        if examples:
            more = ", ..." if len(examples) > EXAMPLES else ""
            self.failures.append(f"{what}: {len(examples)} ({', '.join(map(str, examples[:EXAMPLES]))}{more})")


def validate(folder: str | Path, *, against: Sequence[str | Path] = ()) -> Report:
    """Check everything in a data set; never raises for what is wrong with the data.

    Args:
        against: further data sets; a scan that is in one of these as well is a failure.
    """
    report = Report()
    try:
        info = dataset_info(folder)
        splits = open_splits(folder)
    except ValueError as error:
        report.failures.append(str(error))
        return report
    subjects: dict[str, set[str]] = defaultdict(set)
    thumbnails: dict[str, dict[str, np.ndarray]] = {}
    ids: Counter = Counter()
    for name, split in splits.items():
        columns = split.remove_columns("views").to_dict()
        ids.update(columns["id"])
        for subject in filter(None, set(columns["subject"])):
            subjects[subject].add(name)
        for what, rows in faults_of(split).items():
            report.fail(f"{name}: {what}", [f"row {row}: {columns['id'][row]}" for row in rows])
        _check_columns(name, columns, report)
        thumbnails[name] = _check_views(name, split, info, report)
    several = [f"{subject} in {sorted(where)}" for subject, where in subjects.items() if len(where) > 1]
    report.fail("subjects in more than one split", several)
    for one, other in itertools.combinations(thumbnails, 2):
        same = [f"{a} and {b}" for a, b, _ in same_scans(thumbnails[one], thumbnails[other])]
        report.fail(f"scans that are in {one} and in {other}, if under other names", same)
    for other in against:
        _check_against(thumbnails, info, other, report)
    report.fail("ids used twice", [name for name, count in ids.items() if count > 1])
    if info.get("rejected"):
        report.warnings.append(f"{info['rejected']} items were rejected when the set was built, see {REJECTED_FILE}")
    if info.get("doubtful"):
        report.warnings.append(f"no face is found in {info['doubtful']} of the scans, see {REJECTED_FILE}")
    return report


def _check_against(thumbnails: dict[str, dict[str, np.ndarray]], info: dict, other: str | Path, report: Report) -> None:
    """Look for scans that another set has as well."""
    try:
        known, splits = dataset_info(other), load_splits(other)
    except ValueError as error:
        report.failures.append(str(error))
        return
    keys = [(one.get("build") or {}).get("options", {}).get("key_id") for one in (info, known)]
    if keys[0] != keys[1]:
        report.warnings.append(
            f"{other}: its pseudonyms were made with another key, so people were compared by their looks alone"
        )
    if info["render_settings"].get("channels") != known["render_settings"].get("channels"):
        report.failures.append(
            f"{other}: its views show other channels, so its scans cannot be compared; build it with the same"
        )
        return
    for split, rows in splits.items():
        there = {row["id"]: thumbnail(view_arrays(row)) for row in rows.select_columns(["id", "views"])}
        for name, here in thumbnails.items():
            same = [f"{a} and {b}" for a, b, _ in same_scans(here, there)]
            report.fail(f"scans that are in {name} and in {split} of {other}, if under other names", same)


def _check_columns(name: str, columns: dict, report: Report) -> None:
    """Classes, captions, sources, split names, action units."""
    labels, rows = columns["expression"], len(columns["id"])
    known_labels = range(len(EXPRESSIONS))
    count = Counter(EXPRESSIONS[label] if label in known_labels else "unknown" for label in labels)
    report.counts[name] = count
    known = {label: number for label, number in count.items() if label != "unknown"}
    if rows == 0:
        report.failures.append(f"{name}: no rows")
        return
    if len(known) == 1 and "unknown" not in count:
        report.failures.append(f"{name}: only one class, {next(iter(known))}")
    if known and max(known.values()) > LARGEST_IMBALANCE * min(known.values()):
        report.warnings.append(f"{name}: classes are uneven, {known}")
    if not known:
        report.warnings.append(f"{name}: no row has a known expression, so nothing can be measured on it")
    places = list(zip(columns["id"], columns["captions"], columns["caption_source"], strict=True))
    claimed = [(row, captions or []) for row, captions, source in places if source == "captions"]
    unknown = [f"{row}: {source}" for row, _, source in places if source not in CAPTION_SOURCES]
    report.fail(f"{name}: caption_source is not one of {', '.join(CAPTION_SOURCES)}", unknown)
    if not any(source != "none" for _, _, source in places):
        report.warnings.append(
            f"{name}: no row has a text, so nothing can be trained on it; the set has no action units (see --label_prompts)"
        )
    elif not any(captions for _, captions, _ in places):
        report.failures.append(f"{name}: no row has a caption; a vision-language model needs texts")
    empty = [
        row
        for row, captions, source in places
        if source != "none" and not any((c or "").strip() for c in captions or [])
    ]
    report.fail(f"{name}: rows without a caption, though caption_source promises one", empty)
    naming = [
        f"{row}: {word!r}" for row, captions in claimed for text in captions if text and (word := named_emotion(text))
    ]
    report.fail(f"{name}: captions that name an emotion", naming)
    wrong = [row for row, split in zip(columns["id"], columns["split"], strict=True) if split != name]
    report.fail(f"{name}: rows whose split column says otherwise", wrong)
    units = zip(columns["id"], columns["action_units"], strict=True)
    told = [(row, [unit["intensity"] for unit in list_ or [] if unit]) for row, list_ in units]
    outside = [row for row, values in told if any(value is not None and not 0 <= value <= 1 for value in values)]
    report.fail(f"{name}: action units outside 0 to 1", outside)


def _check_views(name: str, split: Dataset, info: dict, report: Report) -> dict[str, np.ndarray]:
    """Every picture can be read, has the size that the info states, and shows something; angles and times fit.

    Returns thumbnails by id.
    """
    unreadable, empty, wrong, thumbnails = [], [], [], {}
    size = info["render_settings"]["size_px"]
    columns = ["id", "views", "view_angles_deg", "frame_times_s"]
    for row in progress_bar(split.select_columns(columns), what=name, unit="row"):
        try:
            views = view_arrays(row)
        except ValueError as error:
            unreadable.append(shown(str(error)))
            continue
        expected = (len(row["frame_times_s"]), len(row["view_angles_deg"]), size, size, 3)
        if views.shape != expected:
            wrong.append(f"{row['id']}: {views.shape} instead of {expected}")
        elif not views.any((2, 3, 4)).all():
            empty.append(row["id"])
        else:
            thumbnails[row["id"]] = thumbnail(views)
    report.fail(f"{name}: unreadable views", unreadable)
    report.fail(f"{name}: views of the wrong number or size", wrong)
    report.fail(f"{name}: views that show nothing", empty)
    return thumbnails


def contact_sheet(split: Dataset, *, people: int = 8, columns: int = 8) -> Image.Image:
    """One row per person, one picture per scan: the middle view of the middle frame. Unreadable ones stay black."""
    by_subject: dict[str, list[int]] = defaultdict(list)
    for index, subject in enumerate(split["subject"]):
        by_subject[subject].append(index)
    chosen = [indices[:columns] for indices in list(by_subject.values())[:people]]
    pictures = {}
    for index in (i for indices in chosen for i in indices):
        try:
            views = view_arrays(split[index])
            pictures[index] = views[len(views) // 2, views.shape[1] // 2]
        except ValueError:
            continue
    size = max((picture.shape[0] for picture in pictures.values()), default=64)
    sheet = np.zeros((size * max(1, len(chosen)), size * columns, 3), np.uint8)
    for row, indices in enumerate(chosen):
        for column, index in enumerate(indices):
            if index in pictures:
                picture = pictures[index]
                sheet[row * size :, column * size :][: picture.shape[0], : picture.shape[1]] = picture
    return Image.fromarray(sheet)


def main(argv: Sequence[str] | None = None) -> int:
    flags = argparse.ArgumentParser(description="Check a data set; exit status 1 if it must not be used.")
    flags.add_argument("folder", help="what a build script wrote")
    flags.add_argument(
        "--against", nargs="+", default=[], metavar="DIR", help="data sets that must not have any of the same scans"
    )
    add_quiet_flag(flags)
    args = flags.parse_args(argv)
    be_quiet(args.quiet)
    folder = Path(args.folder)
    report = validate(folder, against=args.against)
    print(shown_lines(report.text()))
    if report.counts:
        splits = open_splits(folder)
        contact_sheet(splits["test" if "test" in splits else next(iter(splits))]).save(folder / SHEET_FILE)
        print(f"wrote {shown(str(folder / SHEET_FILE))}")
    print("ok" if not report.failures else f"{len(report.failures)} reasons not to use {shown(str(folder))}")
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
