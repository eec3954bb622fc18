"""The command line that the builders of synthetic data share. In: its flags, and a head. Out: a build (`building`)."""

import argparse
import sys
from collections.abc import Callable, Sequence

from dataset_scripts.common.flags import HelpFormatter, add_build_flags, parallel_options, render_settings, settings_of
from dataset_scripts.synthetic.synthesis import KINDS, BuildSettings, HeadModel, HeadSet, Source, build_heads
from processing.names_mvfer import shown
from processing.prompts_mvfer import EXPRESSIONS

FRAMES_AND_FPS = {"micro": (32, 60.0)}  # other kinds: those of `BuildSettings`


def arguments(
    description: str, subjects: Sequence[int], *, kind: type[argparse.ArgumentParser] = argparse.ArgumentParser
) -> argparse.ArgumentParser:
    """The flags that all synthetic sets have."""
    default = BuildSettings()
    flags = kind(description=description, formatter_class=HelpFormatter)
    add = flags.add_argument
    add("--subjects", type=int, nargs=3, default=list(subjects), metavar=("TRAIN", "VALIDATION", "TEST"), help="people")
    add("--kind", choices=KINDS, default=default.kind, help="scans, sequences, or micro-expressions")
    add("--expressions", nargs="+", default=list(default.expressions), choices=EXPRESSIONS, help="classes")
    per_class, at_random = default.expressions_per_subject, default.random_per_subject
    add("--expressions_per_subject", type=int, default=per_class, help="rows per class and training subject")
    add("--random_per_subject", type=int, default=at_random, help="rows of random actions per training subject")
    tested = default.random_per_tested
    add("--random_per_tested", type=int, default=tested, help="the same per validation and test subject")
    at_rest = default.rest_per_subject
    add("--rest_per_subject", type=int, default=at_rest, help="rows at rest per subject, more than neutral's variants")
    add(
        "--one_sided",
        type=float,
        default=default.one_sided,
        metavar="CHANCE",
        help="of an action in those random rows to be of one side only, where it can be",
    )
    add(
        "--vary_geometry",
        action="store_true",
        help="vary resolution, smoothness, noise, holes, framing and light of scans, what is seen between the lips, and the "
        "proportions of people",
    )
    add("--people", type=int, default=default.people, help="with --vary_geometry: people made of each training subject")
    add("--variants", type=int, default=default.variants, help="with --vary_geometry: renderings per training scan")
    add("--num_frames", type=int, help=f"frames per sequence; default {default.num_frames}, of micro-expressions 32")
    add("--fps", type=float, help=f"frames per second; default {default.fps:g}, of micro-expressions 60")
    add(
        "--magnification",
        type=float,
        default=default.magnification,
        help="of the movement since a sequence's first frame, before rendering",
    )
    add(
        "--intensity",
        type=float,
        nargs=2,
        default=list(default.intensity),
        metavar=("LOW", "HIGH"),
        help="how strongly expressions are shown, of their full strength",
    )
    add(
        "--meshes",
        nargs="?",
        type=int,
        const=1,
        default=0,
        metavar="N",
        help="also write the scans of the first N test subjects as OBJ files, named by their rows (N is 1 if left out)",
    )
    add_build_flags(
        flags,
        size_px=64,
        supersampling=2,
        default_channels=" ".join(default.render.channels),
        languages=default.languages,
        captions_per_row=default.captions_per_row,
        seed=default.seed,
    )
    return flags


def main(flags: argparse.Namespace, load: Callable[[], HeadModel | HeadSet], source: Callable[[], Source]) -> int:
    """Build with parsed flags; the exit status. `source` is asked here, as it too may refuse what it finds."""
    try:
        run(flags, load, source())
    except ValueError as error:
        print(f"error: {shown(str(error))}", file=sys.stderr)
        return 1
    return 0


def run(flags: argparse.Namespace, load: Callable[[], HeadModel | HeadSet], source: Source) -> dict:
    """Build with parsed flags."""
    num_frames, fps = FRAMES_AND_FPS.get(flags.kind, (BuildSettings.num_frames, BuildSettings.fps))
    settings = settings_of(
        flags,
        BuildSettings,
        render=render_settings(flags),
        num_frames=num_frames if flags.num_frames is None else flags.num_frames,
        fps=fps if flags.fps is None else flags.fps,
    )
    info = build_heads(load, source, settings, flags.out, meshes=flags.meshes, **parallel_options(flags))
    if info.get("complete"):
        print(f"{shown(str(flags.out))}: {info['rows']}, {info['bytes'] / 1e6:.1f} MB")
    return info
