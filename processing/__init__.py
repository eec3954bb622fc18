"""Meshes, photos and words to model inputs. Importing this makes `AutoProcessor` and `AutoImageProcessor` know "mvfer".

Nothing here knows the model. The auto classes file a processor under a configuration class, but find it by
the name that its own saved file gives, so a stand-in for the model's configuration serves, and no package needs to
import the other.
"""

from contextlib import suppress
from importlib import import_module

from transformers import AutoImageProcessor, AutoProcessor, PretrainedConfig

from .image_processing_mvfer import MVFERImageProcessor
from .meshes_mvfer import Mesh, load_mesh
from .processing_mvfer import MVFERProcessor
from .prompts_mvfer import prompts_for
from .rendering_mvfer import RenderSettings, render_mesh, render_scan

__all__ = [
    "MVFERImageProcessor",
    "MVFERProcessor",
    "Mesh",
    "RenderSettings",
    "load_mesh",
    "prompts_for",
    "render_mesh",
    "render_scan",
]


class _StandInConfig(PretrainedConfig):
    model_type = "mvfer"


AutoImageProcessor.register(_StandInConfig, image_processor_classes={"pil": MVFERImageProcessor}, exist_ok=True)
AutoProcessor.register(_StandInConfig, MVFERProcessor, exist_ok=True)

# `transformers` asks at the terminal before it runs a folder's code, unless it knows its classes. So whoever imports one of the
# two packages that ship with a model makes both known.
with suppress(ImportError):
    import_module("modeling_mvfer")
