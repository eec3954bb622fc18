"""MVFER: facial expressions from 3D scans, 4D sequences and multi-camera photos, recognised by words.

`from mvfer import MVFERModel, MVFERProcessor, load_run`. Names are imported when they are first used, so that `mvfer --help` need
not load torch.
"""

from importlib import import_module
from pathlib import Path

__version__ = "0.2.0"
__all__ = ["MVFERModel", "MVFERProcessor", "bundled", "example_heads", "load_run", "model"]
_EXAMPLES = (
    Path(__file__).parent / "app" / "examples",
    Path(__file__).parents[1] / "examples",
)  # installed; in a checkout
_HOMES = {"MVFERModel": "modeling_mvfer", "MVFERProcessor": "processing", "load_run": "mvfer.hub.load"}


def model(name: str = "small") -> str:
    """The folder of a model that comes with the package: `MVFERModel.from_pretrained(mvfer.model("small"))`.

    It brings no code, so its classes are made known to transformers: `pipeline(..., model=mvfer.model())`.

    Raises:
        ValueError: if there is none of this name.
    """
    folder = bundled(name)
    import_module("modeling_mvfer")
    return folder


def bundled(name: str = "small") -> str:
    """The same folder, and nothing is imported: for defaults of commands."""
    folder = Path(__file__).parent / "models" / name
    if not (folder / "config.json").is_file():
        there = sorted(path.name for path in folder.parent.glob("*") if path.is_dir())
        raise ValueError(f"{name}: no such model comes with the package; there are {', '.join(there) or 'none'}")
    return str(folder)


def example_heads() -> dict[str, Path]:
    """Three scans of one synthetic person (Anny, CC0): name to mesh file, by name; empty where none came along."""
    found = (sorted(folder.glob("*.ply")) for folder in _EXAMPLES)
    return {path.stem: path for path in next((paths for paths in found if paths), [])}


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module 'mvfer' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
