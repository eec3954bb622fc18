"""Heads to try the app on: those that come with the package, and a smile made of two of them. Out: mesh files."""

from pathlib import Path

import numpy as np
import trimesh

from mvfer import example_heads as heads

__all__ = ["heads", "write_smile"]
SMILE_FRAMES = 17  # and back to rest


def write_smile(folder: str | Path) -> list[str]:
    """A sequence from rest to a smile and back, as mesh files in `folder`.

    Raises:
        ValueError: if the heads did not come along.
    """
    there = heads()
    if not {"neutral", "happiness"} <= set(there):
        raise ValueError("the example heads are not here; take a checkout of the repository")
    rest, smile = (trimesh.load_mesh(there[name], process=False) for name in ("neutral", "happiness"))
    written = []
    for frame, share in enumerate(np.sin(np.linspace(0, np.pi, SMILE_FRAMES)) ** 2):
        vertices = rest.vertices + share * (smile.vertices - rest.vertices)
        path = Path(folder) / f"smile_{frame:02d}.ply"
        trimesh.Trimesh(vertices, rest.faces, process=False).export(path)
        written.append(str(path))
    return written
