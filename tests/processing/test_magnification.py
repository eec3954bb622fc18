"""Movement since the onset, enlarged before rendering; the head's own motion left alone."""

import dataclasses

import numpy as np
import pytest
import torch

from mvfer.data.geometry import rotation
from processing import Mesh, MVFERImageProcessor, render_mesh
from processing.framing_mvfer import frame_face
from processing.magnification_mvfer import magnify
from processing.sequences_mvfer import read_sequence

from .test_image_processing import SIZE, head, photo, write_obj

SQUARE = np.array([[1.0, 1, 0], [-1, 1, 0], [-1, -1, 0], [1, -1, 0]])
SQUEEZED = np.array([[0.1, 0, 0], [-0.1, 0, 0], [-0.1, 0, 0], [0.1, 0, 0]])  # wider: no rigid motion in it


def meshes_of(count: int) -> list[dict]:
    return [head(0.3 + 0.01 * t) for t in range(count)]


def test_a_case_worked_by_hand():
    magnified = magnify(np.stack([SQUARE, SQUARE + SQUEEZED]), SQUARE, magnification=5)
    np.testing.assert_allclose(magnified, np.stack([SQUARE, SQUARE + 5 * SQUEEZED]), atol=1e-12)


def test_the_heads_motion_stays_as_it_is():
    turn, shift = rotation(10.0, -20.0, 5.0).double().numpy(), np.array([3.0, -1, 2])
    still = magnify((SQUARE + SQUEEZED)[None], SQUARE, magnification=4)
    moving = magnify(((SQUARE + SQUEEZED) @ turn.T + shift)[None], SQUARE, magnification=4)
    np.testing.assert_allclose(moving, still @ turn.T + shift, atol=1e-6)
    rigid = (head()["vertices"].astype(float) @ turn.T + shift)[None]
    np.testing.assert_allclose(magnify(rigid, head()["vertices"], magnification=30), rigid, atol=1e-4)


@pytest.mark.parametrize("length", [1, 300])
def test_a_factor_of_one_and_frames_at_rest_change_nothing(length):
    frames = np.repeat(SQUARE[None], length, 0)
    assert magnify(frames + 0.1, SQUARE, magnification=1).tolist() == (frames + 0.1).tolist()
    np.testing.assert_allclose(magnify(frames, SQUARE, magnification=9), frames, atol=1e-12)


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), "3", True])
def test_factors_without_meaning_are_refused(value):
    with pytest.raises(ValueError, match="expected a magnification > 0"):
        magnify(SQUARE[None], SQUARE, magnification=value)
    with pytest.raises(ValueError):
        MVFERImageProcessor(magnification=value)


def test_the_processor_renders_magnified_frames_framed_by_the_onset():
    processor = MVFERImageProcessor.from_render_settings({"size_px": SIZE}, magnification=4)
    meshes = [Mesh(**mesh) for mesh in meshes_of(3)]
    batch = processor(sequences=[{"frames": meshes}], return_tensors="pt")
    moved = magnify(np.stack([m.vertices for m in meshes]), meshes[0].vertices, magnification=4)
    expected = render_mesh(
        [dataclasses.replace(mesh, vertices=v) for mesh, v in zip(meshes, moved, strict=True)],
        processor.render_settings,
        frame=frame_face(meshes[0].vertices, meshes[0].faces),
    )
    torch.testing.assert_close(batch["pixel_values"][0], processor.normalize_views(expected))
    plain = processor(sequences=[{"frames": meshes}], magnification=1, return_tensors="pt")["pixel_values"][0]
    assert torch.equal(plain[0], batch["pixel_values"][0, 0])
    change, small = ((views[2] - views[0]).abs().mean() for views in (batch["pixel_values"][0], plain))
    assert change > 2 * small > 0


def test_the_onset_is_the_sequences_first_frame_also_where_that_is_not_sampled_or_may_be_given():
    processor = MVFERImageProcessor.from_render_settings({"size_px": SIZE}, magnification=4)
    meshes = meshes_of(5)
    middle = processor(sequences=[{"frames": meshes}], num_frames=1, return_tensors="pt")["pixel_values"][0, 0]
    both = processor(sequences=[{"frames": meshes}], return_tensors="pt")["pixel_values"][0]
    torch.testing.assert_close(middle, both[2])
    late = processor(sequences=[{"frames": meshes[3:], "onset": meshes[0]}], return_tensors="pt")["pixel_values"][0]
    torch.testing.assert_close(late, both[3:])


def test_frames_without_correspondence_are_refused_with_their_name(tmp_path):
    processor = MVFERImageProcessor.from_render_settings({"size_px": SIZE}, magnification=4)
    fine = write_obj(tmp_path / "0.obj", head())
    other = head() | {"faces": head()["faces"][::-1]}
    fewer = {"vertices": head()["vertices"][:-1], "faces": [f for f in head()["faces"] if f.max() < 767]}
    for name, mesh in (("other.obj", other), ("fewer.obj", fewer)):
        frames = [fine, write_obj(tmp_path / name, mesh)]
        with pytest.raises(ValueError, match=rf"{name}.*do not correspond.*pass magnification=1"):
            processor(sequences=[{"frames": frames}])
        assert processor(sequences=[{"frames": frames}], magnification=1)["pixel_values"].shape[1] == 2
    with pytest.raises(ValueError, match="sequences.0., frame 1: "):
        processor(sequences=[{"frames": [head(), other]}])
    with pytest.raises(ValueError, match="magnification moves the vertices of meshes, got photos"):
        processor(sequences=[{"frames": [photo(), photo()]}])


def test_the_factor_survives_the_disk(tmp_path):
    MVFERImageProcessor(magnification=2.5).save_pretrained(tmp_path)
    assert MVFERImageProcessor.from_pretrained(tmp_path).magnification == 2.5


def test_a_clock_with_large_times_keeps_its_fractions():
    sequence = read_sequence({"frames": [0, 1, 2], "frame_times_s": [1.7e9, 1.7e9 + 0.04, 1.7e9 + 0.12]}, "film", 3)
    np.testing.assert_allclose(sequence.times_s, [0, 0.04, 0.12], atol=1e-6)
