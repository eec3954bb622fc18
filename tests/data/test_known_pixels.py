"""A known vertex of a file lands on the pixel that pinhole geometry says, through the builders, texture and all."""

import numpy as np
import pytest
from PIL import Image

from mvfer.data import schema
from processing.cameras_mvfer import CAMERA_DISTANCE, DEFAULT_AIM_Y, FOCAL_LENGTH
from processing.framing_mvfer import frame_face

from .layouts import GRID, face, rows_of, write_bnt, write_textured_obj, write_wrl

SIZE_PX, YAWS_DEG = 160, (0, 30)
MARKED = 22 * GRID + 20  # on the subject's left, above the middle
FILES = {  # builder -> its file, the file's picture, what writes it
    "bu3dfe": ("F0001/F0001_HA04WH_F3D.wrl", "F0001/F0001_HA04WH_F3D.bmp", write_wrl),
    "bosphorus": ("bs000/bs000_E_HAPPY_0.bnt", "bs000/bs000_E_HAPPY_0.png", write_bnt),
    "folder": ("happy/scan.obj", "happy/scan.png", write_textured_obj),
}


def write_marker(path, uv):
    """A blue picture with a small red square around a place; v runs upwards."""
    size, half = 256, 3
    pixels = np.zeros((size, size, 3), np.uint8)
    pixels[..., 2] = 255
    column, row = round(uv[0] * size), round((1 - uv[1]) * size)
    pixels[row - half : row + half, column - half : column + half] = 255, 0, 0
    Image.fromarray(pixels).save(path)


def expected_pixel(vertices, faces, yaw_deg):
    """(column, row) of the marked vertex, by hand: the camera turns around y, aims above the nose, and z = 0 spans [-1, 1]."""
    frame, yaw = frame_face(vertices, faces), np.radians(yaw_deg)
    x, y, z = (vertices[MARKED] - frame.center) * frame.scale
    distance = CAMERA_DISTANCE - (x * np.sin(yaw) + z * np.cos(yaw))
    across = x * np.cos(yaw) - z * np.sin(yaw)
    place = 1 + FOCAL_LENGTH * across / distance, 1 - FOCAL_LENGTH * (y - DEFAULT_AIM_Y) / distance
    return np.array(place) * SIZE_PX / 2


@pytest.mark.parametrize("name", FILES)
def test_a_known_vertex_of_a_built_scan_lands_on_its_pixel(build, tmp_path, name):
    scan, picture, write = FILES[name]
    write(tmp_path / "source" / scan, 0.1)
    vertices, quads, uvs = face(0.1)
    write_marker(tmp_path / "source" / picture, uvs[MARKED])
    if name == "bosphorus":
        quads = quads[GRID - 1 :]  # the bottom row of points is background
    faces = quads[:, [[0, 1, 2], [0, 2, 3]]].reshape(-1, 3)
    out = build(name, tmp_path / "source", "--size_px", SIZE_PX, "--view_angles_deg", *YAWS_DEG, "--split", 1, 0, 0)
    views = schema.view_arrays(rows_of(out)[0])[0].astype(int)
    for view, yaw_deg in zip(views, YAWS_DEG, strict=True):
        rows, columns = ((view[..., 0] > 128) & (view[..., 2] < 128)).nonzero()
        assert 1 <= len(rows) <= 40
        found = columns.mean() + 0.5, rows.mean() + 0.5
        np.testing.assert_allclose(found, expected_pixel(vertices, faces, yaw_deg), atol=1.0)
