"""Label-free training: what the teacher assigns, what the student sees, and whole runs of it."""

import json
import shutil

import pytest
import torch
from accelerate import Accelerator

import train
from mvfer.data.batching import Collator, ViewDataset
from mvfer.training.config import TrainConfig
from mvfer.training.teacher import Teacher, balanced_assignments, collapse_signs, prompt_bank

from .test_train import arguments, assert_same_state, log_of, rewritten, set_all

PSEUDO = ("--supervision", "pseudo", "--prompt_bank", "happiness", "--confidence", 0.1, "--batch_size", 8)


@pytest.fixture(scope="module")
def start(toy_data, tmp_path_factory):
    """The folder of a short run with captions."""
    folder = tmp_path_factory.mktemp("runs") / "start"
    assert train.main(arguments(toy_data, folder, "--steps", 2, "--mixed_precision", "no")) == 0
    return folder


@pytest.fixture
def teaching(start, toy_data):
    """`teaching(**settings)`: a teacher, its student, the weights they share and a batch without texts."""
    from mvfer.data.schema import load_splits
    from mvfer.hub.load import load_run

    student, processor = load_run(start)
    weights = {name: value.clone() for name, value in student.state_dict().items()}
    rows = ViewDataset(load_splits(toy_data)["train"])
    batch = Collator(None, processor.image_processor)([rows[row] for row in range(8)])

    def build(**settings):
        settings = {"confidence": 0.0, "view_dropout": 0.5, "batch_size": 8, "prompt_bank": ["happiness"], **settings}
        config = TrainConfig(supervision="pseudo", model=str(start), **settings)
        return Teacher(Accelerator(cpu=True), student, weights, processor.tokenizer, config)

    return build, student, weights, batch


def test_the_bank_has_each_variant_once_and_names_no_emotion():
    bank = prompt_bank(["happiness", "surprise"])
    assert len(bank) == len(set(bank)) == 8
    assert "lip corners pulled up" in bank and not any("happ" in prompt for prompt in bank)


def test_the_teacher_sees_all_views_and_the_student_some(teaching):
    build, student, _, batch = teaching
    assert "input_ids" not in batch
    taught, _ = build()(batch)
    images = student.get_image_features(batch["pixel_values"]).pooler_output
    prompts = student.get_text_features(taught["input_ids"], attention_mask=taught["attention_mask"]).pooler_output
    images, prompts = (torch.nn.functional.normalize(rows, dim=-1) for rows in (images, prompts))
    expected = balanced_assignments(student.logit_scale.exp() * images @ prompts.T).float()
    torch.testing.assert_close(taught["text_assignments"], expected)
    assert batch["view_mask"].all() and not taught["view_mask"].all() and taught["view_mask"].any(dim=1).all()
    loss = student(**taught, return_loss=True)
    assert loss.loss.isfinite() and loss.losses["contrastive"] > 0


def test_the_student_sees_other_views_each_time_and_all_without_dropout(teaching):
    build, _, _, batch = teaching
    teacher = build()
    first, second = (teacher(batch)[0]["view_mask"] for _ in range(2))
    assert not torch.equal(first, second)
    assert torch.equal(build()(batch)[0]["view_mask"], first)
    assert build(view_dropout=0.0)(batch)[0]["view_mask"].all()


def test_the_teacher_moves_with_the_moving_average_and_keeps_its_temperature(teaching):
    build, _, weights, batch = teaching
    teacher = build()
    before = teacher(batch)[0]["text_assignments"]
    weights["logit_scale"].add_(1)
    torch.testing.assert_close(teacher(batch)[0]["text_assignments"], before)
    weights["text_projection.weight"].add_(torch.randn_like(weights["text_projection.weight"]))
    assert not torch.allclose(teacher(batch)[0]["text_assignments"], before)


def test_uncertain_scans_teach_nothing(teaching):
    build, student, _, batch = teaching
    taught, _ = build(confidence=1.0)(batch)
    assert not taught["text_assignments"].any()
    assert student(**taught, return_loss=True).losses["contrastive"] == 0


def test_more_prompts_than_scans_are_refused(teaching):
    with pytest.raises(ValueError, match="larger --batch_size"):
        teaching[0](batch_size=3)


def test_collapse_is_told_by_what_collapsed():
    healthy = {"pseudo_confident": 0.6, "pseudo_prompts_used": 7.0, "embedding_rank": 20.0}
    assert collapse_signs(healthy, first_rank=30.0) == []
    for change, word in (
        ({"pseudo_prompts_used": 1.2}, "same prompt"),
        ({"embedding_rank": 3.0}, "3.0 dimensions, 30.0 at first"),
        ({"pseudo_confident": 0.0}, "--confidence"),
    ):
        (sign,) = collapse_signs(healthy | change, first_rank=30.0)
        assert word in sign


def test_a_collapsed_run_says_so_in_its_log(teaching, capsys):
    build, _, weights, batch = teaching
    teacher = build()
    teacher.metrics(teacher(batch)[1])
    weights["visual_projection.weight"].zero_()
    found = teacher.metrics(teacher(batch)[1])
    assert found["embedding_rank"] < 2 and "embeddings have collapsed" in capsys.readouterr().out


def test_data_without_a_word_trains_and_the_results_say_what_was_learnt_from(start, tmp_path):
    data = rewritten(tmp_path, lambda rows: [row.update(captions=[], caption_source="none") for row in rows])
    folder = tmp_path / "run"
    assert train.main(arguments(data, folder, "--steps", 2, "--model", start, *PSEUDO)) == 0
    results = json.loads((folder / "results.json").read_text())
    assert results["supervision"] == ["captions", "pseudo"]  # the start had read captions
    assert results["data"]["caption_source"] == ["none"]
    assert results["training"]["supervision"] == "pseudo"
    assert {"contrastive", "pseudo_confident", "pseudo_prompts_used", "embedding_rank"} <= log_of(folder)[
        1
    ].keys()  # [0]: the start
    assert json.loads((folder / "train_config.json").read_text())["view_dropout"] == 0.5


def test_captions_of_the_data_do_not_reach_a_label_free_run(start, toy_data, tmp_path):
    logs = []
    for name, data in (
        ("own", toy_data),
        ("other", rewritten(tmp_path, set_all("captions", ["eyes closed, jaw dropped"]))),
    ):
        train.main(arguments(data, tmp_path / name, "--steps", 2, "--model", start, *PSEUDO))
        logs.append(log_of(tmp_path / name))
    assert logs[0] == logs[1]


def test_a_label_free_run_goes_on_bit_for_bit(start, toy_data, tmp_path):
    settings = ("--checkpoint_every", 2, "--model", start, *PSEUDO)
    train.main(arguments(toy_data, tmp_path / "whole", "--steps", 4, *settings))
    shutil.copytree(tmp_path / "whole/checkpoints/step-0000002", tmp_path / "resumed/checkpoints/step-0000002")
    shutil.copy(tmp_path / "whole/checkpoints/best.safetensors", tmp_path / "resumed/checkpoints")
    train.main(arguments(toy_data, tmp_path / "resumed", "--steps", 4, "--resume", "last", *settings))
    assert_same_state(*(tmp_path / name / "checkpoints" / "step-0000004" for name in ("whole", "resumed")))


@pytest.mark.slow
def test_two_ranks_teach_what_one_teaches(start, toy_data, tmp_path):
    from .test_train import launch

    shared = ("--steps", 1, "--model", start, *PSEUDO[:-2], "--mixed_precision", "no", "--baseline", 0, "--batch_size")
    process = launch(arguments(toy_data, tmp_path / "two", *shared, 4), ranks=2)
    assert process.wait() == 0, process.stdout.read()
    train.main(arguments(toy_data, tmp_path / "one", *shared, 8))
    for two, one in zip(log_of(tmp_path / "two"), log_of(tmp_path / "one"), strict=True):
        rank = two.pop("embedding_rank", None), one.pop("embedding_rank", None)  # of one rank's scans
        assert two == pytest.approx(one, rel=1e-3, abs=1e-5) and (rank[0] is None) == (rank[1] is None)
