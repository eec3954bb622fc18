"""Work that goes on for long: whether it takes more memory, or more time per piece, the longer it lasts.

In: how many frames are pushed into a stream, how many `mvfer watch` follows. Out: memory and time per frame of every tenth of
them, and exit status 1 if the last ones take more than the first ones.

    python -m tests.endurance --pushes 20000 --frames 5000
"""

import argparse
import contextlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from modeling_mvfer import MVFERModel, MVFERStream
from mvfer.cli.main import main as mvfer
from mvfer.hub.load import load_run

ROOT = Path(__file__).parents[1]
LABELS = ["happiness", "sadness"]
MAX_GROWTH_BYTES = 32 * 2**20
MAX_SLOWDOWN = 1.5


class Course(NamedTuple):
    """Of every tenth of the work: memory at its end, in bytes, and the median CPU seconds of a piece."""

    memory_bytes: list[int]
    seconds: list[float]

    @property
    def growth_bytes(self) -> int:
        """Since the end of the first tenth, when all caches are filled."""
        return self.memory_bytes[-1] - self.memory_bytes[0]

    @property
    def slowdown(self) -> float:
        """Time of the faster of the last two tenths over that of the slower of the first two: a busy moment is no slowdown."""
        return min(self.seconds[-2:]) / max(self.seconds[:2])

    @property
    def is_constant(self) -> bool:
        return self.growth_bytes < MAX_GROWTH_BYTES and self.slowdown < MAX_SLOWDOWN

    def __str__(self) -> str:
        rows = zip(self.memory_bytes, self.seconds, strict=True)
        return "\n".join(f"{memory / 2**20:8.1f} MiB {1000 * took:8.2f} ms" for memory, took in rows)


def memory_bytes() -> int:
    """What this process holds now (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Clock:
    """Called after every piece of the work."""

    def __init__(self, pieces: int):
        self.tenth, self.course, self.took, self.last = pieces // 10, Course([], []), [], time.process_time()

    def __call__(self) -> None:
        now = time.process_time()
        self.took.append(now - self.last)
        if len(self.took) == self.tenth:
            self.course.memory_bytes.append(memory_bytes())
            self.course.seconds.append(statistics.median(self.took))
            self.took = []
        self.last = time.process_time()


def pushed(model: MVFERModel, processor, pushes: int) -> Course:
    """A stream of one camera's photos, 25 a second."""
    stream, photo = MVFERStream(model, processor, LABELS, window_frames=8), Image.new("RGB", (32, 32), (120, 90, 80))
    clock = Clock(pushes)
    for number in range(pushes):
        stream.push(photo, number / 25)
        clock()
    return clock.course


def watched(run: Path, folder: Path, frames: int) -> Course:
    """`mvfer watch --json` of as many photos; its rows go to a file, and are as many."""
    names = [folder / f"{number}.png" for number in range(frames)]
    Image.new("RGB", (32, 32), (120, 90, 80)).save(names[0])
    for name in names[1:]:
        os.link(names[0], name)
    clock, push = Clock(frames), MVFERStream.push

    def counted(self, *arguments):
        step = push(self, *arguments)
        clock()
        return step

    with replaced(MVFERStream, "push", counted), (folder / "rows").open("w") as rows, contextlib.redirect_stdout(rows):
        status = mvfer(["watch", *map(str, names), "--json", "--model", str(run), "--labels", *LABELS])
    if status or sum(1 for _ in (folder / "rows").open()) != frames:
        raise ValueError(f"mvfer watch: exit status {status}, or a row is missing")
    return clock.course


@contextlib.contextmanager
def replaced(where, name: str, other: Callable):
    """Something under this name for a while."""
    before = getattr(where, name)
    setattr(where, name, other)
    try:
        yield
    finally:
        setattr(where, name, before)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.endurance", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pushes", type=int, default=20_000)
    parser.add_argument("--frames", type=int, default=5_000)
    args = parser.parse_args(argv)
    run = ROOT / "mvfer" / "models" / "small"
    with tempfile.TemporaryDirectory() as folder:
        courses = {"pushes": pushed(*load_run(run), args.pushes), "watch": watched(run, Path(folder), args.frames)}
    for name, course in courses.items():
        print(
            f"{name}: {course.growth_bytes / 2**20:.1f} MiB more, {course.slowdown:.2f} times the time",
            course,
            sep="\n",
        )
    return 0 if all(course.is_constant for course in courses.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
