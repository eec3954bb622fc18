import json
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from mvfer.cli.evaluate import main
from mvfer.data.schema import load_splits, view_arrays
from mvfer.evaluation.audits.mesh_corruptions import MESH_CORRUPTIONS
from mvfer.evaluation.audits.robustness import choose_rows, find_meshes, mesh_robustness, summarise, view_robustness
from mvfer.evaluation.audits.view_corruptions import VIEW_CORRUPTIONS
from mvfer.evaluation.classifiers import SplitClassifier
from mvfer.evaluation.embeddings import embed_changed, embed_split, embed_views
from processing import MVFERImageProcessor, MVFERProcessor
from processing.rank_pooling_mvfer import rank_pool
from tests.tiny import bumpy_face, write_obj
from tests.train.toy import write_toy_data

SIZE_32 = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return write_toy_data(tmp_path_factory.mktemp("data") / "toy")


def test_the_accuracy_kept_is_the_mean_over_grades_relative_to_clean():
    clean = np.array([True] * 8 + [False] * 2)
    half = np.array([True] * 4 + [False] * 6)
    predictions = {"clean": clean, "noise:1": clean, "noise:2": half, "holes:1": half, "holes:2": half}
    found = summarise(predictions, [str(i) for i in range(10)], seed=0)
    assert found["corruptions"]["noise"]["accuracy_kept"]["mean"] == pytest.approx((0.8 + 0.4) / 2 / 0.8)
    assert [one["mean"] for one in found["corruptions"]["holes"]["accuracy"]] == [0.4, 0.4]
    assert found["accuracy_kept"]["mean"] == pytest.approx((0.8 + 3 * 0.4) / 4 / 0.8)
    assert summarise({"clean": ~clean | ~clean & False, "noise:1": half}, ["a"] * 10, seed=0)["clean"]["mean"] == 0.2
    assert summarise({"clean": half & False, "noise:1": half}, ["a"] * 10, seed=0)["accuracy_kept"] is None


def test_leaving_views_out_is_the_model_without_them(small_model, small_processor, toy):
    split = load_splits(toy)["test"]
    zero_shot = SplitClassifier.build(small_model, small_processor, [split])
    features = embed_split(small_model, small_processor.image_processor, split, each_view=True, progress=False)
    found = view_robustness(small_model, small_processor.image_processor, split, zero_shot, seed=0, progress=False)
    truth = zero_shot.classes_of(features.labels)
    for name, embeds in features.by_view.items():
        assert found["view_subsets"][name]["mean"] == pytest.approx((zero_shot.predict(embeds) == truth).mean())
    assert set(found["view_subsets"]) == {
        "right_30", "front", "left_30", "right_30 + front", "right_30 + left_30", "front + left_30"
    }  # fmt: skip
    assert set(found["corruptions"]) == set(VIEW_CORRUPTIONS) - {"texture"}  # frame_drop is for sequences
    assert list(found["not_applicable"]) == ["texture"]
    assert found["clean"]["mean"] == pytest.approx((zero_shot.predict(features.image_embeds) == truth).mean())


@pytest.mark.parametrize("settings", [{"frames": "rank_pooled"}, {"num_frames": 3}])
def test_undisturbed_sequences_are_read_as_in_the_main_test(small_model, settings, tmp_path):
    split = load_splits(write_toy_data(tmp_path / "film", frames=12))["test"]
    image_processor = MVFERImageProcessor(**SIZE_32, **settings)
    found = embed_changed(small_model, image_processor, split, {"clean": lambda sample, row: sample}, progress=False)
    features = embed_split(small_model, image_processor, split, progress=False)
    np.testing.assert_array_equal(found["clean"], features.image_embeds)
    other = embed_split(small_model, MVFERImageProcessor(**SIZE_32), split, progress=False)
    assert np.abs(features.image_embeds - other.image_embeds).max() > 1e-4  # the settings matter


def test_frames_are_disturbed_before_they_become_a_dynamic_image(small_model, small_processor, tmp_path):
    split = load_splits(write_toy_data(tmp_path / "film", frames=4))["test"]
    image_processor = MVFERImageProcessor(**SIZE_32, frames="rank_pooled")
    changes = {"last two": lambda sample, row: sample | {"views": sample["views"][2:]}}
    found = embed_changed(small_model, image_processor, split, changes, progress=False)["last two"]
    pooled = [rank_pool(view_arrays(row)[2:]) for row in split]  # (V, H, W, 3) each
    pixels = image_processor.normalize_views(np.stack(pooled))
    with torch.no_grad():
        angles = torch.tensor(split[0]["view_angles_deg"])
        expected = small_model.get_image_features(pixels, view_angles_deg=angles).pooler_output
    np.testing.assert_allclose(found, torch.nn.functional.normalize(expected, dim=-1).numpy(), atol=1e-5)
    zero_shot = SplitClassifier.build(small_model, small_processor, [split])
    curves = view_robustness(small_model, image_processor, split, zero_shot, seed=0, progress=False)["corruptions"]
    assert len(curves["frame_drop"]["accuracy"]) == 5


def test_rows_are_those_of_whole_subjects(small_model, small_processor, toy):
    features = embed_split(small_model, small_processor.image_processor, load_splits(toy)["train"], progress=False)
    rows = choose_rows(features, seed=0, max_scans=10)
    assert len(rows) == 9 and len({features.subjects[row] for row in rows}) == 3  # three scans each


def test_meshes_are_found_by_the_rows_ids(tmp_path):
    for name in ("a-1.obj", "b-2.ply", "other.obj", "a-1.txt"):
        (tmp_path / name).touch()
    assert {name: path.name for name, path in find_meshes(tmp_path, ["a-1", "b-2", "c"]).items()} == {
        "a-1": "a-1.obj",
        "b-2": "b-2.ply",
    }
    with pytest.raises(ValueError, match=r"none of its 3 mesh files is named like a tested row, such as c\.obj"):
        find_meshes(tmp_path, ["c"])
    with pytest.raises(ValueError, match="is no folder"):
        find_meshes(tmp_path / "missing", ["c"])


def test_all_audits_on_request(small_run, toy, tmp_path, capsys):
    write_obj(tmp_path / f"{load_splits(toy)['test'][0]['id']}.obj", *bumpy_face())
    out = tmp_path / "report"
    asked = ["--robustness", "--prompt_audit", "--meshes", str(tmp_path)]
    assert main(["--model", str(small_run), "--dataset", str(toy), "--out", str(out), *asked]) == 0
    results = json.loads((out / "results.json").read_text())
    assert set(results["mesh_robustness"]["corruptions"]) == set(MESH_CORRUPTIONS) - {"texture"}
    assert list(results["mesh_robustness"]["not_applicable"]) == ["texture"]
    assert results["mesh_robustness"]["num_scans"] == 1 and results["robustness"]["num_scans"] == 9
    assert "names, ja" in results["prompt_audit"]["sets"]
    printed = capsys.readouterr().out
    asked = (
        "robustness, stored views: ",
        "prompts: accuracy",
        "fairness: not audited",
        "not tested: texture, the model",
    )
    assert all(words in printed for words in asked)


def test_a_model_of_colours_is_tested_without_texture_and_needs_it(small_model, small_processor, toy, tmp_path):
    """On views that show colours, the curve of the texture; of meshes without colours, one clear error."""
    image_processor = MVFERImageProcessor(**SIZE_32, channels=["red", "green", "blue"])
    split = load_splits(toy)["test"]
    zero_shot = SplitClassifier.build(small_model, small_processor, [split])
    found = view_robustness(small_model, image_processor, split, zero_shot, seed=0, progress=False)
    assert len(found["corruptions"]["texture"]["accuracy"]) == 5 and found["not_applicable"] == {}
    processor = MVFERProcessor(image_processor=image_processor, tokenizer=small_processor.tokenizer)
    features = embed_split(small_model, image_processor, split, progress=False)
    files = {split["id"][0]: Path(write_obj(tmp_path / "grey.obj", *bumpy_face()))}
    with pytest.raises(ValueError, match=r"grey\.obj: no texture or vertex colours"):
        mesh_robustness(small_model, processor, files, features, zero_shot, seed=0, progress=False)
    colors = np.random.default_rng(0).integers(256, size=bumpy_face()[0].shape, dtype=np.uint8)
    trimesh.Trimesh(*bumpy_face(), vertex_colors=colors, process=False).export(tmp_path / "bright.ply")
    files = {split["id"][0]: tmp_path / "bright.ply"}
    found = mesh_robustness(small_model, processor, files, features, zero_shot, seed=0, progress=False)
    assert set(found["corruptions"]) == set(MESH_CORRUPTIONS) - {"light"} and "light" in found["not_applicable"]


def test_a_model_of_dynamic_images_is_not_shown_single_scans(small_model):
    image_processor = MVFERImageProcessor(**SIZE_32, frames="rank_pooled")
    views = np.zeros((1, 32, 32, 3), np.uint8)
    with pytest.raises(ValueError, match="reads motion, which a single scan lacks"):
        embed_views(small_model, image_processor, [views], [[[0.0, 0.0]]])
