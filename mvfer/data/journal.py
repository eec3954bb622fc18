"""Answers that were paid for are kept: a log of finished work, from which a killed command goes on.

In: a key and what was found for it, ready for JSON. Out: the same, whenever the command is started again. What is committed
together counts together, or not at all, so whatever moment a process dies at costs at most the work since the last `commit`. The
log is one process's at a time, and belongs to one question: it refuses another one's model or options.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

FORM = 1
COMMITTED = True  # a line of its own: all lines above it count


class Journal:
    """A file of JSON lines, used by `with`.

    Args:
        path: of the file, made with its folder if it is not there.
        question: what decides the answers, by name; ready for JSON.
        remedy: what to do if the file answers another question.
        anew: drop a file that answers another question, instead of refusing it.
    Raises:
        ValueError: if it cannot be written, belongs to another question, or another process holds it.
    """

    def __init__(self, path: Path, question: Mapping[str, Any], *, remedy: str, anew: bool = False):
        self.path, self.question = path, question
        self._places: dict[tuple[str, str], tuple[str, int]] = {}  # kind and key: stamp, and where the line begins
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b")
        except OSError as error:
            raise ValueError(f"{path}: cannot be written ({error.strerror}); choose another place") from error
        try:
            self._lock()
            self._open(json.loads(json.dumps(dict(question) | {"form": FORM})), remedy, anew)
        except BaseException:
            self._file.close()
            raise

    def get(self, kind: str, key: str, stamp: str) -> Any:
        """What was found for this key while its stamp was this one; `None` if nothing was."""
        known, place = self._places.get((kind, key), ("", 0))
        if not place or known != stamp:
            return None
        self._file.seek(place)
        return json.loads(self._file.readline())[3]

    def has(self, kind: str, key: str, stamp: str) -> bool:
        """Whether `get` has something to give."""
        return self._places.get((kind, key), ("", 0))[0] == stamp

    def add(self, kind: str, key: str, stamp: str, found: Any) -> None:
        """Keep what was found; it is safe once `commit` returns."""
        self._file.seek(0, os.SEEK_END)
        self._places[kind, key] = stamp, self._file.tell()
        self._write([kind, key, stamp, found])

    def commit(self) -> None:
        """Bring what was added to the disk.

        Raises:
            ValueError: if the disk is full, or the file cannot be written any more; what was committed before is safe.
        """
        self._file.seek(0, os.SEEK_END)
        self._write(COMMITTED)
        self._sync()

    def take(self, path: Path, *, remedy: str, anew: bool = False) -> None:
        """Take over what another log of the same question holds, and take that log away.

        Raises:
            ValueError: if it answers another question, or another process writes it.
        """
        with Journal(path, self.question, remedy=remedy, anew=anew) as other:
            for (kind, key), (stamp, _) in other._places.items():
                self.add(kind, key, stamp, other.get(kind, key, stamp))
            self.commit()
            other.remove()

    def remove(self) -> None:
        """It is not needed any more."""
        self.path.unlink(missing_ok=True)

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_) -> None:
        """Close it; one that holds nothing is taken away."""
        if not self._places:
            self.remove()
        try:
            self._file.close()
        except OSError:  # what could not be written is told by `commit`
            pass

    def _lock(self) -> None:
        if fcntl is None:
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(
                f"{self.path}: another process writes it; wait for its end, or choose another --out"
            ) from error
        except OSError:  # a file system without locks
            pass

    def _open(self, question: dict, remedy: str, anew: bool) -> None:
        first = _parsed(self._file.readline())
        end = self._read_places()
        if first == question:
            self._file.truncate(end)
            return
        if self._places and not anew:
            known = first if isinstance(first, dict) else {}
            differs = sorted(name for name in known | question if known.get(name) != question.get(name))
            raise ValueError(f"{self.path}: begun with another {', '.join(differs)}; {remedy}")
        self._places = {}
        self._file.seek(0)
        self._file.truncate()
        self._write(question)
        self._sync()

    def _read_places(self) -> int:
        """Find what was committed; where that ends."""
        end, pending = self._file.tell(), {}
        while True:
            place = self._file.tell()
            entry = _parsed(self._file.readline())
            if entry is COMMITTED:
                self._places |= pending
                end, pending = self._file.tell(), {}
            elif isinstance(entry, list):
                pending[entry[0], entry[1]] = entry[2], place
            else:  # torn, or the end
                return end

    def _write(self, line: Any) -> None:
        try:
            self._file.write(json.dumps(line).encode("ascii") + b"\n")
        except OSError as error:
            raise self._lost(error) from error

    def _sync(self) -> None:
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise self._lost(error) from error

    def _lost(self, error: OSError) -> ValueError:
        return ValueError(
            f"{self.path}: cannot be written ({error.strerror}); make room, and start again: it goes on from here"
        )


def _parsed(line: bytes) -> Any:
    """A whole line; `None` for one that was cut short."""
    try:
        return json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        return None
