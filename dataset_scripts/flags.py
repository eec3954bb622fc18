"""The flags that the builders of synthetic data share. In: a command line. Out: a build (`building`)."""

import argparse
import os
from collections.abc import Callable, Sequence

from processing.prompts_mvfer import EXPRESSIONS
from processing.rendering_mvfer import BACKENDS, RenderSettings, resolve_backend

from .synthesis import KINDS, BuildSettings, HeadModel, Source, build_heads


def arguments(description: str, subjects: Sequence[int]) -> argparse.ArgumentParser:
    """The flags that all builders have."""
    default = BuildSettings()
    flags = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    add = flags.add_argument
    add("--out", required=True, help="folder to write")
    add("--subjects", type=int, nargs=3, default=list(subjects), metavar=("TRAIN", "VALIDATION", "TEST"), help="people")
    add("--kind", choices=KINDS, default=default.kind, help="scans, sequences, or micro-expressions")
    add("--size_px", type=int, default=64, help="height and width of the views")
    add("--supersampling", type=int, default=2, help="samples per pixel and axis")
    add("--channels", nargs=3, default=list(default.render.channels), help="what the three channels show")
    add(
        "--view_angles_deg",
        type=float,
        nargs="+",
        default=None,
        metavar="YAW",
        help="yaw of every view; default -30 0 30",
    )
    add("--backend", choices=BACKENDS, default="auto", help="rasteriser; auto is numba where installed")
    add("--seed", type=int, default=default.seed, help="the same seed gives the same bytes")
    add("--expressions", nargs="+", default=list(default.expressions), choices=EXPRESSIONS, help="classes")
    add(
        "--expressions_per_subject",
        type=int,
        default=default.expressions_per_subject,
        help="rows per class and training subject",
    )
    add(
        "--random_per_subject",
        type=int,
        default=default.random_per_subject,
        help="rows of random actions per training subject",
    )
    add("--vary_geometry", action="store_true", help="vary resolution, smoothness, noise, holes, framing and light")
    add("--variants", type=int, default=default.variants, help="with --vary_geometry: renderings per training scan")
    add("--languages", nargs="+", default=list(default.languages), choices=("en", "ja"), help="of the captions")
    add("--captions_per_row", type=int, default=default.captions_per_row, help="per language")
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
    add("--meshes", action="store_true", help="also write the first test subject's scans as OBJ files")
    add("--num_proc", type=int, default=os.cpu_count() or 1, help="processes")
    add("--num_shards", type=int, default=1, help="number of machines that share the build")
    add("--shard_index", type=int, default=0, help="which of them this is")
    return flags


def run(flags: argparse.Namespace, load: Callable[[], HeadModel], source: Source) -> dict:
    """Build with parsed flags."""
    render = {"size_px": flags.size_px, "supersampling": flags.supersampling, "channels": tuple(flags.channels)}
    if flags.view_angles_deg:
        render["view_angles_deg"] = tuple((yaw, 0.0) for yaw in flags.view_angles_deg)
    default = (32, 60.0) if flags.kind == "micro" else (BuildSettings.num_frames, BuildSettings.fps)
    flags.num_frames, flags.fps = flags.num_frames or default[0], flags.fps or default[1]
    names = set(BuildSettings.__dataclass_fields__) - {"render"}
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in vars(flags).items() if k in names}
    settings = BuildSettings(render=RenderSettings(backend=resolve_backend(flags.backend), **render), **values)
    info = build_heads(
        load,
        source,
        settings,
        flags.out,
        num_proc=flags.num_proc,
        num_shards=flags.num_shards,
        shard_index=flags.shard_index,
        meshes=flags.meshes,
    )
    if info.get("complete"):
        print(f"{flags.out}: {info['rows']}, {info['bytes'] / 1e6:.1f} MB")
    return info
