"""The command `mvfer forget`. In: a person's name and a data set. Out: the set without the person, and what stays to be done."""

import argparse

from dataset_scripts.forget import forget
from mvfer.progress import add_quiet_flag, be_quiet
from processing.names_mvfer import shown

STAYS = """What this cannot do: models trained on the set have learnt from this person, and keep hashes of their scans; train
them anew. Reports and pictures made of the set, copies of its folder elsewhere (on the Hub too), audit logs, the source itself
and a --mapping file are as they were: delete them, or the person's lines in them."""


def main(argv: list[str] | None = None) -> int:
    """`mvfer forget`: take a person out of a data set."""
    args = parser().parse_args(argv)
    be_quiet(args.quiet)
    done = forget(args.dataset, args.person, key_file=args.key_file)
    print(
        f"{shown(args.dataset)}: {done.rows} rows taken out, {done.shards} shards rewritten, {done.cached_copies} cached copies "
        "deleted"
    )
    print(STAYS)
    return 0


def parser() -> argparse.ArgumentParser:
    """The flags of `mvfer forget`."""
    flags = argparse.ArgumentParser(
        prog="mvfer forget",
        description="Take a person out of a data set: rows, lists, contact sheet, cached copies. No build with the same "
        "key brings them back.",
        epilog="example:\n  mvfer forget anna --dataset data/mine",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    flags.add_argument("person", help="the name that the source has, letters and all, or the pseudonym")
    flags.add_argument("--dataset", required=True, metavar="DIR", help="folder written by a builder of recorded sets")
    flags.add_argument(
        "--key_file", metavar="FILE", help="key of the pseudonyms (default: the one in your configuration)"
    )
    add_quiet_flag(flags)
    return flags
