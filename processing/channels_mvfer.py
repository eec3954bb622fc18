"""Turn rendered buffers into images: clay shading, screen-space curvature, depth, normals, mask, colours.

In: the float buffers of `render_views`. Out: uint8 images with three channels, background 0. Every channel is defined
in framed units (see `cameras_mvfer`), never in pixels, so that small and large images, and coarse and fine meshes,
agree.
"""

import math

import torch
import torch.nn.functional as nnf
from torch import Tensor

from .cameras_mvfer import CAMERA_DISTANCE
from .compiled_mvfer import LOOPS

CHANNELS = (
    "clay",
    "curvature",
    "clay_curvature",
    "depth",
    "normal_x",
    "normal_y",
    "normal_z",
    "mask",
    "red",
    "green",
    "blue",
    "gray",
)
COLOR_CHANNELS = ("red", "green", "blue", "gray")
DEFAULT_LIGHT_DEG = (-30.0, 40.0)  # from the viewer's upper left, fixed to the camera

BLUR_REACH = 2.5  # standard deviations
SMOOTHING = 0.03  # standard deviation of the Gaussian under the curvature, framed units
INSIDE_BELOW = -0.3  # of a normal's z: a smoothed normal at the rim may point slightly away from the camera
CURVATURE_GAIN = 0.1  # per unit of divergence


def compose_channels(buffers: dict[str, Tensor], channels, *, light_deg=DEFAULT_LIGHT_DEG) -> Tensor:
    """Compose three named channels into images.

    Args:
        buffers: `normal (F, V, 3, H, W)` in the camera frame, `depth (F, V, 1, H, W)`, `mask (F, V, 1, H, W)` and, if
            colours are asked for, `color (F, V, 3, H, W)`, as `render_views` returns them.
        channels: three names out of `CHANNELS`.
        light_deg (`(yaw, pitch)`): where the key light stands, relative to the camera.
    Returns:
        `torch.Tensor` of shape `(F, V, 3, H, W)`, uint8, 0 where nothing was hit.
    Raises:
        ValueError: for an unknown channel, or a colour channel without colours.
    """
    check_channels(channels)
    if "color" not in buffers and set(channels) & set(COLOR_CHANNELS):
        raise ValueError(f"channels {tuple(channels)} need a texture or vertex colors, and this mesh has neither")
    if buffers["mask"].device.type == "cpu" and (loop := LOOPS.get("channels")):
        return loop(buffers, channels, light_deg)
    buffers = _turn_outwards(buffers)
    mask = buffers["mask"][:, :, 0]
    made = {name: _channel(name, buffers, light_deg) for name in dict.fromkeys(channels)}
    image = torch.stack([made[name] for name in channels], 2)  # (F, V, 3, H, W)
    return (image.clamp(0, 1) * mask[:, :, None]).mul_(255).round_().to(torch.uint8)


def check_channels(channels) -> tuple[str, ...]:
    """Return the three channel names, or raise a ValueError that lists the known ones."""
    channels = (channels,) if isinstance(channels, str) else tuple(channels)
    if len(channels) != 3 or not set(channels) <= set(CHANNELS):
        raise ValueError(f"channels: expected three of {', '.join(CHANNELS)}, got {channels!r}")
    return channels


def _turn_outwards(buffers: dict[str, Tensor]) -> dict[str, Tensor]:
    """Flip the normals of an inside-out mesh; hide the inside of the head where it is seen through a hole."""
    normal = buffers["normal"]
    side = torch.where(normal[:, :, 2:].mean((3, 4), keepdim=True) < 0, -1.0, 1.0)  # (F, V, 1, 1, 1)
    normal = normal * side
    return buffers | {"normal": normal, "mask": buffers["mask"] * (normal[:, :, 2:] > INSIDE_BELOW)}


def _channel(name: str, buffers: dict[str, Tensor], light_deg) -> Tensor:
    """One channel as `(F, V, H, W)` floats in [0, 1]."""
    normal, depth, mask = buffers["normal"], buffers["depth"][:, :, 0], buffers["mask"]
    if name == "clay":
        return _clay(normal, light_deg)
    if name == "curvature":
        return 0.5 + 0.5 * _curvature(normal, mask)
    if name == "clay_curvature":
        return _clay(normal, light_deg) * (1 + 0.5 * _curvature(normal, mask))
    if name == "depth":
        return 0.5 + 0.5 * (CAMERA_DISTANCE - depth)  # linear; 1 at z = +1, 0 at z = -1
    if name == "mask":
        return torch.ones_like(depth)
    if name.startswith("normal_"):
        return 0.5 + 0.5 * normal[:, :, "xyz".index(name[-1])]
    red, green, blue = buffers["color"].unbind(2)
    return {"red": red, "green": green, "blue": blue, "gray": 0.299 * red + 0.587 * green + 0.114 * blue}[name]


def _clay(normal: Tensor, light_deg) -> Tensor:
    """Matte clay under an oblique key light and a soft light from the camera."""
    yaw, pitch = (math.radians(angle) for angle in light_deg)
    x, y, z = normal.unbind(2)
    key = math.sin(yaw) * math.cos(pitch) * x + math.sin(pitch) * y + math.cos(yaw) * math.cos(pitch) * z
    return 0.05 + 0.65 * key.clamp(min=0) + 0.25 * z.clamp(min=0)


def _curvature(normal: Tensor, mask: Tensor) -> Tensor:
    """Divergence of the smoothed normals on the screen, per framed unit, squashed to (-1, 1): creases < 0 < ridges."""
    pixel = 2 / normal.shape[-1]  # framed units
    smooth = _blur((normal * mask).flatten(0, 1), SMOOTHING / pixel)  # (F V, 3, H, W)
    x, y, z = smooth.unbind(1)
    smooth *= (x * x + y * y + z * z).clamp_min_(1e-12).rsqrt_()[:, None]
    weight = smooth[:, 2].clamp(min=0)
    smooth = nnf.pad(smooth[:, :2], (1, 1, 1, 1), mode="replicate")
    divergence = (smooth[:, 0, 1:-1, 2:] - smooth[:, 0, 1:-1, :-2]) + (smooth[:, 1, :-2, 1:-1] - smooth[:, 1, 2:, 1:-1])
    divergence = divergence / (2 * pixel) * weight
    return torch.tanh(CURVATURE_GAIN * divergence).unflatten(0, normal.shape[:2])


def blur_weights(sigma_px: float) -> list[float]:
    """Of a Gaussian, at whole pixels to both sides; their sum is 1."""
    radius = max(1, math.ceil(BLUR_REACH * sigma_px))
    weights = [math.exp(-0.5 * (offset / sigma_px) ** 2) for offset in range(-radius, radius + 1)]
    return [weight / sum(weights) for weight in weights]


def _blur(images: Tensor, sigma_px: float) -> Tensor:
    """Gaussian blur of `(n, c, H, W)` images, zero outside. Adding shifted images beats a convolution on a CPU."""
    weights = blur_weights(sigma_px)
    radius = len(weights) // 2
    for dim, padding in ((3, (radius, radius, 0, 0)), (2, (0, 0, radius, radius))):
        padded, size = nnf.pad(images, padding), images.shape[dim]
        images = torch.zeros_like(images)
        for shift, weight in enumerate(weights):
            images.add_(padded.narrow(dim, shift, size), alpha=weight)
    return images
