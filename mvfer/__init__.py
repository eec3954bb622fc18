"""MVFER: facial expressions from 3D scans, 4D sequences and multi-camera photos, recognised by words.

`from mvfer import MVFERModel, MVFERProcessor, load_run`. Names are imported when they are first used, so that `mvfer --help` need
not load torch.
"""

from importlib import import_module

__version__ = "0.2.0"
__all__ = ["MVFERModel", "MVFERProcessor", "load_run"]
_HOMES = {"MVFERModel": "modeling_mvfer", "MVFERProcessor": "processing", "load_run": "mvfer.hub.load"}


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module 'mvfer' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
