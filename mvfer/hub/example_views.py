"""Pictures for a model's card: what the model sees of the example heads from the front.

In: a processor and a folder. Out: PNG files, and what the card's metadata say of them (`widget`), so that the Hub shows them as
examples to try.
"""

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

import mvfer
from processing.channels_mvfer import COLOR_CHANNELS
from processing.meshes_mvfer import load_mesh
from processing.prompts_mvfer import BASIC_EXPRESSIONS
from processing.rendering_mvfer import RenderSettings, frame_mesh, render_mesh

FRONT = ((0.0, 0.0),)


def write_examples(folder: Path, processor, *, takes_labels: bool) -> list[dict[str, str]]:
    """Draw the heads into a model's folder; none for a model of photos, which the heads have no colours for.

    Args:
        takes_labels: whether the model compares texts, so that an example needs some.
    Returns:
        `list[dict]`: the card's `widget`.
    """
    image_processor = processor.image_processor
    settings = image_processor.render_settings
    if set(settings.channels) & set(COLOR_CHANNELS) or image_processor.frames != "sequence":
        return []
    labels = {"candidate_labels": ", ".join(BASIC_EXPRESSIONS)} if takes_labels else {}
    examples = []
    for name, path in mvfer.example_heads().items():
        picture = f"example_{name}.png"
        Image.fromarray(_front_view(path, replace(settings, view_angles_deg=FRONT))).save(folder / picture)
        examples.append({"src": picture, "example_title": f"{name}, as the model sees it", **labels})
    return examples


@lru_cache(maxsize=16)
def _front_view(path: Path, settings: RenderSettings) -> np.ndarray:
    """`(H, W, 3)`, uint8; kept, as a training saves its model again and again."""
    mesh = load_mesh(path, geometry_only=True)
    return render_mesh(mesh, settings, frame=frame_mesh(mesh))[0, 0]
