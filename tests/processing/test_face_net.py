"""The network that corrects frames: what it sees, what it says, and that its weights are what was written."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dataset_scripts.synthetic import face_net as maker
from mvfer.data.geometry import rotation
from processing.face_frame_mvfer import FaceFrame, as_rows
from processing.face_net_mvfer import FaceNet, channels, correction, face_net, similarities
from processing.face_search_mvfer import close_up
from processing.framing_mvfer import frame_upright
from processing.meshes_mvfer import load_mesh

EXAMPLES = Path(__file__).parents[2] / "examples"
PLACES = np.array([[0.44, 0.73, 0.22], [-0.44, 0.73, 0.22], [0.36, -0.17, 0.11], [-0.36, -0.17, 0.11]])


def test_it_sees_depths_normals_and_holes():
    depth = torch.full((1, 8, 8), 0.2) + 0.5 * torch.arange(8)  # a plane that rises to the right
    depth[0, 3, 3] = torch.nan
    seen, z, right, up, forward = channels(depth, 1.0)[0]
    assert seen.sum() == 63 and not any(part[3, 3] for part in (seen, z, right, up, forward))
    torch.testing.assert_close(right[0], torch.full((8,), -0.5 / 1.25**0.5))
    assert up.abs().max() == 0 and (right.square() + up.square() + forward.square())[seen > 0].allclose(torch.ones(63))
    assert z.max() == 1, "what is far before the face says no more than that"


def test_outputs_are_a_size_a_rotation_and_a_shift():
    size, turn, shift = similarities(torch.tensor([[1.0, 0, 0, 2, 3, 0, 0, 9]]))
    assert size.item() == pytest.approx(np.exp(0.1)) and shift.tolist() == [[pytest.approx(0.3), 0, 0]]
    torch.testing.assert_close(turn[0], rotation(0, 0, np.degrees(0.2)).float())


@pytest.mark.parametrize(
    ("tilt", "zoom", "moved"), [((3, -4, 2), 1.05, (0.04, -0.03, 0.03)), ((0, 6, 0), 0.94, (0, 0.06, 0))]
)
def test_a_rough_frame_is_corrected(tilt, zoom, moved):
    mesh = load_mesh(EXAMPLES / "neutral.ply")
    plain = frame_upright(mesh.vertices, mesh.faces)
    rough = plain.then(FaceFrame(moved, zoom, as_rows(rotation(*tilt).numpy())))
    points = PLACES / plain.scale + plain.center
    before = np.linalg.norm(rough.apply(points) - PLACES, axis=1).max()
    scan, faces = torch.tensor(mesh.vertices, dtype=torch.float32), torch.as_tensor(mesh.faces)
    for _ in range(2):
        change, error = correction(close_up(scan, faces, rough))
        rough = rough.then(change)
    after = np.linalg.norm(rough.apply(points) - PLACES, axis=1).max()
    assert after < 0.06 < before and 0 < error < 0.1


def test_a_mirror_image_is_corrected_to_the_mirror_image():
    mesh = load_mesh(EXAMPLES / "happiness.ply")
    faces = torch.as_tensor(mesh.faces)
    rough = frame_upright(mesh.vertices, mesh.faces).then(
        FaceFrame((0.04, -0.02, 0.03), 0.95, as_rows(rotation(4, 3, -5).numpy()))
    )
    view = close_up(torch.tensor(mesh.vertices, dtype=torch.float32), faces, rough)
    change, error = correction(view)
    mirrored, as_much = correction(replace(view, depth=view.depth[:, ::-1].copy()))
    mirror = np.array([-1, 1, 1])
    np.testing.assert_allclose(mirrored.apply(PLACES * mirror), change.apply(PLACES) * mirror, atol=1e-5)
    assert as_much == pytest.approx(error, rel=1e-5)


def read_net(path: Path, monkeypatch) -> FaceNet:
    """The network of a file of weights."""
    spaces: dict = {}
    exec(path.read_text(), spaces)
    monkeypatch.setattr("processing.face_net_weights_mvfer.unpack", spaces["unpack"])
    face_net.cache_clear()
    try:
        return face_net()
    finally:
        face_net.cache_clear()


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_weights_are_written_as_they_are_read(memory_format, tmp_path, monkeypatch):
    torch.manual_seed(0)
    net = FaceNet()
    for weight in net.parameters():
        weight.data = torch.randn_like(weight)
    maker.write(net.to(memory_format=memory_format), tmp_path / "face_net_weights_mvfer.py")
    for read, written in zip(
        read_net(tmp_path / "face_net_weights_mvfer.py", monkeypatch).parameters(), net.parameters(), strict=True
    ):
        assert (read - written).abs().max() <= written.abs().max() / 250


def test_the_maker_disturbs_looks_and_learns(tmp_path, monkeypatch):
    """From heads to a network; it takes hundreds of steps until it has found more than what all rough frames have in common."""
    mesh = load_mesh(EXAMPLES / "neutral.ply")
    plain = frame_upright(mesh.vertices, mesh.faces)
    marks = [int(np.linalg.norm(plain.apply(mesh.vertices) - place, axis=1).argmin()) for place in PLACES]
    head = maker.framed(mesh.vertices.astype(float), mesh.faces.astype(np.int64), marks)
    monkeypatch.setattr(maker, "people", lambda model, seed: iter([head] * 100))
    monkeypatch.setattr(maker, "EPOCHS", 4)
    monkeypatch.setattr(maker, "BATCH", 8)
    monkeypatch.setattr(maker, "AVERAGE", 0.5)
    path = tmp_path / "heads.npz"
    maker.make_close_ups(None, ["clean", "noise", "holes", "one_camera"], 32, 1, path)
    depths, rough, true = maker.load([path])
    assert depths.shape == (32, 128, 128) and rough.shape == true.shape == (32, 4, 3)
    assert 0.02 < float((rough - true).norm(dim=-1).amax(1).median()) < 0.3
    maker.train([path], [path], tmp_path / "weights.py")
    net = read_net(tmp_path / "weights.py", monkeypatch)
    start = maker.errors(torch.zeros(32, 8), rough, true)
    with torch.no_grad():
        end = maker.errors(net(channels(depths.float(), maker.PIXEL)), rough, true)
    assert end.mean() < start.mean()


def test_similarity_is_found_again():
    rng = np.random.default_rng(0)
    points, turn = rng.normal(size=(5, 3)), rotation(20, -10, 30).numpy()
    size, found, shift = maker.similarity(points, 1.7 * points @ turn.T + [1, 2, 3])
    assert size == pytest.approx(1.7)
    np.testing.assert_allclose(found, turn, atol=1e-6)
    np.testing.assert_allclose(shift, [1, 2, 3], atol=1e-6)
