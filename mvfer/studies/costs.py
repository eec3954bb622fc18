"""What a computation costs on this machine: seconds, memory and energy. In: something to run. Out: its measured cost."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

import psutil

COUNTERS = Path("/sys/class/powercap")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Cost:
    """Seconds of wall time, memory in use at the end in MiB, energy in joules and where that number comes from."""

    seconds: float
    memory_mib: float
    joules: float
    energy_source: str

    def scaled(self, factor: float) -> "Cost":
        """The same work that many times over: time and energy grow, memory does not."""
        return Cost(self.seconds * factor, self.memory_mib, self.joules * factor, self.energy_source)

    def as_dict(self) -> dict:
        return asdict(self)


def measure(run: Callable[[], Result], *, watts: float) -> tuple[Result, Cost]:
    """Run once and say what it took.

    Args:
        run: called without arguments.
        watts: the machine's power under load, for machines whose processor does not count energy (or not for everyone).
    Returns:
        `(what run returned, Cost)`: joules from the processor's own counter (RAPL) if readable, else seconds * watts.
    """
    before, start = _counted_joules(), time.perf_counter()
    result = run()
    seconds, after = time.perf_counter() - start, _counted_joules()
    memory = psutil.Process().memory_info().rss / 2**20
    if before is not None and after is not None and after > before:  # a counter that ran over is not used
        return result, Cost(seconds, memory, after - before, "processor's counter (RAPL)")
    return result, Cost(seconds, memory, seconds * watts, f"{watts:g} W times the seconds")


def _counted_joules() -> float | None:
    """Energy that all processor packages have used so far; `None` if they do not say."""
    try:
        packages = [path for path in COUNTERS.glob("intel-rapl:*") if path.name.count(":") == 1]
        return sum(int((path / "energy_uj").read_text()) for path in packages) / 1e6 if packages else None
    except OSError:
        return None
