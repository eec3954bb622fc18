"""Names of files and materials, as foreign programs write them into mesh files.

In: a name as it stands in a file, in whatever encoding, perhaps with options before it and a comment behind it. Out: what it
may mean, likeliest first. Whoever knows what lies on the disk (`textures_mvfer.py`) takes the first that is there.
"""

from __future__ import annotations

import re
from contextlib import suppress
from urllib.parse import unquote

_ENCODINGS = ("utf-8", "cp932", "gbk", "cp1252", "latin-1")  # strictest first; the last takes everything
_MOVES = re.compile(  # control characters, line ends, halves of letters, and what turns the direction of writing
    r"[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff\ufff9-\ufffb]"
)
_NUMBER = r"[-+]?[\d.]+(?:e[-+]?\d+)?"
_OPTION = re.compile(
    rf"-(?:(?:blendu|blendv|boost|bm|cc|clamp|imfchan|texres|type)\s+\S+\s+|mm\s+(?:{_NUMBER}\s+){{2}}"
    rf"|[ost]\s+(?:{_NUMBER}\s+){{1,3}})",
    re.IGNORECASE,
)


def decode(data: bytes) -> str:
    """Text as UTF-8. Other bytes stay as they are, as surrogates; `spellings` says what they may mean."""
    return data.decode("utf-8-sig", "surrogateescape")


def spellings(name: str) -> list[str]:
    """A name as UTF-8, else as Windows writes it in Japan, China and Europe, else as its bytes are."""
    if name.isascii():
        return [name]
    data, found = name.encode("utf-8", "surrogateescape"), []
    for encoding in _ENCODINGS:
        with suppress(UnicodeDecodeError):
            found.append(data.decode(encoding))
        if found and encoding == "utf-8":
            return found
    return list(dict.fromkeys([*found, name]))


def file_names(name: str) -> list[str]:
    """The spellings of a file's name, and what they are where a web address was written (`my%20face.png`)."""
    return list(dict.fromkeys(form for spelling in spellings(name) for form in (spelling, unquote(spelling))))


def material_names(value: str) -> list[str]:
    """What `newmtl` and `usemtl` may name: all that follows, or what stands before a comment."""
    return [form for text in dict.fromkeys((value, without_comment(value))) for form in spellings(text)]


def printable(name: str) -> str:
    """A name for a message, on one line: `shown` of its likeliest spelling."""
    return shown(spellings(name)[0])


def shown(text: str) -> str:
    """Text of others for a terminal, a log, or one field of a table.

    What would move the cursor, end the line or the field, or turn the direction of writing is spelt out: `\\x1b`, `\\t`,
    `\\u202e`.
    """
    return _MOVES.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def shown_lines(text: str) -> str:
    """The same for text of several lines."""
    return "\n".join(map(shown, text.split("\n")))


def shown_json(text: str) -> str:
    """The same for JSON, which says the same afterwards."""
    return _MOVES.sub(lambda found: found[0] if found[0] < " " else f"\\u{ord(found[0]):04x}", text)


def as_markdown(text: str) -> str:
    """Text of others for one place of a Markdown page: no line, cell, link, picture, heading or HTML begins or ends in it."""
    text = re.sub(r"([\\`*|]|(?<=\])\()", r"\\\1", shown(text))
    return text.replace("<", "&lt;").replace(">", "&gt;")


def without_comment(value: str) -> str:
    """`skin # of the face` -> `skin`; `skin#2` is a name."""
    return re.split(r"(?:^|\s)#", value, maxsplit=1)[0].rstrip()


def without_options(value: str) -> str:
    """`-s 1 1 1 -clamp on my skin.png` -> `my skin.png`, by the options of the MTL format."""
    begin = 0
    while option := _OPTION.match(value, begin):
        begin = option.end()
    return value[begin:].strip()


def split_library_names(value: str) -> list[str]:
    """`a.mtl my b.mtl` -> `a.mtl`, `my b.mtl`."""
    return re.split(r"(?i)(?<=\.mtl)[\"']?\s+", value)
