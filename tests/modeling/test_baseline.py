# ruff: noqa: F811  (fixtures are imported, then named as arguments)
"""A person's own baseline: the formula, the model, the processor, the pipeline, the stream and the command line."""

import json

import numpy as np
import pytest
import torch

from modeling_mvfer import MVFERForFaceClassification, MVFERModel, MVFERStream
from modeling_mvfer.baseline_mvfer import Baseline, RelativeFeatures, RunningBaseline, scan_means
from modeling_mvfer.pipeline_mvfer import ZeroShotMeshClassificationPipeline
from mvfer.cli.own_baselines import people_of
from mvfer.cli.predict import main as predict
from mvfer.hub.load import load_run
from mvfer.hub.run_folder import save_run
from mvfer.training.presets import small_config
from tests.tiny import face_obj, small_processor, write_obj  # noqa: F401


@pytest.fixture(scope="module")
def model(small_processor) -> MVFERModel:
    """A model with training means that are not zero."""
    tokenizer = small_processor.tokenizer
    special = {f"{kind}_token_id": getattr(tokenizer, f"{kind}_token_id") for kind in ("bos", "eos", "pad")}
    torch.manual_seed(0)
    model = MVFERModel(small_config(vocab_size=len(tokenizer), image_size=32, baseline=True, **special)).eval()
    model.relative_features.training_means.normal_()
    return model


@pytest.fixture(scope="module")
def run(model, small_processor, tmp_path_factory):
    return save_run(tmp_path_factory.mktemp("runs") / "relative", model, small_processor)


def pixels(seed: int, count: int = 4) -> torch.Tensor:
    return torch.randn(count, 3, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


def test_the_formula():
    relative = RelativeFeatures(4).eval()
    relative.training_means.copy_(torch.tensor([[1.0, 0, 0, 0], [0, 2.0, 0, 0]]))
    with torch.no_grad():
        relative.log_prior_count.copy_(torch.tensor([0.0, 1.0]))  # n0 = 1 and e
    features, mask = torch.ones(3, 1, 2, 4), torch.tensor([[True, True], [True, False], [True, True]])[:, None]
    features = features * mask[..., None]
    mean = torch.tensor([[3.0, 3, 3, 3]] * 3)
    found = relative(features, mask, Baseline(mean, torch.tensor([3.0, 1, 0]), torch.tensor([False, True, False])))
    torch.testing.assert_close(found[0, 0, 0], 1 - 3 / 4 * torch.tensor([2.0, 3, 3, 3]))
    torch.testing.assert_close(found[1, 0, 0], 1 - 1 / (1 + np.e) * torch.tensor([3.0, 1, 3, 3]))
    assert (found[1, 0, 1] == 0).all(), "an absent view stays zero"
    assert torch.equal(found[2], features[2]), "without scans nothing changes"


def test_what_is_common_to_a_persons_scans_goes_as_scans_get_many(model):
    """A constant added to all of a person's features changes the fused feature less the more own scans are known."""
    views = torch.randn(1, 1, 3, 128, generator=torch.Generator().manual_seed(1))
    own = torch.randn(40, 128, generator=torch.Generator().manual_seed(2))
    mask, angles, times = torch.ones(1, 1, 3, dtype=torch.bool), torch.zeros(1, 3, 2), torch.zeros(1, 1)

    def change(count: int) -> float:
        with torch.no_grad():
            plain = model.fuse_views(views, mask, angles, times, Baseline.of(own[:count]) if count else None)
            moved = model.fuse_views(views + 5, mask, angles, times, Baseline.of(own[:count] + 5) if count else None)
        return float((moved.pooler_output - plain.pooler_output).norm())

    changes = [change(count) for count in (0, 1, 3, 40)]
    assert changes == sorted(changes, reverse=True) and changes[-1] < 0.05 * changes[0]


@torch.no_grad()
def test_a_batchs_own_baselines_equal_those_that_are_given(model):
    inputs = pixels(0, 5)
    weights = torch.zeros(5, 5)
    weights[0, [1, 2]] = 1
    weights[3, 4] = 1
    rest = torch.tensor([False, False, False, True, False])
    within = model.get_image_features(inputs, baseline_weights=weights, baseline_at_rest=rest)
    means = model.get_image_features(inputs).scan_means
    first = model.get_image_features(inputs[:1], baseline=Baseline.of(means[[1, 2]]))
    fourth = model.get_image_features(inputs[3:4], baseline=Baseline.of(means[[4]], at_rest=True))
    torch.testing.assert_close(within.pooler_output[:1], first.pooler_output, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(within.pooler_output[3:4], fourth.pooler_output, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(within.pooler_output[1], model.get_image_features(inputs).pooler_output[1])


def test_training_learns_how_much_a_baseline_counts_and_the_means(model, small_processor):
    trained = MVFERModel(model.config).train()
    text = small_processor.tokenizer(["cheeks raised"] * 4, return_tensors="pt")
    at_rest = torch.tensor([True, False, False, False])
    options = {"baseline_weights": 1 - torch.eye(4), "baseline_at_rest": at_rest.logical_not(), "is_at_rest": at_rest}
    outputs = trained(pixel_values=pixels(3), return_loss=True, text_targets=torch.eye(4).bool(), **text, **options)
    outputs.loss.backward()
    assert torch.isfinite(trained.relative_features.log_prior_count.grad).all()
    assert (trained.relative_features.log_prior_count.grad != 0).any()
    assert trained.relative_features.batches_seen.tolist() == [1, 1]
    assert not torch.equal(*trained.relative_features.training_means)


def test_running_means_are_those_of_the_batches():
    relative = RelativeFeatures(3)
    batches = [torch.randn(6, 3, generator=torch.Generator().manual_seed(seed)) for seed in range(400)]
    nobody, one = torch.zeros(6, dtype=torch.bool), torch.tensor([True] + [False] * 5)
    relative.observe(batches[0] + 7, nobody)
    torch.testing.assert_close(relative.training_means[0], (batches[0] + 7).mean(0))
    assert not relative.training_means[1].any(), "no scan was at rest"
    for batch in batches:
        relative.observe(batch + 7 + 2 * one[:, None], one)
    assert (relative.training_means[0] - 7 - 2 / 6).abs().max() < 0.5
    assert (relative.training_means[1] - 9).abs().max() < 1.2


def test_processor_and_pipeline_take_the_baseline(model, small_processor, face_obj):
    inputs = small_processor(meshes=[face_obj], baseline=[face_obj, face_obj], return_tensors="pt")
    assert inputs["baseline_pixel_values"].shape == (1, 2, 3, 3, 32, 32) and inputs["baseline_at_rest"].tolist() == [
        True
    ]
    with torch.no_grad():
        given = model.get_image_features(**inputs)
        mean = model.get_image_features(inputs["pixel_values"]).scan_means
        expected = model.get_image_features(
            inputs["pixel_values"], baseline=Baseline.of(mean.repeat(2, 1), at_rest=True)
        )
    torch.testing.assert_close(given.pooler_output, expected.pooler_output, atol=1e-5, rtol=1e-5)
    classify = ZeroShotMeshClassificationPipeline(model=model, processor=small_processor)
    labels = ["happiness", "sadness"]
    plain = classify(face_obj, candidate_labels=labels)
    relative = classify(face_obj, candidate_labels=labels, baseline=[face_obj, face_obj])
    assert plain != relative
    anything = classify(face_obj, candidate_labels=labels, baseline=face_obj, baseline_at_rest=False)
    assert anything not in (plain, relative)
    with pytest.raises(ValueError, match="baseline goes with"):
        small_processor(text="a face", baseline=[face_obj])


def test_a_model_without_baselines_says_so(small_processor, face_obj):
    plain = MVFERModel(small_config(vocab_size=len(small_processor.tokenizer), image_size=32)).eval()
    assert plain.relative_features is None
    inputs = small_processor(meshes=[face_obj], baseline=[face_obj], return_tensors="pt")
    with pytest.raises(ValueError, match="train.py --baseline"):
        plain.get_image_features(**inputs)


def test_a_classifier_keeps_what_baselines_need(model, run):
    classifier = MVFERForFaceClassification.from_model(model, ["a", "b"])
    torch.testing.assert_close(classifier.relative_features.training_means, model.relative_features.training_means)
    assert classifier.config.baseline
    loaded, _ = load_run(run)
    torch.testing.assert_close(loaded.relative_features.training_means, model.relative_features.training_means)


def test_a_stream_is_calibrated_on_its_first_frames(model, small_processor):
    stream = MVFERStream(model, small_processor, ["happiness", "sadness"], window_s=1.0)
    with pytest.raises(ValueError, match="no frame yet"):
        stream.calibrate()
    photos = [np.random.default_rng(seed).integers(0, 255, (32, 32, 3), dtype=np.uint8) for seed in range(4)]
    for time, photo in enumerate(photos[:3]):
        plain = stream.push([photo], time_s=0.2 * time)
    stream.calibrate()
    assert stream.baseline.count.item() == 1.0 and stream.baseline.at_rest.item()
    relative = stream.push([photos[2]], time_s=0.6)
    assert relative.probabilities != plain.probabilities
    stream.reset()
    assert stream.baseline is None


def test_a_running_baseline_forgets_what_is_short():
    running, rest = RunningBaseline(every_s=1.0, frames=20), torch.tensor([1.0, 2.0])
    for time in range(60):  # ten frames a second
        found = running.observe(rest if time < 40 else rest + 9, time_s=time / 10)
    assert found.count.item() == 6, "one frame per second"
    torch.testing.assert_close(found.mean[0], rest)
    with pytest.raises(ValueError, match="at least one scan"):
        Baseline.of(torch.zeros(0, 2))


def test_a_stream_finds_its_running_baseline(model, small_processor):
    photos = [np.random.default_rng(seed).integers(0, 255, (32, 32, 3), dtype=np.uint8) for seed in range(3)]
    stream = MVFERStream(model, small_processor, ["happiness", "sadness"], baseline="running", window_s=1.0)
    for time, photo in enumerate(photos):
        stream.push([photo], time_s=float(time))
    assert stream.baseline.count.item() == 3 and not stream.baseline.at_rest.item()
    with pytest.raises(ValueError, match="'running'"):
        MVFERStream(model, small_processor, ["happiness"], baseline="always")


def test_predict_by_person_and_with_a_rest(run, face_obj, tmp_path, capsys):
    mesh = np.loadtxt([line[2:] for line in open(face_obj) if line.startswith("v ")])
    faces = np.loadtxt([line[2:] for line in open(face_obj) if line.startswith("f ")], dtype=int) - 1
    files = []
    for name, stretch in (("F1_a", 1.0), ("F1_b", 1.05), ("F2_a", 1.1)):
        files.append(write_obj(tmp_path / f"{name}.obj", mesh * [stretch, 1, 1], faces))

    def rows(*options) -> list[dict]:
        assert predict([*files, "--model", str(run), "--labels", "happiness", "sadness", "--json", *options]) == 0
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    plain, by_person, rest = rows(), rows("--by_person", r"F\d+"), rows("--baseline", files[0])
    assert [row.get("baseline_scans") for row in by_person] == [1, 1, None]
    same = [{**item, "score": pytest.approx(item["score"], abs=1e-6)} for item in plain[2]["scores"]]
    assert by_person[2]["scores"] == same, "nobody else shows F2"
    assert by_person[0]["scores"] != plain[0]["scores"]
    assert [row["baseline_scans"] for row in rest] == [1, 1, 1]
    assert rest[2]["scores"] != plain[2]["scores"]


def test_predict_relative_to_other_people_on_the_scanner(run, face_obj, tmp_path, capsys):
    mesh = np.loadtxt([line[2:] for line in open(face_obj) if line.startswith("v ")])
    faces = np.loadtxt([line[2:] for line in open(face_obj) if line.startswith("f ")], dtype=int) - 1
    others = [write_obj(tmp_path / f"{i}.obj", mesh * [1 + 0.02 * i, 1, 1], faces) for i in range(8)]
    command = [str(face_obj), "--model", str(run), "--labels", "happiness", "sadness", "--json"]
    assert predict(command) == predict([*command, "--scanner", *others]) == 0
    plain, relative = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert relative["baseline_scans"] == 8 and relative["scores"] != plain["scores"]
    with pytest.raises(ValueError, match="8 scans or more, got 7"):
        predict([*command, "--scanner", *others[:7]])
    with pytest.raises(ValueError, match="8 scans or more, got 0"):
        predict([*command, "--scanner"])


def test_own_scans_and_those_of_others_together():
    relative = RelativeFeatures(3)
    relative.training_means.copy_(torch.tensor([[1.0, 2.0, 3.0], [0.0, 1.0, 0.0]]))
    with torch.no_grad():
        relative.log_prior_count.copy_(torch.tensor([0.3, -1.2]))
    any_prior, rest_prior = relative.log_prior_count.exp().tolist()
    own = Baseline(
        torch.tensor([[2.0, 0.0, 1.0], [4.0, 4.0, 4.0], [9.0, 9.0, 9.0]]),
        torch.tensor([3.0, 1.0, 0.0]),
        torch.tensor([False, True, False]),
    )
    scanner = Baseline(torch.tensor([[1.5, 2.5, 2.0]]), torch.tensor([16.0]), torch.tensor([False]))
    features, mask = torch.zeros(3, 1, 1, 3), torch.ones(3, 1, 1, dtype=torch.bool)
    moved = -relative(features, mask, relative.on_scanner(own, scanner))[:, 0, 0]
    others = 16 / (16 + any_prior) * (scanner.mean[0] - relative.training_means[0])
    for row, (share, kind) in enumerate(((3 / (3 + any_prior), 0), (1 / (1 + rest_prior), 1))):
        expected = share * (own.mean[row] - relative.training_means[kind]) + (1 - share) * others
        torch.testing.assert_close(moved[row], expected)
    torch.testing.assert_close(moved[2], others, msg="of whom nothing is known: as others on the scanner")


def test_predict_by_person_and_relative_to_everybody_else(run, face_obj, tmp_path, capsys):
    mesh = np.loadtxt([line[2:] for line in open(face_obj) if line.startswith("v ")])
    faces = np.loadtxt([line[2:] for line in open(face_obj) if line.startswith("f ")], dtype=int) - 1
    names = ["F0_a", "F0_b"] + [f"F{i}_a" for i in range(1, 9)]
    files = [write_obj(tmp_path / f"{name}.obj", mesh * [1 + 0.02 * i, 1, 1], faces) for i, name in enumerate(names)]
    command = ["--model", str(run), "--labels", "happiness", "sadness", "--json", "--by_person", r"F\d+"]

    def rows(*options) -> list[dict]:
        assert predict([*options[0], *command, *options[1:]]) == 0
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    log = tmp_path / "audit.jsonl"
    audited = ["--audit_log", str(log), "--audit_user", "me", "--audit_key", str(tmp_path / "key")]
    own, both = rows(files), rows(files, "--scanner", *audited)
    assert {json.loads(line)["settings"]["scanner"] for line in log.open()} == {"everybody else's scans"}
    assert [row.get("baseline_scans") for row in own[:3]] == [1, 1, None]
    assert [row.get("baseline_scans") for row in both] == [1, 1] + [9] * 8, "all others, where nothing else is known"
    assert both[0]["scores"] != own[0]["scores"]
    named = rows(files, "--scanner", *files[2:])
    assert named[0]["scores"] == [
        {**item, "score": pytest.approx(item["score"], abs=1e-5)} for item in both[0]["scores"]
    ]
    assert [row.get("baseline_scans") for row in rows(files[:4], "--scanner")] == [1, 1, None, None], "too few others"


def test_people_are_found_in_names():
    files = ["scans/F1_a.obj", "scans/F1_b.obj", "scans/M2.obj", "scans/other.obj"]
    assert list(people_of(files, r"scans/([FM]\d)").values()) == ["F1", "F1", "M2"]
    with pytest.raises(ValueError, match="not a regular expression"):
        people_of(files, "(")
    with pytest.raises(ValueError, match="matches none"):
        people_of(files, "Z9")


def test_scan_means_leave_absent_views_out():
    features = torch.tensor([[[[1.0], [3.0], [50.0]]]])
    assert scan_means(features, torch.tensor([[[True, True, False]]])).item() == 2
