"""A log of what a model was asked and what it said, that shows whether somebody changed it. In: answers. Out: lines of a file.

A line is JSON: number, time, user, command, hash of the model, keyed hash of the input, settings, answer, whether it abstained;
no pixel, no name of a file. Each holds a keyed hash (HMAC) of itself and of the line before, so a line that is edited, removed
or moved is found, and nobody without the key can write one that fits. How many lines there are, the file `FILE.head` tells,
so that the end is not cut off unseen. Processes that write into one log take turns. Full files are numbered `FILE.0001` and
so on; the chain goes on through them.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import torch

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

START = "0" * 64  # what stands for the line before the first one
MAX_BYTES = 64 * 2**20  # of one file


class Checked(NamedTuple):
    """What `verify` found: the lines of the log, the hash of the last one, and what is wrong, empty if nothing is."""

    lines: int
    last: str
    faults: list[str]


class InputHash(str):
    """What `AuditLog.input_hash` gave for an input, in place of the input itself where that is gone."""


class AuditLog:
    """Append-only, chained, for one or several processes.

    ```python
    log = AuditLog("audit.jsonl", user="ward 3")
    classify = pipeline("zero-shot-mesh-classification", model=folder, trust_remote_code=True)
    classify("face.obj", candidate_labels=["happiness", "disgust"], audit_log=log)
    ```

    Args:
        path: of the file, made if it does not exist.
        user: who asks, in words of the user's own.
        key_file (*optional*): of the key, made if it does not exist; default `mvfer/audit.key` in the user's configuration.
        max_bytes: a file that would grow beyond is numbered, and a new one begun.
    Raises:
        ValueError: if there is no user, the key cannot be used, or this system cannot lock files.
    """

    def __init__(self, path, *, user: str, key_file=None, max_bytes: int = MAX_BYTES):
        if not user.strip():
            raise ValueError("an audit log says who asked; name the user")
        if fcntl is None:
            raise ValueError("an audit log needs file locks (flock), which this system lacks")
        self.path, self.user, self.max_bytes = Path(path), user, max_bytes
        self._key = read_key(key_file)

    def write(
        self, *, command: str, model: str, source, settings: Mapping[str, Any], answer, abstain: bool | None
    ) -> None:
        """Append one line, on the disk before this returns.

        Args:
            command: what was asked, such as "predict".
            model: from `model_hash`.
            source: the input, in any form that the processor takes, or its `input_hash`; only that is written.
            settings: labels and whatever else decides the answer; ready for JSON.
            answer: ready for JSON; an error is one too.
        Raises:
            ValueError: if the log cannot be written, so that no answer goes out without its line.
        """
        line = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "user": self.user,
            "command": command,
            "model": model,
            "input": self.input_hash(source),
            "settings": dict(settings),
            "answer": answer,
            "abstain": abstain,
        }
        try:
            self._append(line)
        except OSError as error:
            raise ValueError(
                f"{self.path}: the audit log cannot be written ({error.strerror}); no answer without it"
            ) from error

    def record(self, source, rows: Sequence[Mapping], *, command: str, model: str, settings: Mapping[str, Any]) -> None:
        """`write` the rows of one input, as the pipelines give them: a "label" and a "score" each, and whether the model
        abstains; or one row with an "error", of which only that it was one is written, as its reason names the file.
        """
        failed = "error" in rows[0]
        answer = {"error": True} if failed else {row["label"]: round(row["score"], 6) for row in rows}
        abstain = None if failed else rows[0].get("abstain")
        self.write(command=command, model=model, source=source, settings=settings, answer=answer, abstain=abstain)

    def input_hash(self, source) -> InputHash:
        """Equal inputs have equal hashes, which only the key's owner can make."""
        if isinstance(source, InputHash):
            return source
        digest = hmac.new(self._key, b"input", hashlib.sha256)
        for part in _parts(source):
            digest.update(len(part).to_bytes(8, "big") + part)
        return InputHash(digest.hexdigest()[:32])

    def _append(self, line: dict) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(_beside(self.path, "lock"), "ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            head = self._caught_up()
            body = {"number": head.lines + 1} | line | {"previous": head.last}
            last = _chained(self._key, _text(body))
            data = (_text(body | {"hash": last}) + "\n").encode()
            size = head.size
            if 0 < size and size + len(data) > self.max_bytes:
                _write_head(self.path, self._key, _Head(head.lines, head.last, 0))
                os.replace(self.path, _beside(self.path, f"{len(_numbered(self.path)) + 1:04d}"))
                size = 0
            with open(os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab", buffering=0) as stream:
                if stream.write(data) != len(data):
                    raise OSError(None, "the disk is full")
                os.fsync(stream.fileno())
            _write_head(self.path, self._key, _Head(head.lines + 1, last, size + len(data)))

    def _caught_up(self) -> _Head:
        """Where the chain stands: as `FILE.head` says, and whole lines that a process wrote and was killed before it said so."""
        size = self.path.stat().st_size if self.path.exists() else 0
        if not _beside(self.path, "head").exists() and not size and not _numbered(self.path):
            _write_head(self.path, self._key, _Head(0, START, 0))
        head = _read_head(self.path, self._key)
        if size < head.size:
            raise ValueError(f"{self.path}: lines at its end are missing; look at it with: mvfer audit verify")
        if size > head.size:
            with self.path.open("rb") as stream:
                stream.seek(head.size)
                for text in stream:
                    line = _parsed(text) if text.endswith(b"\n") else None
                    if line is None:  # torn
                        break
                    if line["number"] != head.lines + 1 or _fault(self._key, line, head.last):
                        raise ValueError(
                            f"{self.path}: its last lines do not fit the chain; look at it with: mvfer audit verify"
                        )
                    head = _Head(line["number"], line["hash"], head.size + len(text))
            os.truncate(self.path, head.size)
        return head


class _Head(NamedTuple):
    """How many lines there are, the hash of the last one, and how large the current file is."""

    lines: int
    last: str
    size: int


def verify(path, key_file=None) -> Checked:
    """Read a log with its numbered files, and find every line that was edited, removed, added or moved.

    Raises:
        ValueError: if there is no such log, or no key.
    """
    path, key = Path(path), read_key(key_file, make=False)
    files = [*_numbered(path), *([path] if path.exists() else [])]
    if not files:
        raise ValueError(f"{path}: no such log")
    number, last, faults, hashes = 0, START, [], {0: START}
    for file in files:
        for place, text in enumerate(_whole_lines(file), 1):
            line = _parsed(text)
            if line is None:
                faults.append(f"{file.name}, line {place}: no line of a log")
                continue
            if why := _fault(key, line, last) or (
                None if line["number"] == number + 1 else "its number is out of order"
            ):
                faults.append(f"{file.name}, line {place}: {why}")
            number, last = line["number"], str(line.get("hash"))
            hashes[number] = last
    try:
        head = _read_head(path, key)
        if hashes.get(head.lines) != head.last:
            faults.append(f"{path.name}: there were {head.lines} lines, the last of them is missing or another one")
    except ValueError as error:
        faults.append(str(error))
    return Checked(number, last, faults)


def read_key(path=None, *, make: bool = True) -> bytes:
    """The key of a log; made, for this user alone to read, if there is none.

    Raises:
        ValueError: if it cannot be used.
    """
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    path = Path(path or home / "mvfer" / "audit.key")
    try:
        if make and not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f".{path.name}.{os.getpid()}")
            with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as stream:
                stream.write(secrets.token_hex(32))
            try:
                os.link(temporary, path)  # whoever comes second takes the first one's
            except FileExistsError:
                pass
            finally:
                temporary.unlink()
        key = path.read_bytes().strip()
    except OSError as error:
        raise ValueError(f"{path}: the key of the audit log cannot be used ({error.strerror}); name another") from error
    if len(key) < 16:
        raise ValueError(f"{path}: expected a key of at least 16 bytes, got {len(key)}")
    return key


def model_hash(model) -> str:
    """Which model this is: of its weights, and of what its configuration makes of scores.

    Weights of another precision are another model: `load_run` always gives those of 32 bits.
    """
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        values = value.detach().cpu().contiguous()
        digest.update(f"{name}:{values.dtype}:{tuple(values.shape)}".encode())
        digest.update(values.flatten().view(torch.uint8).numpy())
    known = model.config.to_dict()
    decides = {key: known.get(key) for key in ("calibration", "id2label", "prompt_kinds", "problem_type")}
    digest.update(json.dumps(decides, sort_keys=True, default=str).encode())
    return digest.hexdigest()[:32]


def _parts(source) -> Iterator[bytes]:
    """The bytes of an input, whatever form it has: of a file its content, never its name."""
    if isinstance(source, (str, os.PathLike)):
        try:
            yield b"file" + hashlib.sha256(Path(source).read_bytes()).digest()
        except OSError:
            yield b"no such file"
    elif isinstance(source, Mapping):
        for key in sorted(source, key=str):
            yield str(key).encode()
            yield from _parts(source[key])
    elif isinstance(source, (list, tuple)):
        yield f"list of {len(source)}".encode()
        for one in source:
            yield from _parts(one)
    elif hasattr(source, "vertices") and hasattr(source, "faces"):
        yield from _parts([source.vertices, source.faces])
    elif hasattr(source, "tobytes"):  # arrays, pictures
        form = [getattr(source, name, "") for name in ("shape", "dtype", "size", "mode")]
        yield repr(form).encode()
        yield source.tobytes()
    elif hasattr(source, "numpy"):
        yield from _parts(source.detach().cpu().numpy())
    else:
        yield repr(source).encode()


def _text(line: Mapping) -> str:
    return json.dumps(line, ensure_ascii=True, default=str)  # whatever a name holds, a line stays one


def _chained(key: bytes, text: str) -> str:
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def _fault(key: bytes, line: dict, previous: str) -> str | None:
    """What is wrong with a line, given the hash of the one before."""
    text = _text({name: value for name, value in line.items() if name != "hash"})
    if not hmac.compare_digest(_chained(key, text), str(line.get("hash"))):
        return "was edited, or written with another key"
    if line.get("previous") != previous:
        return "does not follow on the line before: lines were removed, added or moved"
    return None


def _parsed(text: bytes) -> dict | None:
    try:
        line = json.loads(text)
    except ValueError:
        return None
    return line if isinstance(line, dict) and isinstance(line.get("number"), int) else None


def _whole_lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as stream:
        for text in stream:
            if text.endswith(b"\n"):  # else a process was killed while it wrote; the next one takes it away
                yield text


def _read_head(path: Path, key: bytes) -> _Head:
    head = _beside(path, "head")
    try:
        lines, last, size, proof = head.read_text(encoding="ascii").split()
        if hmac.compare_digest(proof, _chained(key, f"head {lines} {last} {size}")):
            return _Head(int(lines), last, int(size))
    except (OSError, ValueError):
        pass
    raise ValueError(
        f"{head.name}: is missing, was edited, or written with another key; the end of the log cannot be trusted"
    )


def _write_head(path: Path, key: bytes, head: _Head) -> None:
    text, temporary = f"{head.lines} {head.last} {head.size}", _beside(path, "head.new")
    temporary.write_text(f"{text} {_chained(key, f'head {text}')}\n", encoding="ascii")
    os.replace(temporary, _beside(path, "head"))


def _beside(path: Path, what: str) -> Path:
    return path.with_name(f"{path.name}.{what}")


def _numbered(path: Path) -> list[Path]:
    """Full files of a log, oldest first."""
    form = re.compile(re.escape(path.name) + r"\.(\d{4,})")
    found = [(int(match[1]), other) for other in path.parent.iterdir() if (match := form.fullmatch(other.name))]
    return [other for _, other in sorted(found)]
