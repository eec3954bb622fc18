"""The command `mvfer audit verify`, and the log that other commands write with `--audit_log`.

In: a log. Out: what is wrong with it, a line each, and the exit status: 0, or 1 if somebody changed it.
"""

import argparse
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modeling_mvfer.audit_log_mvfer import AuditLog


def main(argv: list[str] | None = None) -> int:
    """`mvfer audit verify`: 0 where every line is as it was written, 1 where one is not."""
    args = parser().parse_args(argv)
    from modeling_mvfer.audit_log_mvfer import verify
    from processing.names_mvfer import shown

    found = verify(args.file, args.audit_key)
    for fault in found.faults:
        print(shown(fault))
    said = "as they were written" if not found.faults else f"{len(found.faults)} faults"
    print(f"{shown(args.file)}: {found.lines} lines, {said}; the last hash is {found.last}")
    return 1 if found.faults else 0


def parser() -> argparse.ArgumentParser:
    """The flags of `mvfer audit`."""
    flags = argparse.ArgumentParser(
        prog="mvfer audit",
        description="Has anybody edited, removed or moved lines of an audit log? Exit status 0: no, 1: yes, 2: error.",
        epilog="example:\n  mvfer audit verify audit.jsonl",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    flags.add_argument("action", choices=["verify"], help="what to do")
    flags.add_argument("file", help="the log; its numbered, full files beside it are read as well")
    _add_key_flag(flags)
    return flags


def add_audit_flags(flags: argparse.ArgumentParser) -> None:
    """The flags of commands that keep a log of their answers."""
    flags.add_argument("--audit_log", metavar="FILE", help="append a line per answer to this log; see docs/privacy.md")
    flags.add_argument("--audit_user", default="", metavar="WHO", help="who asks, as the log shall say it")
    _add_key_flag(flags)


def _add_key_flag(flags: argparse.ArgumentParser) -> None:
    flags.add_argument(
        "--audit_key", metavar="FILE", help="key of the log (default: mvfer/audit.key in your configuration)"
    )


def recorder(
    args: argparse.Namespace, command: str, model, settings: Mapping, *, scans: Mapping | None = None
) -> Callable[[object, Mapping], None]:
    """What writes the row of an input into the log that the flags ask for; into none if they ask for none.

    Args:
        command: such as "predict"; settings: what else decides the answers; scans: settings that are files of people, of which
            hashes are written.
    Raises:
        ValueError: if the log cannot be used, so before anything is asked.
    """
    log = open_log(args)
    if log is None:
        return lambda source, row: None
    from modeling_mvfer.audit_log_mvfer import model_hash

    known = {"command": command, "model": model_hash(model)}
    settings = {**settings, **{name: log.input_hash(files) for name, files in (scans or {}).items() if files}}

    def record(source, row: Mapping) -> None:
        rows = [row] if "error" in row else [item | {"abstain": row["abstain"]} for item in row["scores"]]
        log.record(source, rows, settings=settings, **known)

    return record


def open_log(args: argparse.Namespace) -> "AuditLog | None":
    """The log that the flags ask for, if they do.

    Raises:
        ValueError: if it cannot be used.
    """
    if args.audit_log is None:
        if args.audit_user or args.audit_key:
            raise ValueError("--audit_user and --audit_key are for --audit_log; pass it, or leave them out")
        return None
    from modeling_mvfer.audit_log_mvfer import AuditLog

    if not args.audit_user.strip():
        raise ValueError("--audit_log says who asked; name yourself with --audit_user")
    return AuditLog(args.audit_log, user=args.audit_user, key_file=args.audit_key)
