"""The flags that all builders share. In: a parser, later its flags. Out: the settings that they stand for."""

import argparse
import dataclasses
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from mvfer.data.parts import add_part_flag
from mvfer.progress import add_quiet_flag, be_quiet
from processing.cameras_mvfer import DEFAULT_AIM_Y
from processing.rendering_mvfer import BACKENDS, RenderSettings, resolve_backend

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Settings = TypeVar("Settings", bound="DataclassInstance")


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows the defaults of the flags that have one."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        has_none = action.default is None or action.default is False or action.default == []
        return action.help if has_none else super()._get_help_string(action)


def add_build_flags(
    flags: argparse.ArgumentParser,
    *,
    size_px: int,
    supersampling: int,
    default_channels: str,
    languages: Sequence[str],
    captions_per_row: int,
    seed: int,
) -> None:
    """Where to write, how to render, how to word, and how to share the work; `default_channels` is for the help."""
    add = flags.add_argument
    add("--out", required=True, help="folder to write")
    add("--size_px", type=int, default=size_px, help="height and width of the views")
    add("--supersampling", type=int, default=supersampling, help="samples per pixel and axis")
    aim = "how far above the tip of the nose the cameras look, 1 is half of the image"
    add("--aim_y", type=float, default=DEFAULT_AIM_Y, help=aim)
    add("--channels", nargs=3, metavar="CHANNEL", help=f"what the three channels show; default: {default_channels}")
    add("--view_angles_deg", type=float, nargs="+", metavar="YAW", help="yaw of every view; default: -30 0 30")
    add(
        "--keep_geometry",
        action="store_true",
        help="also write the scans, without colours, into the column `meshes`, which datasets.Mesh reads",
    )
    add("--backend", choices=BACKENDS, default="auto", help="rasteriser; auto is numba where installed")
    add("--languages", nargs="+", default=list(languages), choices=("en", "ja"), help="of the captions")
    add("--captions_per_row", type=int, default=captions_per_row, help="per language")
    add("--seed", type=int, default=seed, help="of all that is drawn; the same seed gives the same bytes")
    add("--num_proc", type=int, default=os.cpu_count() or 1, help="processes")
    add_part_flag(flags, "shards")
    add("--overwrite", action="store_true", help="delete the build that --out holds, and build anew")
    add_quiet_flag(flags)


def render_settings(flags: argparse.Namespace, **instead) -> RenderSettings:
    """The flags' render settings; `instead` are fields that something else decides."""
    values = {"size_px": flags.size_px, "supersampling": flags.supersampling, "aim_y": flags.aim_y}
    values["backend"] = resolve_backend(flags.backend)
    if flags.channels:
        values["channels"] = tuple(flags.channels)
    if flags.view_angles_deg:
        values["view_angles_deg"] = tuple((yaw, 0.0) for yaw in flags.view_angles_deg)
    return RenderSettings(**values | instead)


def settings_of(flags: argparse.Namespace, kind: type[Settings], **instead) -> Settings:
    """A dataclass of the flags that are named as its fields are; `instead` are fields that something else decides."""
    names = {field.name for field in dataclasses.fields(kind)} - set(instead)
    values = {name: value for name, value in vars(flags).items() if name in names}
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}, **instead)


def parallel_options(flags: argparse.Namespace) -> dict[str, Any]:
    """What `building.build` wants to know of processes, parts and what the folder holds; it is quiet if it shall be."""
    be_quiet(flags.quiet)
    return {name: getattr(flags, name) for name in ("num_proc", "part", "overwrite")}
