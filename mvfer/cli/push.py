"""The command `mvfer push`. In: a run's folder. Out: the address of its commit on the Hub."""

import argparse

from mvfer.progress import add_quiet_flag, be_quiet


def main(argv: list[str] | None = None) -> int:
    """`mvfer push`: upload a run's folder to the Hub, without its checkpoints."""
    args = parser().parse_args(argv)
    be_quiet(args.quiet)
    from mvfer.hub.push import push_run

    print(push_run(args.folder, args.repo_id, private=not args.public))
    return 0


def parser() -> argparse.ArgumentParser:
    """The flags of `mvfer push`."""
    flags = argparse.ArgumentParser(
        prog="mvfer push",
        description="Upload a run's folder to the Hub, without its checkpoints; prints the address of the commit. A new "
        "repository is private unless asked otherwise: whether weights that learnt from licensed scans may be shown to others is "
        "for their licence to say.",
    )
    flags.add_argument("folder", metavar="DIR", help="folder of a finished run")
    flags.add_argument("--repo_id", required=True, metavar="OWNER/NAME", help="repository; made if it does not exist")
    flags.add_argument("--public", action="store_true", help="make a new repository public (default: private)")
    add_quiet_flag(flags)
    return flags
