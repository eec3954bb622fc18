"""`train.py --stage finetune`: what is trained, what is kept, what is refused."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import train
from modeling_mvfer import MVFERForFaceClassification
from mvfer.data.schema import dataset_info, load_splits
from mvfer.evaluation.audits.leakage import subject_keys
from mvfer.evaluation.classifiers import validation_accuracy
from mvfer.hub.load import load_run
from mvfer.training import finetuning
from mvfer.training.finetuning import choose_alpha, interpolate
from mvfer.training.labels import balanced_weights, labelled_rows

from .test_train import assert_same_state, launch, log_of
from .toy import write_toy_data


@pytest.fixture
def tune(small_run, toy_data, tmp_path):
    """`tune(*flags, folder="run")`: fine-tune the small model on toy data; returns the run's folder."""

    def run(*flags, folder="run") -> Path:
        assert train.main(arguments(small_run, toy_data, tmp_path / folder, *flags)) == 0
        return tmp_path / folder

    return run


def arguments(model, data, folder, *flags) -> list[str]:
    fixed = ["--stage", "finetune", "--model", model, "--dataset", data, "--output_dir", folder, "--num_workers", 0]
    return [str(flag) for flag in [*fixed, "--batch_size", 12, "--log_every", 1, "--eval_every", 100, *flags]]


def weights_of(folder: Path) -> dict:
    return load_file(folder / "model.safetensors")


def results_of(folder: Path) -> dict:
    return json.loads((folder / "results.json").read_text())


def test_a_probe_learns_the_toy_faces_and_changes_the_head_alone(tune, small_run):
    folder = tune("--method", "probe", "--steps", 60, "--learning_rate", 0.02)
    start, tuned = weights_of(small_run), weights_of(folder)
    assert {name for name in tuned if name in start and not torch.equal(tuned[name], start[name])} == set()
    assert {name for name in tuned if name not in start} == {"head.weight", "head.bias", "head.logit_scale"}
    results = results_of(folder)
    assert results["test"]["accuracy"]["mean"] > 0.8
    assert set(results["by_view"]) == {"front", "left_30", "right_30"}
    assert results["training"]["method"] == "probe" and results["training"]["labelled_scans"] == 24
    assert results["leakage"]["found"] == [] and results["training"]["start"] == small_run.name
    config = json.loads((folder / "config.json").read_text())
    assert config["calibration"]["temperature"] == results["calibration"]["temperature"]
    card = (folder / "README.md").read_text()
    assert "| fine-tuned, front view only |" in card and 'pipeline("mesh-classification"' in card
    assert "learnt from 24 labelled scans (method: probe" in card and "zero-shot" not in card.split("## How to use")[1]


def test_the_whole_model_moves_when_all_of_it_is_trained(tune, small_run):
    start, tuned = weights_of(small_run), weights_of(tune("--steps", 2))
    same = {name for name in tuned if name in start and torch.equal(tuned[name], start[name])}
    assert {name.split(".")[1] for name in same if name.startswith("vision_model")} <= {"post_layernorm", "embeddings"}
    assert "vision_model.post_layernorm.running_mean" in same  # statistics of few people would spoil it
    assert "vision_model.embeddings.class_embedding" not in same


def test_training_that_only_harms_keeps_the_start(tune, small_run, monkeypatch):
    scores = iter([0.9, 0.2, 0.1, 0.0])
    monkeypatch.setattr("mvfer.training.finetuning.FineTuning.score", lambda self, model: next(scores))
    folder = tune("--steps", 2, "--eval_every", 1)
    start, kept = weights_of(small_run), weights_of(folder)
    shared = kept.keys() & start.keys()
    assert shared and all(torch.equal(kept[name], start[name]) for name in shared)
    assert [line["step"] for line in log_of(folder) if "validation_accuracy" in line] == [0, 1, 2]


def test_adapters_are_merged_into_a_plain_model(tune, small_run):
    start, tuned = weights_of(small_run), weights_of(tune("--method", "lora", "--steps", 3, "--lora_rank", 2))
    changed = {name for name in tuned if name in start and not torch.equal(tuned[name], start[name])}
    assert not any("lora" in name for name in tuned)
    assert "visual_projection.weight" in changed and any(name.endswith("q_proj.weight") for name in changed)
    assert all(name.endswith(("proj.weight", "projection.weight", "fc1.weight", "fc2.weight")) for name in changed)
    name = next(name for name in changed if name.endswith("q_proj.weight"))
    assert torch.linalg.matrix_rank(tuned[name] - start[name], rtol=1e-3) <= 2


def test_the_exported_classifier_is_the_one_that_was_validated(tune, toy_data):
    folder = tune("--method", "lora", "--steps", 3, "--learning_rate", 0.01)
    model, processor = load_run(folder)
    assert type(model) is MVFERForFaceClassification
    score = validation_accuracy(model, processor, load_splits(toy_data)["validation"])
    assert score == pytest.approx(results_of(folder)["training"]["validation_accuracy"])


@pytest.mark.parametrize("method", ["full", "lora"])
def test_four_steps_equal_two_and_two_bit_for_bit(tune, tmp_path, method):
    flags = ("--method", method, "--steps", 4, "--checkpoint_every", 2)
    whole = tune(*flags, folder="whole") / "checkpoints"
    shutil.copytree(whole / "step-0000002", tmp_path / "resumed" / "checkpoints" / "step-0000002")
    resumed = tune(*flags, "--resume", "last", folder="resumed") / "checkpoints"
    assert_same_state(resumed / "step-0000004", whole / "step-0000004")


@pytest.mark.slow
def test_two_ranks_see_the_batch_and_the_loss_of_one(small_run, toy_data, tmp_path):
    flags = ("--method", "lora", "--class_weights", "balanced", "--steps", 3, "--learning_rate", 1e-4)
    process = launch(arguments(small_run, toy_data, tmp_path / "two", *flags), ranks=2)
    assert process.wait() == 0, process.stdout.read()
    train.main(arguments(small_run, toy_data, tmp_path / "one", *flags, "--batch_size", 24))
    for two, one in zip(log_of(tmp_path / "two"), log_of(tmp_path / "one"), strict=True):
        assert two["step"] == one["step"]
        if "learning_rate" in one:  # the loss in the log is this rank's share of the batch
            assert two["gradient_norm"] == pytest.approx(one["gradient_norm"], rel=2e-3)


def test_labels_alone_train_a_model_from_scratch(toy_data, tmp_path):
    folder = tmp_path / "scratch"
    train.main(arguments("small", toy_data, folder, "--steps", 2, "--class_weights", "balanced"))
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == ["MVFERForFaceClassification"] and config["class_weights"] == [1.0, 1.0, 1.0]
    assert config["auto_map"]["AutoModelForImageClassification"] == "classification_mvfer.MVFERForFaceClassification"


def test_the_mixture_of_start_and_result_is_exported_and_both_are_reported(tune, toy_data):
    folder = tune("--steps", 4, "--learning_rate", 3e-3, "--wise_ft")
    results = results_of(folder)
    mixed, scores = results["wise_ft"], results["wise_ft"]["validation_accuracy"]
    assert len(scores) == 11 and max(scores.values()) == scores[f"{mixed['alpha']:g}"]
    model, processor = load_run(folder)
    assert validation_accuracy(model, processor, load_splits(toy_data)["validation"]) == max(scores.values())
    for end in ("zero_shot", "fine_tuned"):
        assert mixed[end]["classification"]["num_scans"] == 9
    assert "before fine-tuning (zero-shot)" in (folder / "README.md").read_text()


def test_interpolation_goes_in_a_straight_line_between_its_ends():
    start, tuned = {"w": torch.zeros(2), "n": torch.tensor(1)}, {"w": torch.ones(2), "n": torch.tensor(5)}
    for alpha in (0.0, 0.25, 1.0):
        mixed = interpolate(start, tuned, alpha)
        assert mixed["w"].tolist() == [alpha, alpha] and mixed["n"] == 5
    with pytest.raises(ValueError, match="not in both: .*b"):
        interpolate(start, tuned | {"b": torch.ones(1)}, 0.5)


def test_alpha_is_the_best_on_validation_and_of_equals_the_nearest_to_the_start():
    model = torch.nn.Linear(1, 1, bias=False)
    start, tuned = {"weight": torch.zeros(1, 1)}, {"weight": torch.ones(1, 1)}
    alpha, scores = choose_alpha(model, start, tuned, lambda m: float(0.25 < m.weight.item() < 0.65))
    assert alpha == 0.3 and model.weight.item() == pytest.approx(0.3) and sum(scores.values()) == 4


def people(splits) -> dict[int, set]:
    found = {}
    for split in splits:
        for subject, label in zip(split["subject"], split["expression"], strict=True):
            found.setdefault(label, set()).add(subject)
    return found


def test_few_shot_counts_subjects_and_more_of_them_contain_fewer(toy_data):
    split = load_splits(toy_data)["train"]
    two, four = (people(labelled_rows([split], subjects_per_class=n, seed=1)) for n in (2, 4))
    assert [len(subjects) for subjects in two.values()] == [2, 2, 2]
    assert all(two[label] < four[label] for label in two)
    assert two != people(labelled_rows([split], subjects_per_class=2, seed=2))
    assert len(labelled_rows([split])[0]) == 24
    with pytest.raises(ValueError, match="8 labelled training subjects, 9 asked for"):
        labelled_rows([split], subjects_per_class=9)


def test_rows_without_a_label_are_left_out(toy_data):
    split = load_splits(toy_data)["train"]
    unknown = split.map(
        lambda row, index: row | {"expression": -1 if index < 6 else row["expression"]}, with_indices=True
    )
    assert labelled_rows([unknown])[0]["id"] == split["id"][6:]
    with pytest.raises(ValueError, match="fine-tuning needs at least two"):
        labelled_rows([split.filter(lambda row: row["expression"] == 4)])


def test_balanced_weights_give_classes_the_same_say_and_rows_a_mean_of_one():
    labels = [0, 0, 0, 1, 2, 2]
    weights = balanced_weights(labels, 3)
    assert [weights[k] * labels.count(k) for k in range(3)] == pytest.approx([2, 2, 2])


def test_without_peft_the_message_says_how_to_get_it(small_run, toy_data, tmp_path, monkeypatch):
    monkeypatch.setattr(finetuning, "peft", None)
    with pytest.raises(ValueError, match=r"pip install 'mvfer\[lora\]'"):
        train.main(arguments(small_run, toy_data, tmp_path, "--method", "lora"))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--model", "small", "--method", "probe"), "nothing to keep"),
        (("--wise_ft", "--head", "random"), "--head prompts"),
        (("--labels_per_class", "-1"), "labels_per_class"),
        (("--labels_per_class", "99"), "99 asked for"),
        (("--supervision", "pseudo"), "leave out --supervision pseudo"),
        (("--frames", "rank_pooled"), "as --frames sequence"),
    ],
)
def test_recipes_without_meaning_are_refused(small_run, toy_data, tmp_path, flags, message):
    with pytest.raises(ValueError, match=message):
        train.main(arguments(small_run, toy_data, tmp_path, *flags))


def test_a_start_that_does_not_fit_is_refused(tune, small_run, toy_data, tmp_path):
    tuned = tune("--method", "probe", "--steps", 1)
    with pytest.raises(ValueError, match="the MVFERModel that it was made from"):
        train.main(arguments(tuned, toy_data, tmp_path / "again"))
    with pytest.raises(ValueError, match="the MVFERModel that it was made from"):
        train.main(arguments(tuned, toy_data, tmp_path / "again", "--stage", "pretrain"))
    other = Path(shutil.copytree(toy_data, tmp_path / "other"))
    info = json.loads((other / "dataset_info.json").read_text())
    info["render_settings"]["channels"] = ["red", "green", "blue"]
    (other / "dataset_info.json").write_text(json.dumps(info))
    with pytest.raises(ValueError, match="build it with these channels"):
        train.main(arguments(small_run, other, tmp_path / "colours"))


def test_people_are_remembered_as_trained_on_if_their_labels_were(tune, toy_data):
    folder = tune("--method", "probe", "--steps", 1, "--labels_per_class", 2)
    labelled = set().union(*people(labelled_rows([load_splits(toy_data)["train"]], subjects_per_class=2)).values())
    seen = json.loads((folder / "subjects_seen.json").read_text())
    assert set(seen["trained_on"]) == subject_keys(dataset_info(toy_data), labelled)
    assert len(seen["chosen_on"]) == 3


def test_sequences_are_read_as_the_recipe_says(tmp_path):
    data = write_toy_data(tmp_path / "data", frames=6)
    flags = ("--frames", "rank_pooled", "--num_frames", 4, "--steps", 1)
    train.main(arguments("small", data, tmp_path / "run", *flags))
    processor = load_run(tmp_path / "run")[1].image_processor
    assert (processor.frames, processor.num_frames) == ("rank_pooled", 4)


def test_a_fusion_that_looks_at_prompts_is_fine_tuned_too(toy_data, tmp_path):
    start = tmp_path / "start"
    fixed = ["--dataset", toy_data, "--output_dir", str(start), "--num_workers", "0", "--batch_size", "12"]
    train.main([*fixed, "--steps", "1", "--fusion", "text"])
    train.main(arguments(start, toy_data, tmp_path / "run", "--steps", 2))
    before, after = weights_of(start), weights_of(tmp_path / "run")
    texts = [name for name in after if name.startswith("text_model.")]
    assert texts and all(torch.equal(after[name], before[name]) for name in texts)
    assert not torch.equal(after["visual_projection.weight"], before["visual_projection.weight"])
