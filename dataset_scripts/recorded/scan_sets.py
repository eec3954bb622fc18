"""From a folder of recorded scans to a data set: the command line that the builders of recorded sets share.

In: a `ScanSet` (where a set comes from, what may be done with it, how its files are found) and flags. Out: a build
(`building`). Subjects get pseudonyms, what identifies people is left out, labels become texts only on request.
"""

import argparse
import contextlib
import dataclasses
import functools
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dataset_scripts.common import card
from dataset_scripts.common.building import Shard, build, cut
from dataset_scripts.common.flags import HelpFormatter, add_build_flags, parallel_options, render_settings, settings_of
from dataset_scripts.recorded.contents import ShardSources, described
from dataset_scripts.recorded.reasons import names_in, without_paths
from dataset_scripts.recorded.scans import RGB, PseudonymousScan, Scan, ScanRenderer, ScanSettings
from dataset_scripts.recorded.source_tree import one_copy, packed
from dataset_scripts.recorded.unallowed import unallowed_subjects
from mvfer.data import schema
from mvfer.data.orientation_flags import OrientationParser, up_axis
from mvfer.data.pseudonyms import DEFAULT_KEY_FILE, Pseudonyms, forgotten, write_mapping
from mvfer.data.splits import check_disjoint, split_subjects
from processing.channels_mvfer import COLOR_CHANNELS
from processing.meshes_mvfer import load_mesh
from processing.names_mvfer import shown

FRAMES_PER_SHARD = 2000
REJECTIONS_SHOWN = 10
LICENSED = "Licensed to the person who signed for it: neither scans nor renderings may be passed on."
SEXES = {"F": "female", "M": "male"}  # the first letter of a subject's name in the sets of Binghamton


@dataclass
class Found:
    """What lies in a source folder: scans, (file, reason) of what looks like one and is not usable, and what else to tell."""

    scans: list[Scan] = field(default_factory=list)
    rejected: list[tuple[Path, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @contextlib.contextmanager
    def rejecting(self, path: Path) -> Iterator[None]:
        """A ValueError inside tells why this file or folder cannot be used."""
        try:
            yield
        except ValueError as error:
            self.rejected.append((path, str(error)))


@dataclass(frozen=True)
class ScanSet:
    """A data set of the field.

    Args:
        layout: what its folder looks like, for the help and for the error when nothing is found.
        find: (source folder, flags) -> `Found`.
        license: as the Hub names it; sharing: what it says of renderings; for the card.
        may_share: whether renderings may be published at all.
        add_flags: further flags of this set.
        told_by: flags -> fields of this class that they change (BP4D+ is another set than BP4D, with the same layout).
        opened: what `--source` names -> the folder to look in, for as long as the build takes.
    """

    name: str
    title: str
    url: str
    citation: str
    layout: str
    find: Callable[[Path, argparse.Namespace], Found]
    license: str = "other"
    sharing: str = LICENSED
    may_share: bool = False
    up_axis: str = "y"
    add_flags: Callable[[argparse.ArgumentParser], None] = lambda flags: None
    told_by: Callable[[argparse.Namespace], dict] = lambda flags: {}
    opened: Callable[[str], contextlib.AbstractContextManager[Path]] = lambda source: contextlib.nullcontext(
        Path(source)
    )


def arguments(scan_set: ScanSet) -> argparse.ArgumentParser:
    """The flags that all recorded sets have."""
    default = ScanSettings()
    flags = OrientationParser(
        description=f"Build a data set from {scan_set.title}.",
        epilog=f"Expects {scan_set.layout}. {scan_set.sharing}",
        formatter_class=HelpFormatter,
    )
    add = flags.add_argument
    add("--source", required=True, help="folder of the set, as its owner gave it to you")
    add_build_flags(
        flags,
        size_px=224,
        supersampling=1,
        default_channels="the scan's colours if the first one has any, else its geometry",
        languages=default.languages,
        captions_per_row=default.captions_per_row,
        seed=default.seed,
    )
    add("--geometry_only", action="store_true", help="leave colours out, for privacy")
    lies = "axis of the scans that points up (y, -y, z, -z, x, -x), and where the face looks if that is unusual (y/-z)"
    add("--up_axis", default=scan_set.up_axis, type=up_axis, metavar="AXIS", help=lies)
    add("--num_frames", type=int, default=default.num_frames, help="frames kept of a longer sequence; 0: all")
    add(
        "--label_prompts", action="store_true", help="also make texts of the labels; this is supervision, and marked so"
    )
    add("--keep_demographics", action="store_true", help="write sex, age group and ancestry where the set tells them")
    add(
        "--split",
        type=float,
        nargs=3,
        default=list(default.fractions),
        metavar=("TRAIN", "VALIDATION", "TEST"),
        help="shares of the people, where the source has no splits of its own",
    )
    add("--key_file", help=f"key of the pseudonyms, made if absent; default: {DEFAULT_KEY_FILE}")
    add("--mapping", help="also write a CSV that leads from rows to files, outside of the data set")
    add("--unallowed", help="file with the names of subjects that must not be used, one per line")
    scan_set.add_flags(flags)
    return flags


def main(scan_set: ScanSet, argv: Sequence[str] | None = None) -> int:
    """Build with the flags of a command line; the exit status."""
    flags = arguments(scan_set).parse_args(argv)
    try:
        info = run(scan_set, flags)
    except ValueError as error:
        print(f"error: {shown(str(error))}", file=sys.stderr)
        return 1
    if not info.get("complete"):
        print(
            f"{shown(str(flags.out))}: part {flags.part} is there; the same command without --part, or dataset_scripts.merge, "
            "completes the set"
        )
        return 0
    if info["rejected"] and not flags.mapping:
        print("which files these are, --mapping FILE tells, for your eyes alone")
    if not any(info["rows"].values()):
        print(
            f"error: {shown(str(flags.out))}: not one scan could be used; see {schema.REJECTED_FILE} in it",
            file=sys.stderr,
        )
        return 1
    print(f"{shown(str(flags.out))}: {info['rows']}, {info['bytes'] / 1e6:.1f} MB")
    return 0


def run(scan_set: ScanSet, flags: argparse.Namespace) -> dict:
    """Find the scans, give their people pseudonyms and splits, and build.

    Raises:
        ValueError: if nothing is found, a flag makes no sense, or the folder holds another build.
    """
    scan_set = dataclasses.replace(scan_set, **scan_set.told_by(flags))
    with scan_set.opened(flags.source) as source:
        if not source.is_dir():
            raise ValueError(f"{source} is no folder; expected {scan_set.layout}")
        return _run(scan_set, flags, source)


def _run(scan_set: ScanSet, flags: argparse.Namespace, source: Path) -> dict:
    """`run`, of a folder that is there."""
    found = scan_set.find(source, flags)
    kept, copies = one_copy((_own_name(scan), scan.files[0], len(scan.frames)) for scan in found.scans)
    scans = [scan for scan in found.scans if scan.files[0] in kept]
    notes = [*found.notes, *copies, *_packed(source)]
    print(*map(shown, notes), sep="\n", end="\n" if notes else "", file=sys.stderr)
    unallowed = unallowed_subjects(source, flags.unallowed, {scan.subject for scan in scans})
    scans = sorted((s for s in scans if s.subject not in unallowed), key=_own_name)
    if not scans:
        reasons = "".join(f"; {path}: {reason}" for path, reason in found.rejected[:3])
        reasons += "".join(f"; {note}" for note in notes)
        raise ValueError(f"{source}: no scans found; expected {scan_set.layout}{reasons}")
    _check_case({scan.subject for scan in scans})
    key = Pseudonyms.from_file(flags.key_file)
    settings = _settings(scans, flags)
    items = _named([scan.sampled(settings.num_frames) for scan in scans], key)
    shards = _without(forgotten(flags.key_file), _shards(items, settings), key)
    rejected = _rejected(source, found.rejected, key)
    if flags.mapping:
        rows = [(item.id, item.scan.subject, str(file)) for item in items for file in item.scan.files]
        rows += [(line["id"], "", str(path)) for line, (path, _) in zip(rejected, found.rejected, strict=True)]
        write_mapping(flags.mapping, rows, flags.out)
    options = _own_options(scan_set, flags, key) | {"key_id": key.key_id}
    version = key.digest(described([item.scan for item in items], source))
    info = card.describe_scans(scan_set, settings, options, version)
    make_worker, sources = functools.partial(ScanRenderer, settings), ShardSources(key, source)
    return build(make_worker, info, shards, flags.out, rejected=rejected, sources_of=sources, **parallel_options(flags))


def _check_case(people: Iterable[str]) -> None:
    """Refuse names that differ in case alone: one person could be trained on and tested on."""
    spelled: dict[str, list[str]] = {}
    for name in sorted(people):
        spelled.setdefault(name.casefold(), []).append(name)
    alike = [" and ".join(names) for names in spelled.values() if len(names) > 1]
    if alike:
        raise ValueError(
            f"people whose names differ in case alone: {', '.join(alike[:3])}; write each of them in one way"
        )


def _own_name(scan: Scan) -> tuple[str, str, str]:
    """What tells a scan from all others of its set."""
    return scan.subject, scan.name, scan.moment


def _own_options(scan_set: ScanSet, flags: argparse.Namespace, key: Pseudonyms) -> dict:
    """The flags that only this set has; what somebody typed or a file is called may name people, so of that a keyed hash."""
    own = argparse.ArgumentParser(add_help=False)
    scan_set.add_flags(own)
    options = {}
    for action in own._actions:
        value = getattr(flags, action.dest)
        is_plain = action.choices or action.type in (int, float) or not value or value is True
        text = value.name if isinstance(value, Path) else repr(value)
        options[action.dest] = value if is_plain else key.digest(text)
    return options


def _packed(source: Path) -> list[str]:
    """What to tell of archives that nobody unpacked."""
    archives = packed(source)
    names = ", ".join(str(path.relative_to(source)) for path in archives[:3]) + (", ..." if len(archives) > 3 else "")
    return [f"{len(archives)} archives are not unpacked, so they are not read: {names}"] if archives else []


def _rejected(source: Path, found: Sequence[tuple[Path, str]], key: Pseudonyms) -> list[dict]:
    """What is written of files that are not used; the user is shown the first of them under their own names."""
    for path, reason in found[:REJECTIONS_SHOWN]:
        print(shown(f"{path}: {reason}"), file=sys.stderr)
    if len(found) > REJECTIONS_SHOWN:
        print(f"... and {len(found) - REJECTIONS_SHOWN} more", file=sys.stderr)
    lines = []
    for path, reason in found:
        place = os.path.relpath(path, source)
        lines.append({"id": key(place), "reason": without_paths(reason, [path], *names_in(place))})
    return lines


def _settings(scans: Sequence[Scan], flags: argparse.Namespace) -> ScanSettings:
    """Settings of a build; without `--channels`, the first readable scan tells whether there are colours to show."""
    channels = flags.channels
    photos = not any(isinstance(scan.frames[0], Path) for scan in scans)
    asked = flags.geometry_only or flags.keep_geometry or flags.view_angles_deg
    if photos and (asked or tuple(channels or RGB) != RGB):
        raise ValueError(
            "photos have colours only, and are as the cameras saw them: drop --geometry_only, --keep_geometry, "
            f"--view_angles_deg, and --channels other than {' '.join(RGB)}"
        )
    if channels is None and not flags.geometry_only:
        channels = RGB if photos or _is_colored(scans) else None
    if flags.geometry_only and channels and set(channels) & set(COLOR_CHANNELS):
        raise ValueError(f"--geometry_only leaves colours out, but --channels asks for {', '.join(channels)}")
    decided = {"channels": tuple(channels)} if channels else {}
    if photos:
        decided["view_angles_deg"] = scans[0].view_angles_deg
    return settings_of(flags, ScanSettings, render=render_settings(flags, **decided), fractions=tuple(flags.split))


def _is_colored(scans: Iterable[Scan]) -> bool:
    """Whether the first mesh that can be read has colours."""
    for scan in scans:
        if isinstance(scan.frames[0], Path):
            try:
                mesh = load_mesh(scan.frames[0])
            except ValueError:
                continue
            return mesh.vertex_colors is not None or (mesh.uvs is not None and mesh.texture is not None)
    return False


def _named(scans: Sequence[Scan], key: Pseudonyms) -> list[PseudonymousScan]:
    """Scans under pseudonyms, in the order of these, which tells nothing of the order of the names."""
    double = [" ".join(name) for name, count in Counter(map(_own_name, scans)).items() if count > 1]
    if double:
        raise ValueError(f"two scans of the same name: {', '.join(double[:3])}; each needs its own")
    items = [
        PseudonymousScan(key(scan.subject), f"{key(scan.subject)}-{_written_name(scan, key)}", scan) for scan in scans
    ]
    return sorted(items, key=lambda item: (item.subject, item.id))


def _written_name(scan: Scan, key: Pseudonyms) -> str:
    """What follows the pseudonym in a row's id."""
    return f"{scan.name}-{key.digest(scan.moment)[:8]}" if scan.moment else scan.name


def _without(left_out: set[str], shards: Sequence[Shard], key: Pseudonyms) -> list[Shard]:
    """The shards without people who are to be forgotten; everybody else stays in shard and split."""
    gone = {name for shard in shards for name in shard.subjects if key.digest(name) in left_out}
    if gone:
        print(f"{len(gone)} people are left out, as they were forgotten with this key", file=sys.stderr)
    return [
        dataclasses.replace(
            shard,
            subjects=[name for name in shard.subjects if name not in gone],
            work=[item for item in shard.work if item.subject not in gone],
        )
        for shard in shards
    ]


def _shards(items: Sequence[PseudonymousScan], settings: ScanSettings) -> list[Shard]:
    """Whole subjects, by split; the source's splits where it has them."""
    given = {item.scan.subject: item.scan.split for item in items if item.scan.split}
    if given:
        people = {split: {i.scan.subject for i in items if i.scan.split == split} for split in schema.SPLITS}
        check_disjoint(people)
        missing = sorted({item.scan.subject for item in items} - set(given))
        if missing:
            raise ValueError(f"some subjects have no split: {', '.join(missing[:3])}")
    else:
        names = {item.scan.subject for item in items}
        given = split_subjects(names, fractions=settings.fractions, seed=settings.seed)
    work: dict[str, list[PseudonymousScan]] = {}
    splits: dict[str, list[str]] = {split: [] for split in schema.SPLITS}
    for item in items:
        if item.subject not in work:
            splits[given[item.scan.subject]].append(item.subject)
        work.setdefault(item.subject, []).append(item)
    frames = sum(len(item.scan.frames) for item in items) / len(work)
    shards = cut(splits, max(1, round(FRAMES_PER_SHARD / max(1, frames))))
    return [
        Shard(s.split, s.index, s.count, s.subjects, [item for name in s.subjects for item in work[name]])
        for s in shards
    ]
