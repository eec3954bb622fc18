"""Verification and presentation attacks: rates against slow twins, subjects resampled, planes that are planes."""

import json

import numpy as np
import pytest

from mvfer.cli.main import main
from mvfer.evaluation.metrics import area_and_equal_error, bootstrap_counts
from mvfer.studies.presentation_attack import HEIGHT_M, WIDTH_M, Presentations, error_rates, photo_mesh
from mvfer.studies.verification import pairs, verify
from processing.rendering_mvfer import RenderSettings, render_mesh
from tests.train.toy import write_toy_data


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return write_toy_data(tmp_path_factory.mktemp("data") / "toy")


def test_area_is_the_chance_that_a_positive_scores_above_a_negative():
    rng = np.random.default_rng(0)
    positive = rng.random(300) < 0.4
    scores = rng.standard_normal(300) + positive
    found = area_and_equal_error(scores, positive)
    slow = (scores[positive][:, None] > scores[~positive][None]).mean()
    assert found["auc"] == pytest.approx(slow)
    missed, let_in = (scores[positive] < found["threshold"]).mean(), (scores[~positive] >= found["threshold"]).mean()
    assert abs(missed - let_in) < 0.02 and found["eer"] == pytest.approx((missed + let_in) / 2, abs=0.01)


def test_weights_count_like_copies():
    scores, positive = np.array([0.1, 0.4, 0.35, 0.8, 0.5]), np.array([False, False, True, True, True])
    weights = np.array([2, 1, 3, 1, 2])
    copied = area_and_equal_error(np.repeat(scores, weights), np.repeat(positive, weights))
    assert area_and_equal_error(scores, positive, weights) == pytest.approx(copied)


def test_perfect_and_hopeless_scores_have_the_rates_one_expects():
    positive = np.array([True] * 10 + [False] * 10)
    assert area_and_equal_error(positive.astype(float), positive)["eer"] == 0
    assert area_and_equal_error(np.zeros(20), positive)["eer"] == pytest.approx(0.5)
    with pytest.raises(ValueError, match="both kinds"):
        area_and_equal_error(np.zeros(4), np.ones(4, bool))


def test_the_interval_comes_from_subjects_not_from_scans():
    values = {f"s{i}": float(i % 2) for i in range(20)}

    def measure(counts):
        return {"mean": sum(values[s] * n for s, n in counts.items()) / sum(counts.values())}

    found = bootstrap_counts([s for s in values for _ in range(50)], measure, seed=0)["mean"]
    assert found["mean"] == 0.5 and 0.2 < found["low"] < 0.4 < 0.6 < found["high"] < 0.8


def test_pairs_are_of_one_subject_or_of_two_and_equally_many():
    subjects = [f"s{i // 3}" for i in range(12)]
    first, second, same = pairs(subjects, seed=0)
    who = np.array(subjects)
    assert ((who[first] == who[second]) == same).all() and same.sum() == (~same).sum() == 12
    assert (first != second).all()
    with pytest.raises(ValueError, match="two scans of one"):
        pairs(["a", "b"], seed=0)


def test_embeddings_of_people_are_verified_and_random_ones_are_not():
    rng = np.random.default_rng(0)
    subjects = [f"s{i // 6}" for i in range(120)]
    people = np.repeat(rng.standard_normal((20, 16)), 6, axis=0)
    for noise, low, high in ((0.1, 0.0, 0.02), (1e6, 0.4, 0.6)):
        embeds = people + noise * rng.standard_normal(people.shape)
        found = verify(embeds / np.linalg.norm(embeds, axis=1, keepdims=True), subjects)
        assert (
            low <= found["eer"]["mean"] <= high and found["auc"]["low"] <= found["auc"]["mean"] <= found["auc"]["high"]
        )


def test_a_flat_photo_is_flat_and_a_bent_one_keeps_its_length():
    photo = np.random.default_rng(0).integers(255, size=(30, 20, 3), dtype=np.uint8)
    flat, bent = (photo_mesh(photo, kind, np.random.default_rng(1)) for kind in ("flat", "bent"))
    thickness = [np.linalg.svd(mesh.vertices - mesh.vertices.mean(0), compute_uv=False)[-1] for mesh in (flat, bent)]
    assert thickness[0] < 1e-5 < 1e-2 < thickness[1]
    for mesh in (flat, bent):
        a, b, c = (mesh.vertices[mesh.faces[:, corner]] for corner in range(3))
        normals = np.cross(b - a, c - a)
        assert 0.5 * np.linalg.norm(normals, axis=1).sum() == pytest.approx(WIDTH_M * HEIGHT_M, rel=1e-3)  # paper
        assert normals.sum(0)[2] > 0 and mesh.vertex_colors.shape == mesh.vertices.shape
    assert (flat.vertex_colors[0] == photo[0, 0]).all() and (flat.vertex_colors[-1] == photo[-1, -1]).all()
    with pytest.raises(ValueError, match="expected a kind"):
        photo_mesh(photo, "mask", np.random.default_rng(0))


def test_a_photo_is_rendered_like_any_scan():
    photo = np.full((8, 8, 3), (200, 100, 50), np.uint8)
    settings = RenderSettings(view_angles_deg=[(0, 0)], size_px=32, channels=("red", "green", "blue"))
    view = render_mesh(photo_mesh(photo, "flat", np.random.default_rng(0)), settings)[0, 0]
    shown = view[view.any(-1)]
    assert len(shown) > 100 and shown[:, 0].mean() > shown[:, 1].mean() > shown[:, 2].mean()


def test_error_rates_are_those_of_the_standard():
    kinds = np.array(["head", "head", "head", "head", "flat", "flat", "bent", "bent"])
    data = Presentations(np.zeros((8, 2)), kinds, ["a", "a", "b", "b", "a", "b", "a", "b"])
    scores = np.array([2.0, 0.5, 3.0, 1.5, -1.0, -2.0, 1.2, -0.5])
    rates = error_rates(data, scores, 1.0, {"a": 1, "b": 1})
    assert rates["bpcer"] == 0.25 and rates["apcer_flat"] == 0 and rates["apcer_bent"] == rates["apcer"] == 0.5
    assert error_rates(data, scores, 1.0, {"a": 3, "b": 1})["apcer_bent"] == 0.75


def test_the_commands_write_their_numbers(small_run, toy, tmp_path, capsys):
    for name in ("verification", "presentation_attack"):
        assert main(["study", name, "--model", str(small_run), "--dataset", str(toy), "--out", str(tmp_path)]) == 0
        results = json.loads((tmp_path / f"{name}.json").read_text())
        assert 0 <= results["eer"]["low"] <= results["eer"]["mean"] <= results["eer"]["high"] <= 1
        assert results["data"] == "toy" and results["command"].startswith(f"mvfer study {name}")
    assert "APCER BENT" in capsys.readouterr().out
