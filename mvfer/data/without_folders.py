"""Commands and settings as they are written beside results. In: words. Out: these without whole paths, which may name people."""

import shlex
from collections.abc import Sequence
from pathlib import PurePath


def command_line(program: str, words: Sequence[str]) -> str:
    """A command as it is written beside its results: of whole paths the last part alone."""
    return f"{program} {shlex.join(map(without_folders, words))}".strip()


def without_folders(word: str) -> str:
    """The last part of a path that begins at the root or at home or goes upwards; any other word as it is."""
    flag, is_set, value = word.rpartition("=") if word.startswith("-") else ("", "", word)
    path = PurePath(value)
    is_elsewhere = path.is_absolute() or value.startswith("~") or ".." in path.parts
    return f"{flag}{is_set}{path.name}" if is_elsewhere else word
