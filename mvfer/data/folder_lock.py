"""One writer per folder. In: a folder. Out: a lock that its process holds, and that a killed process loses.

The lock is the operating system's (`flock`) on the file `.lock`, not the file's being there: after `kill -9` or a power cut the
next one gets it. Machines that share a build hold it together, each with a part of its own. Where the system or the file system
has no such lock, a line says so and the work goes on without.
"""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOCK_FILE = ".lock"


@contextlib.contextmanager
def folder_lock(folder: str | os.PathLike, work: str, *, part: str = "") -> Iterator[None]:
    """Hold a folder while something is written into it; made if it does not exist.

    Args:
        work: what goes on, for the error of whoever comes second ("a build").
        part: the work is shared, and this process does this part of it.
    Raises:
        ValueError: if another process holds the folder, or the same part of it.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as held:
        held.enter_context(_locked(folder / LOCK_FILE, folder, work, alone=not part))
        if part:
            held.enter_context(_locked(folder / f"{LOCK_FILE}-{part}", folder, work, alone=True))
        yield


@contextlib.contextmanager
def _locked(path: Path, folder: Path, work: str, *, alone: bool) -> Iterator[None]:
    descriptor = _acquire(path, folder, work, alone=alone)
    try:
        yield
    finally:
        if descriptor is not None:
            with contextlib.suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the last one takes the file away
                path.unlink(missing_ok=True)
            os.close(descriptor)


def _acquire(path: Path, folder: Path, work: str, *, alone: bool) -> int | None:
    while fcntl is not None:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise ValueError(
                f"{folder}: {work} is going on in it, in another process; wait for its end, or choose another folder"
            ) from error
        except OSError as error:
            os.close(descriptor)
            print(f"{folder}: cannot be locked ({error.strerror}); see that nothing else writes there", file=sys.stderr)
            return None
        try:
            if os.stat(path).st_ino == os.fstat(descriptor).st_ino:
                return descriptor
        except FileNotFoundError:
            pass
        os.close(descriptor)  # whoever held it took the file away: once more, on a new one
    return None
