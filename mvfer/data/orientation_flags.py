"""Flags that say how scans lie. In: a parser. Out: `--orientation`, and `--up_axis` as it is called in data sets."""

import argparse
import sys
from collections.abc import Sequence

AXES = ("-x", "-y", "-z")


class OrientationParser(argparse.ArgumentParser):
    """Takes `--up_axis -y` as it is written, though argparse sees a flag in "-y"."""

    def parse_known_args(self, args=None, namespace=None):
        return super().parse_known_args(joined(sys.argv[1:] if args is None else args), namespace)

    def error(self, message: str):
        """A file whose name begins with "-" is taken for a flag and named here."""
        from processing.names_mvfer import shown

        super().error(shown(message))


def joined(args: Sequence[str]) -> list[str]:
    """`--up_axis -y` -> `--up_axis=-y`."""
    result: list[str] = []
    for arg in args:
        if result and result[-1] in ("--up_axis", "--orientation") and arg.startswith(AXES):
            result[-1] += f"={arg}"
        else:
            result.append(arg)
    return result


def add_orientation_flags(flags: argparse.ArgumentParser, default: str | None, default_help: str) -> None:
    """`--orientation`, also under the name `--up_axis`."""
    flags.add_argument(
        "--orientation",
        "--up_axis",
        dest="orientation",
        metavar="AXIS",
        type=orientation,
        default=default,
        help="how the files lie: auto, or the axis that points up (y, -y, z, -z, x, -x), and where the face looks if that is "
        f"unusual (y/-z); with /mirrored for left-handed coordinates (default: {default_help})",
    )


def orientation(name: str) -> str:
    """The type of the flag; `processing` is imported here, so that --help need not load it."""
    from processing.orientation_mvfer import UP_AXES, rotations

    try:
        rotations(name)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected one of {', '.join(UP_AXES)}, got {name!r}; or auto, or the axes up and where the face looks, as y/-z"
        ) from None
    return name


def up_axis(name: str) -> str:
    """The type of `--up_axis` where all scans of a set lie alike, which is to be said."""
    if name == "auto":
        raise argparse.ArgumentTypeError("the scans of a set lie alike: say how, such as z or y/-z")
    return orientation(name)
