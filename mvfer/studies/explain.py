"""Where on the face did the model read the expression? `mvfer explain`.

In: a mesh and a model. Out: a number per pixel of every rendered view, how much it spoke for a label or against it,
the same on the mesh itself as colours (PLY or GLB), and a picture, which also says how much each view counted.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from modeling_mvfer.classifier_mvfer import Classifier, embeds_of
from mvfer.progress import progress_bar
from mvfer.reports.pictures import INK, MUTED, new_figure, save_figure
from processing.cameras_mvfer import FOCAL_LENGTH, world_to_camera
from processing.rendering_mvfer import render_views

FOR, AGAINST = np.array([214, 96, 77]), np.array([67, 121, 178])  # red and blue, told apart by the colour-blind
SKIN = np.array([222, 220, 216])
SMOOTHING_PX = 5


def attribute_views(
    classifier: Classifier, inputs: Mapping[str, Tensor], label: str, *, steps: int = 32, progress: bool = False
) -> Tensor:
    """How much every pixel speaks for a label: integrated gradients of its log-odds, from empty views to these.

    Args:
        classifier: of a model in evaluation mode; label: one of its labels.
        inputs: of one scan, from the processor: `pixel_values (1, V, C, H, W)` ...
        steps (`int`, defaults to 32): points of the integral. progress (`bool`): show a bar.
    Returns:
        `torch.Tensor` of shape `(V, C, H, W)`, float32: their sum is the log-odds of the label here less that of empty
        views, but for the error of the integral.
    Raises:
        ValueError: if the label is none of the classes, or there is more than one scan.
    Source:
        Sundararajan et al. 2017, "Axiomatic Attribution for Deep Networks", eq. 1 and 3, arXiv:1703.01365. Differs: the sum is
        taken at the middles of the steps.
    """
    pixels = inputs["pixel_values"]
    if label not in classifier.labels or pixels.ndim != 5 or len(pixels) != 1:
        raise ValueError(
            f"expected one scan (1, V, C, H, W) and a label of {classifier.labels}, got {tuple(pixels.shape)}, {label!r}"
        )
    empty = background(pixels)
    rest = {name: value for name, value in inputs.items() if name != "pixel_values"}
    total = torch.zeros_like(pixels)
    for step in progress_bar(range(steps), what="explain", unit="step", hidden=not progress):
        point = (empty + (step + 0.5) / steps * (pixels - empty)).requires_grad_()
        odds = log_odds(classifier, {"pixel_values": point, **rest}, label)
        total += torch.autograd.grad(odds, point)[0]
    return ((pixels - empty) * total / steps)[0].float()


def log_odds(classifier: Classifier, inputs: Mapping[str, Tensor], label: str) -> Tensor:
    """Logarithm of p(label) / (1 - p(label)), `()`, before the temperature."""
    logits = classifier.logits(embeds_of(classifier.model.get_image_features(**inputs)))[0]
    mine = classifier.labels.index(label)
    others = torch.cat([logits[:mine], logits[mine + 1 :]])
    return logits[mine] - others.logsumexp(0)


def background(pixels: Tensor) -> Tensor:
    """Empty views: the darkest value of each channel, which is what a renderer leaves where there is no face."""
    return pixels.amin(dim=(-2, -1), keepdim=True).amin(dim=-4, keepdim=True).expand_as(pixels)


def heat_of(attributions: Tensor) -> np.ndarray:
    """One number per pixel, `(V, C, H, W)` to `(V, H, W)`: channels added, smoothed over five pixels, the strongest is 1."""
    heat = attributions.sum(1, keepdim=True)
    heat = torch.nn.functional.avg_pool2d(heat, SMOOTHING_PX, stride=1, padding=SMOOTHING_PX // 2)[:, 0]
    return (heat / heat.abs().max().clamp_min(1e-12)).cpu().numpy()


def heat_on_vertices(
    heat: np.ndarray, vertices: np.ndarray, faces: np.ndarray, view_angles_deg, aim_y=0.0
) -> np.ndarray:
    """Take the heat of the views back to the mesh: the mean over the views that see a vertex.

    Args:
        heat (`(V, H, W)`), vertices (`(N, 3)`, framed coordinates), faces (`(M, 3)`), view_angles_deg (`(V, 2)`),
            aim_y: as they were rendered.
    Returns:
        `(N,)`: NaN where no view sees the vertex.
    """
    size = heat.shape[-1]
    points = torch.as_tensor(vertices, dtype=torch.float32)
    buffers = render_views(
        points[None], torch.as_tensor(faces), view_angles_deg=view_angles_deg, aim_y=aim_y, size_px=size, backend="auto"
    )
    depth, mask = (buffers[name][0, :, 0].numpy() for name in ("depth", "mask"))
    total, seen = np.zeros((2, len(vertices)))
    for view, camera in enumerate(world_to_camera(view_angles_deg, aim_y).numpy()):
        x, y, z = (vertices @ camera[:3, :3].T + camera[:3, 3]).T
        column = np.floor((x / -z * FOCAL_LENGTH + 1) * size / 2).astype(int)
        row = np.floor((1 - y / -z * FOCAL_LENGTH) * size / 2).astype(int)
        inside = (column >= 0) & (column < size) & (row >= 0) & (row < size)
        row, column = row.clip(0, size - 1), column.clip(0, size - 1)
        # what lies within a pixel and a half of the nearest surface is that surface
        visible = inside & (mask[view, row, column] > 0) & (np.abs(-z - depth[view, row, column]) < 3 / size)
        total += np.where(visible, heat[view, row, column], 0)
        seen += visible
    return np.where(seen > 0, total / np.maximum(seen, 1), np.nan)


def colors_of(heat: np.ndarray) -> np.ndarray:
    """Heat in [-1, 1] as colours, `(...)` to uint8 `(..., 3)`: red speaks for the label, blue against, grey for nothing."""
    strength = np.abs(np.nan_to_num(heat))[..., None].clip(0, 1) ** 0.7
    toward = np.where(np.nan_to_num(heat)[..., None] > 0, FOR, AGAINST)
    return (SKIN + strength * (toward - SKIN)).round().astype(np.uint8)


def heat_over_views(views: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Grey views with their heat over them, white where no face is: uint8 `(V, H, W, 3)`, `(V, H, W)` to uint8 `(V, H, W, 3)`."""
    shade = views.mean(-1, keepdims=True) / 255
    face = (views > 0).any(-1, keepdims=True)
    return np.where(face, (0.35 + 0.65 * shade) * colors_of(heat), 255).astype(np.uint8)


def explanation_picture(views: np.ndarray, heat: np.ndarray, names: list[str], title: str, path: str | Path) -> None:
    """Every view, grey, with its heat over it: views uint8 `(V, H, W, 3)`, heat `(V, H, W)`."""
    figure = new_figure(2.4 * len(views), 3.0)
    grid = figure.subplots(1, len(views), squeeze=False)[0]
    for axes, view, name in zip(grid, heat_over_views(views, heat), names, strict=True):
        axes.imshow(view)
        axes.set_title(name.replace("_", " "), color=MUTED, fontsize=9)
        axes.set_axis_off()
    figure.suptitle(title, color=INK, fontsize=11)
    save_figure(figure, path)
