"""Loops that numba compiles, for the code that they stand in for: `LOOPS.get("channels")`, and plain code where there is none.

Whatever is here gives the same bits as that code (where torch's own vector loops fuse, as on x86 with AVX2; elsewhere the last
bit may differ), so it does not matter which of them ran. It is filled when the numba backend is first asked for
(`rendering_mvfer.resolve_backend`): to import numba takes longer than to draw a few scans.
"""

from collections.abc import Callable

LOOPS: dict[str, Callable] = {}
