"""The command `mvfer plot`. In: a table of `mvfer predict --out`. Out: a picture: timelines of sequences, bars of scans."""

import argparse
import re

from mvfer.cli.printed import remark
from mvfer.progress import add_quiet_flag, be_quiet

EPILOG = """examples:
  mvfer predict film/ --sequences --out frames.csv
  mvfer plot frames.csv --out timeline.png
  mvfer plot frames.csv --units AU12 AU12_L AU12_R --only "anna|ben" --out mouths.png
"""


def main(argv: list[str] | None = None) -> int:
    """`mvfer plot`: one picture of a table."""
    args = parser().parse_args(argv)
    be_quiet(args.quiet)
    try:
        only = re.compile(args.only)
    except re.error as error:
        raise ValueError(f"--only {args.only!r}: not a regular expression ({error})") from error
    from mvfer.reports.tables import read_table
    from mvfer.reports.timelines import MOST, films, timelines_picture

    try:
        found = films(row for row in read_table(args.table) if only.search(str(row.get("file"))))
        timelines_picture(found[:MOST], args.out, units=args.units)
    except ValueError as error:
        named = "" if str(error).startswith(args.table) else f"{args.table}: "
        raise ValueError(f"{named}{error}") from error
    if len(found) > MOST:
        remark(f"{len(found) - MOST} of {len(found)} scans and sequences are left out; choose with --only")
    remark(f"wrote {args.out}")
    return 0


def parser() -> argparse.ArgumentParser:
    """The flags of `mvfer plot`."""
    flags = argparse.ArgumentParser(
        prog="mvfer plot",
        description="Draw a table: timelines of expressions and facial actions for sequences, bars for single scans.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    flags.add_argument("table", metavar="FILE", help="written by mvfer predict --out: .csv, .parquet or .json")
    flags.add_argument("--out", default="timeline.png", metavar="PNG", help="picture to write (default: timeline.png)")
    flags.add_argument(
        "--units",
        nargs="+",
        default=(),
        metavar="COLUMN",
        help="facial actions to draw, such as AU12 AU12_L (default: those that are seen most clearly)",
    )
    flags.add_argument(
        "--only",
        default="",
        metavar="PATTERN",
        help="files to draw, by a regular expression (default: the first 20 scans or sequences)",
    )
    add_quiet_flag(flags)
    return flags
