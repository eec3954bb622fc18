"""Expressions of one family on other heads: a made-up family with a mouth, shown by scans of another topology."""

import numpy as np
import pytest
import torch

from dataset_scripts import build_transfer
from dataset_scripts.synthetic import transfer
from dataset_scripts.synthetic.heads import HeadModel
from dataset_scripts.synthetic.unit_tables import ARKIT
from mvfer.data import schema
from processing.meshes_mvfer import load_mesh

from .conftest import half_egg, write_obj

MOUTH = -0.45  # height of the lips' line


def as_it_lies(path, **_):
    """A scan of an egg, which `read_neutral` takes for no face."""
    mesh = load_mesh(path)
    return np.asarray(mesh.vertices, float), np.asarray(mesh.faces)


def moves(name, points):
    """What a shape does anywhere on an egg of half-width 1: below the lips' line the jaw opens, a bump elsewhere."""
    x, y = points[:, 0], points[:, 1]
    if name == "jawOpen":
        return np.where((y < MOUTH) & (abs(x) < 0.35), -0.25, 0)[:, None] * [0.0, 1.0, 0.0]
    place = 0.4 if name.endswith("Left") else -0.4 if name.endswith("Right") else 0.0
    return 0.15 * np.exp(-((x - place) ** 2 + (y - MOUTH) ** 2) / 0.05)[:, None] * [0.0, 0.7, 0.7]


@pytest.fixture(scope="module")
def family():
    vertices, quads = half_egg()
    faces = np.concatenate([quads[:, :3], quads[:, [0, 2, 3]]]).astype(np.int64)
    points = vertices / 8

    def identities(streams):
        sizes = [1 + 0.05 * rng.standard_normal(3) for rng in streams]
        return torch.tensor(np.stack([points * size for size in sizes]), dtype=torch.float32), [{} for _ in streams]

    shapes = torch.tensor(np.stack([moves(name, points) for name in ARKIT.shapes]), dtype=torch.float32)
    return HeadModel(faces, ARKIT.shapes, shapes, identities)


@pytest.fixture(scope="module")
def scan():
    vertices, quads = half_egg(grid=46)
    return vertices * [1.05, 0.97, 1.0] * 10, np.concatenate([quads[:, :3], quads[:, [0, 2, 3]]]).astype(np.int64)


@pytest.fixture(scope="module")
def head(family, scan):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transfer, "_PEOPLE", 12)
        patch.setattr(transfer, "_MODES", 3)
        return transfer.Transfer(family)(*scan)


def test_the_scan_stays_as_it_is_and_moves_as_the_family_does(head, scan):
    points = scan[0] / 80
    count = len(points)
    size = np.ptp(head.vertices[:count, 0].numpy()) / np.ptp(points[:, 0])
    middle = head.vertices[:count].numpy() - size * points
    assert np.ptp(middle, axis=0).max() < 0.05  # framing moves and scales, no more
    for name in ("mouthSmileLeft", "mouthSmileRight", "cheekPuff"):
        got = head.shapes[head.shape_names.index(name), :count].numpy().ravel()
        own = moves(name, points / [1.05, 0.97, 1.0]).ravel()
        assert got @ own / np.linalg.norm(got) / np.linalg.norm(own) > 0.9, name
        assert 0.6 < np.linalg.norm(got) / np.linalg.norm(size * own) < 1.2, name


def test_lips_are_cut_without_a_gap_at_rest_and_part_when_the_jaw_opens(head, scan):
    count = len(scan[0])
    assert len(head.vertices) > count and len(head.faces) > len(scan[1])
    area = np.linalg.norm(_areas(head.vertices.numpy(), head.faces), axis=1).sum()
    before = np.linalg.norm(_areas(head.vertices.numpy(), scan[1]), axis=1).sum()
    np.testing.assert_allclose(area, before, rtol=1e-5)  # nothing was lost
    opened = head.vertices.numpy() + head.shapes[head.shape_names.index("jawOpen")].numpy()
    across = opened[head.faces][..., 1]
    at_rest = head.vertices.numpy()[head.faces][..., 1]
    middle = abs(head.vertices.numpy()[head.faces][..., 0]).max(1) < 0.15
    assert (np.ptp(across, axis=1) - np.ptp(at_rest, axis=1))[middle].max() < 0.1  # no triangle bridges the open mouth


def _areas(vertices, faces):
    a, b, c = (vertices[corner] for corner in faces.T)
    return np.cross(b - a, c - a)


def test_a_folder_of_scans_is_built_and_stays_private(family, scan, tmp_path, monkeypatch):
    monkeypatch.setattr(transfer, "_PEOPLE", 12)
    monkeypatch.setattr(build_transfer, "load_family", lambda *_: family)
    monkeypatch.setattr(build_transfer, "read_neutral", as_it_lies)
    (tmp_path / "scans").mkdir()
    for number in range(2):
        write_obj(tmp_path / "scans" / f"{number}.obj", scan[0] * (1 + 0.1 * number), scan[1])
    (tmp_path / "scans" / "2.obj").write_text("v 0 0 0\n")
    (tmp_path / "scans" / "3.obj").write_bytes((tmp_path / "scans" / "0.obj").read_bytes())
    options = ["--neutrals", tmp_path / "scans", "--out", tmp_path / "out", "--size_px", 24, "--num_proc", 1]
    options += ["--expressions_per_subject", 1, "--random_per_subject", 0, "--rest_per_subject", 1]
    assert build_transfer.main([str(option) for option in options]) == 0
    info = schema.dataset_info(tmp_path / "out")
    assert info["rows"]["train"] == 2 * 8 and not info["may_share"]
    left_out = (tmp_path / "out" / "rejected.jsonl").read_text()
    assert "transfer-anny-00002" in left_out and str(tmp_path) not in left_out
    assert "scan 4 in order: the same file as scan 1" in left_out
    rows = schema.load_splits(tmp_path / "out")["train"]
    assert sum(schema.is_at_rest(row["action_units"]) for row in rows) >= 2
    card = (tmp_path / "out" / "README.md").read_text()
    assert "people who were scanned" in card and "do not exist" not in card


def test_an_empty_folder_and_a_missing_family_are_refused(tmp_path, capsys):
    assert build_transfer.main(["--neutrals", str(tmp_path), "--out", str(tmp_path / "out")]) == 1
    assert "no meshes here" in capsys.readouterr().err
    with pytest.raises(ValueError, match="--shapes ict needs --family"):
        build_transfer.load_family("ict", None)
