"""People who must not be used. In: the lists that name them, and the people of a set. Out: those who are left out.

Bosphorus has such a list, `unallowed_subjects.txt`, in its folder of documents, which also holds the scans' own folder (so listed
by a public reader of the set). How it separates names is not published, so people are looked for in its text.
"""

import re
import sys
from collections.abc import Iterable
from pathlib import Path

from dataset_scripts.recorded.source_tree import files
from processing.names_mvfer import shown

_NUMBERED = re.compile(r"([A-Za-z]+)(\d+)")


def unallowed_subjects(source: Path, file: str | None, people: Iterable[str]) -> set[str]:
    """People who are named by a list `unallowed*.txt` in or beside the source folder, or by the user's own.

    Raises:
        ValueError: if a list names nobody of the set (one beside the source may be another set's, and is told), or the user's
            cannot be read.
    """
    people, left_out = set(people), set()
    inside = [path for path in files(source, ".txt") if _is_list(path)]
    beside = sorted(path for path in source.resolve().parent.glob("*.txt") if _is_list(path))
    for path in [*inside, *beside, *([Path(file)] if file else [])]:
        text = _text(path)
        named = {person for person in people if re.search(_pattern(person), text, re.IGNORECASE)}
        if named:
            absent = len(_names_like(people, text)) - len(named)
            more = f"; {absent} more names in it are of nobody here" if absent > 0 else ""
            print(f"{shown(str(path))}: {len(named)} of {len(people)} people are left out{more}", file=sys.stderr)
        elif path in beside:
            print(f"{shown(str(path))}: lists nobody of this set, so nobody is left out for it", file=sys.stderr)
        elif people:
            raise ValueError(
                f"{path}: lists nobody of this set; write the set's own names, such as {min(people)}, or take the list away if "
                "your copy has none of these people"
            )
        left_out |= named
    return left_out


def _is_list(path: Path) -> bool:
    return path.name.lower().startswith("unallowed")


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}); it should list subjects") from error
    return data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8", "replace")


def _pattern(person: str) -> str:
    """The name as a list may write it: "bs001" also as BS001, "bs 1" or bs_001."""
    numbered = _NUMBERED.fullmatch(person)
    if numbered is None:
        return rf"(?<!\w){re.escape(person)}(?!\w)"
    return rf"(?<![A-Za-z0-9]){numbered[1]}[ _-]?0*{int(numbered[2])}(?!\d)"


def _names_like(people: set[str], text: str) -> set[tuple[str, int]]:
    """Names in the text that are built as the people's: the same letters, and a number."""
    letters = {match[1].lower() for person in people if (match := _NUMBERED.fullmatch(person))}
    found = re.findall(r"(?<![A-Za-z0-9])([A-Za-z]+)[ _-]?(\d+)", text)
    return {(word.lower(), int(number)) for word, number in found if word.lower() in letters}
