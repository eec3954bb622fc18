"""Who is who stays with the user: the key of the pseudonyms, and the list that leads from a row back to its file.

In: a subject's name in its data set. Out: a keyed hash. The key is made once and lies in the user's configuration folder,
never in a data set: who has the data set alone cannot tell whether "F0001" is in it.
"""

import contextlib
import csv
import hashlib
import hmac
import os
import secrets
import tempfile
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
    def from_file(cls, path: str | os.PathLike | None = None, *, make: bool = True) -> "Pseudonyms":
        """Read the key; if there is none, make one that only this user may read, unless `make` is false.

        Raises:
            ValueError: if the file cannot be read or written, or is too short.
        """
        path = Path(path or DEFAULT_KEY_FILE)
        try:
            if make and not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                with tempfile.NamedTemporaryFile(dir=path.parent) as stream, contextlib.suppress(FileExistsError):
                    stream.write(secrets.token_hex(KEY_BYTES).encode())
                    stream.flush()
                    os.link(stream.name, path)  # whole; of tasks that begin at once, the first one's key is everybody's
                    print(f"made a key for pseudonyms, {path}: keep it, and keep it apart from the data set")
            return cls(path.read_bytes().strip())
        except OSError as error:
            raise ValueError(
                f"{path}: the key of the pseudonyms cannot be used ({error.strerror}); name another with --key_file"
            ) from error

    def __call__(self, name: str) -> str:
        """The pseudonym of a subject, or of any name: "s" and twelve hexadecimal digits."""
        return "s" + hmac.new(self._key, name.encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()[:12]

    def digest(self, text: str) -> str:
        """Sixteen hexadecimal digits for any text: equal texts are known again by whoever has the key, and by nobody else."""
        return hmac.new(self._key, b"text:" + text.encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()[:16]

    @property
    def key_id(self) -> str:
        """Tells keys apart without giving one away."""
        return hmac.new(self._key, b"key id", hashlib.sha256).hexdigest()[:8]


def _cell(value: str) -> str:
    """A name that a spreadsheet would take for a formula, as text; all others as they are."""
    return f"'{value}" if value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


def forgotten(key_file: str | os.PathLike | None = None) -> set[str]:
    """Digests of the pseudonyms that no build with this key may have again; the list lies beside the key."""
    path = _forgotten_file(key_file)
    return set(path.read_text(encoding="ascii").split()) if path.exists() else set()


def remember_to_forget(digest: str, key_file: str | os.PathLike | None = None) -> None:
    """Add to what `forgotten` reads.

    Raises:
        ValueError: if the list cannot be written.
    """
    path = _forgotten_file(key_file)
    if digest in forgotten(key_file):
        return
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "w", encoding="ascii") as stream:
            stream.write(digest + "\n")
    except OSError as error:
        raise ValueError(
            f"{path} cannot be written ({error.strerror}); make room or name another --key_file"
        ) from error


def _forgotten_file(key_file: str | os.PathLike | None) -> Path:
    path = Path(key_file or DEFAULT_KEY_FILE)
    return path.with_name(path.name + ".forgotten")


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
