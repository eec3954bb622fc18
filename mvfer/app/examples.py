"""Heads to try the app on: three scans of one synthetic person (Anny, CC0), and a smile made of two of them. Out: mesh files."""

from pathlib import Path

import numpy as np
import trimesh

FOLDERS = (Path(__file__).with_name("examples"), Path(__file__).parents[2] / "examples")  # installed; in a checkout
SMILE_FRAMES = 17  # and back to rest


def heads() -> dict[str, Path]:
    """Name to mesh file, by name; empty where none came along."""
    found = (sorted(folder.glob("*.ply")) for folder in FOLDERS)
    return {path.stem: path for path in next((paths for paths in found if paths), [])}


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
