"""Geometry in the rows of a data set: little is lost, little space is taken, damage is told."""

import numpy as np
import pytest

from mvfer.data.packed_geometry import STEP, pack_mesh, unpack_mesh
from processing.framing_mvfer import frame_face

from .heads import head


def framed_head():
    vertices, faces = head()
    return frame_face(vertices, faces).apply(vertices), faces


def test_vertices_come_back_within_half_a_step_and_faces_to_the_bit():
    vertices, faces = framed_head()
    packed = pack_mesh(vertices, faces)
    found, found_faces = unpack_mesh(packed)
    assert found.dtype == np.float32 and np.abs(found - vertices).max() <= 0.5 * STEP + 1e-6
    np.testing.assert_array_equal(found_faces, faces)
    assert pack_mesh(found, found_faces) == packed  # what was kept once is kept as it is


def test_packed_vertices_take_less_than_half_of_their_bytes():
    vertices, faces = framed_head()
    packed = pack_mesh(vertices, faces)
    assert len(packed["vertices"]) < 0.5 * vertices.nbytes
    assert len(packed["faces"]) < 0.5 * faces.astype(np.int32).nbytes


def test_equal_topologies_have_equal_bytes_and_unused_vertices_are_left_out():
    vertices, faces = framed_head()
    assert pack_mesh(vertices, faces)["faces"] == pack_mesh(1.5 * vertices, faces)["faces"]
    found, found_faces = unpack_mesh(pack_mesh(vertices, faces[:50]))
    assert len(found) == len(np.unique(faces[:50]))
    np.testing.assert_allclose(found[found_faces], vertices[faces[:50]], atol=STEP)


def test_large_scans_with_large_numbers_survive():
    rng = np.random.default_rng(0)
    vertices, faces = rng.normal(0, 2e4, (70_000, 3)), rng.permutation(70_000)[:69_999].reshape(-1, 3)
    found, found_faces = unpack_mesh(pack_mesh(vertices, faces))
    np.testing.assert_allclose(found[found_faces], vertices[faces], atol=0.01)  # float32 at 1e5


@pytest.mark.parametrize("wrong", [np.nan, np.inf, 1e9])
def test_what_has_no_place_on_the_grid_is_refused(wrong):
    vertices, faces = framed_head()
    vertices[7] = wrong
    with pytest.raises(ValueError, match="finite coordinates below"):
        pack_mesh(vertices, faces)


@pytest.mark.parametrize("name, damage", [("vertices", b"abc"), ("faces", None), ("faces", b"x\x9c")])
def test_damaged_geometry_says_so(name, damage):
    with pytest.raises(ValueError, match="geometry is damaged.*build the data set again"):
        unpack_mesh(pack_mesh(*framed_head()) | {name: damage})
