"""Who is who stays with the user: the key of the pseudonyms, and the list that leads from a row back to its file.

In: a subject's name in its data set. Out: a keyed hash. The key is made once and lies in the user's configuration folder,
never in a data set: who has the data set alone cannot tell whether "F0001" is in it.
"""

import csv
import hashlib
import hmac
import os
import secrets
from collections.abc import Iterable
from pathlib import Path

KEY_BYTES = 32
DEFAULT_KEY_FILE = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "mvfer" / "pseudonyms.key"


class Pseudonyms:
    """Names to pseudonyms, with one key.

    Raises:
        ValueError: if the key is shorter than 16 bytes.
    """

    def __init__(self, key: bytes):
        if len(key) < 16:
            raise ValueError(f"expected a key of at least 16 bytes for the pseudonyms, got {len(key)}")
        self._key = key

    @classmethod
    def from_file(cls, path: str | os.PathLike | None = None) -> "Pseudonyms":
        """Read the key, or make one that only this user may read.

        Raises:
            ValueError: if the file cannot be read or written, or is too short.
        """
        path = Path(path or DEFAULT_KEY_FILE)
        try:
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                with os.fdopen(descriptor, "wb") as stream:
                    stream.write(secrets.token_hex(KEY_BYTES).encode())
                print(f"made a key for pseudonyms, {path}: keep it, and keep it apart from the data set")
            return cls(path.read_bytes().strip())
        except OSError as error:
            raise ValueError(
                f"{path}: the key of the pseudonyms cannot be used ({error.strerror}); name another with --key_file"
            ) from error

    def __call__(self, name: str) -> str:
        """The pseudonym of a subject, or of any name: "s" and twelve hexadecimal digits."""
        return "s" + hmac.new(self._key, name.encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()[:12]

    @property
    def key_id(self) -> str:
        """Tells keys apart without giving one away."""
        return hmac.new(self._key, b"key id", hashlib.sha256).hexdigest()[:8]


def _cell(value: str) -> str:
    """A name that a spreadsheet would take for a formula, as text; all others as they are."""
    return f"'{value}" if value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


def write_mapping(path: str | os.PathLike, rows: Iterable[tuple[str, str, str]], data_set: str | os.PathLike) -> None:
    """Write (id, subject, file) as CSV, for whoever may know.

    Raises:
        ValueError: if the file would lie inside the data set, or cannot be written.
    """
    path = Path(path)
    if path.resolve().is_relative_to(Path(data_set).resolve()):
        raise ValueError(f"{path} would lie in the data set, whose pseudonyms it resolves; put it elsewhere")
    try:
        with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as stream:
            writer = csv.writer(stream)
            writer.writerow(("id", "subject", "file"))
            writer.writerows([[_cell(value) for value in row] for row in rows])
        path.chmod(0o600)
    except OSError as error:
        raise ValueError(f"{path} cannot be written ({error.strerror}); choose another --mapping") from error
