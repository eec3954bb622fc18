"""Views from anywhere, rendered while training. In: rows of a data set that keeps its geometry. Out: their views, uint8.

Every scan gets cameras of its own, at angles drawn uniformly in a range. Loader processes render on the CPU, one sample at
a time (numba where installed); `render_drafts` renders a whole batch on a device.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from mvfer.data.packed_geometry import unpack_mesh
from processing.cameras_mvfer import check_view_angles
from processing.framing_mvfer import FRAMED
from processing.rendering_mvfer import RenderSettings, render_scan


@dataclass(frozen=True)
class FreeViews:
    """Where cameras may stand, and how they see.

    Args:
        settings: how the data set's stored views were rendered; there are as many free views as stored ones.
        range_deg: largest yaw and pitch, to both sides.
    Raises:
        ValueError: if the range holds no camera.
    """

    settings: RenderSettings
    range_deg: tuple[float, float] = (60.0, 15.0)

    def __post_init__(self):
        if len(self.range_deg) != 2 or min(self.range_deg) < 0:
            raise ValueError(f"view_range_deg: expected yaw and pitch, both >= 0 degrees, got {tuple(self.range_deg)}")
        check_view_angles([self.range_deg])

    @property
    def num_views(self) -> int:
        return len(self.settings.view_angles_deg)

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """Angles `(V, 2)` float32 of a scan's cameras, independent and uniform in the range."""
        return rng.uniform(-1, 1, (self.num_views, 2)).astype(np.float32) * np.float32(self.range_deg)

    def render(self, geometry: Sequence[dict], view_angles_deg: np.ndarray, light_deg=None) -> np.ndarray:
        """Render a row on the CPU.

        Args:
            geometry: per frame what `packed_geometry.pack_mesh` gave.
            view_angles_deg (`(V, 2)`): any number of cameras.
            light_deg (`(2,)`): of the key light, if the row has its own.
        Returns:
            `numpy.ndarray` of shape `(T, V, H, W, 3)`, uint8.
        """
        options = {"frame": FRAMED, "view_angles_deg": view_angles_deg, "light_deg": light_deg}
        return np.concatenate([render_scan(*unpack_mesh(mesh), self.settings, **options) for mesh in geometry])

    def render_drafts(self, drafts: Sequence[dict], device: torch.device) -> list[np.ndarray]:
        """Render the samples of a batch on a device, all of one topology at once.

        Args:
            drafts: with `geometry`, `view_angles_deg` and `light_deg`, as `ViewDataset.draft` gives them.
        Returns:
            per draft the `(T, V, H, W, 3)` uint8 views of all its cameras.
        """
        groups: dict[tuple, list[tuple[int, int, dict]]] = {}
        for index, draft in enumerate(drafts):
            for frame, mesh in enumerate(draft["geometry"]):
                groups.setdefault((mesh["faces"], draft["light_deg"]), []).append((index, frame, mesh))
        images = [[None] * len(draft["geometry"]) for draft in drafts]
        for (_, light_deg), members in groups.items():
            meshes = [unpack_mesh(mesh) for *_, mesh in members]
            vertices = torch.from_numpy(np.stack([points for points, _ in meshes])).to(device)
            angles = np.stack([drafts[index]["view_angles_deg"] for index, *_ in members])
            options = {"frame": FRAMED, "view_angles_deg": angles, "light_deg": light_deg}
            rendered = render_scan(vertices, meshes[0][1], self.settings, **options)
            for (index, frame, _), views in zip(members, rendered, strict=True):
                images[index][frame] = views
        return [np.stack(frames) for frames in images]
