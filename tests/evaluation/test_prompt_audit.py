import numpy as np
import pytest
import torch

from modeling_mvfer.zeroshot_mvfer import class_logits
from mvfer.evaluation.audits.prompt_audit import (
    PromptScores,
    better_set,
    compare_sets,
    dominant_words,
    leave_one_out,
    misplaced_classes,
    prompt_sets,
)

NAMES = ["calm", "joy", "rage"]
TEXTS = ["still face", "face at rest", "smile", "lifted smile", "smile of rage", "frown", "tight frown"]
OWNERS = np.array([0, 0, 1, 1, 2, 2, 2])
PLANTED = "smile of rage"  # a prompt of rage that lies where joy is


def simulate(seed, subjects=40, prefix="v", places=(0, 0, 1, 1, 1, 2, 2), strength=1.25):
    """Scans of three classes; prompts lie at the classes of `places`, the planted one by default at another's."""
    rng = np.random.default_rng(seed)
    labels = np.tile(np.arange(3), 4 * subjects)
    scans = np.eye(3, 8)[labels] + 0.25 * rng.standard_normal((len(labels), 8))
    prompts = np.eye(3, 8)[list(places)] + 0.1 * np.random.default_rng(0).standard_normal((7, 8))
    prompts[TEXTS.index(PLANTED)] *= strength
    people = np.repeat([f"{prefix}{i}" for i in range(subjects)], 12).tolist()
    return PromptScores(8 * scans @ prompts.T, OWNERS, TEXTS, labels, people)


def test_class_logits_are_those_of_the_shipped_classifier():
    rng = np.random.default_rng(0)
    images, texts = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in rng.standard_normal((2, 7, 5)))
    scores = PromptScores(9 * images @ texts.T, OWNERS, TEXTS, np.zeros(7, int), ["a"] * 7)
    embeds = {name: torch.from_numpy(texts[OWNERS == k]) for k, name in enumerate(NAMES)}
    expected = class_logits(torch.from_numpy(images), embeds, scale=9.0).numpy()
    np.testing.assert_allclose(scores.logits(), expected, atol=1e-5)


def test_a_planted_bad_prompt_is_found_left_out_and_the_test_gets_better():
    validation, tested = simulate(1), simulate(2, prefix="t")
    harmful, *others = leave_one_out(validation, NAMES)
    assert harmful["prompt"] == PLANTED and harmful["class"] == "rage" and harmful["harmful"]
    assert harmful["nearest"] == "joy"
    assert not any(row["harmful"] for row in others)
    assert harmful["accuracy_without"] > 0.1 and harmful["log_loss_without"] < 0
    found = better_set(validation, tested, NAMES, seed=0)
    assert PLANTED in found["left_out"] and PLANTED not in found["prompts"]["rage"]
    assert all(found["prompts"].values())  # every class keeps a prompt
    assert found["difference"]["low"] > 0.1
    assert found["accuracy_after"]["mean"] - found["accuracy_before"]["mean"] == pytest.approx(
        found["difference"]["mean"]
    )


def test_a_prompt_that_changes_few_answers_and_makes_the_model_unsure_is_found():
    scores = simulate(1, strength=0.95)
    rows = leave_one_out(scores, NAMES)
    assert rows[0]["prompt"] == PLANTED and rows[0]["harmful"]
    assert abs(rows[0]["accuracy_without"]) < 0.05 < -rows[0]["log_loss_without"]


def test_good_prompts_are_not_called_harmful_nor_a_class_misplaced():
    alarms = []
    for seed in range(40):
        scores = simulate(seed, places=(0, 0, 1, 1, 2, 2, 2), strength=1.0)
        alarms.append(any(row["harmful"] for row in leave_one_out(scores, NAMES, seed=seed)))
        assert misplaced_classes(scores, NAMES) == {}
    assert not any(alarms)  # the weakest of right prompts may raise the log loss, and is not called harmful


def test_a_class_all_of_whose_prompts_describe_another_is_named_with_it():
    scores = simulate(3, places=(0, 0, 1, 1, 1, 1, 1))
    found = misplaced_classes(scores, NAMES)
    assert list(found) == ["rage"] and found["rage"]["nearest"] == "joy"
    expected = scores.logits()[scores.labels == 1, 2].mean() - scores.logits()[scores.labels == 2, 2].mean()
    assert found["rage"]["by"]["mean"] == pytest.approx(expected) and found["rage"]["by"]["low"] > 0


def test_scans_at_some_positions_keep_their_subjects():
    scores = simulate(1)
    some = scores.of(scores.labels == 2)
    assert set(some.labels) == {2} and len(some.subjects) == len(some.similarities) == 160
    np.testing.assert_array_equal(some.similarities, scores.similarities[scores.labels == 2])


def test_the_word_that_sways_most_is_named_first_and_a_harmful_one_is_seen():
    words = {row["word"]: row for row in dominant_words(simulate(1))}
    assert next(iter(words)) == max(words, key=lambda word: words[word]["changed"])
    assert words["rage"]["accuracy_without"] == max(row["accuracy_without"] for row in words.values()) > 0.1
    assert words["rage"]["prompts"] == 1 and words["frown"]["prompts"] == 2 and words["frown"]["accuracy_without"] < 0
    assert not {"at", "of"} & set(words)


def test_words_that_sway_as_much_as_each_other_are_in_alphabetical_order():
    scores = simulate(1)
    texts = ["still face quail ibis heron gnu", *TEXTS[1:]]
    rows = dominant_words(PromptScores(scores.similarities, OWNERS, texts, scores.labels, scores.subjects))
    changed = {row["word"]: row["changed"] for row in rows}
    assert len({changed[word] for word in ("gnu", "heron", "ibis", "quail", "still")}) == 1
    assert list(changed) == sorted(changed, key=lambda word: (-changed[word], word))


def test_prompts_are_not_chosen_on_tested_subjects():
    with pytest.raises(ValueError, match="must not be chosen on tested subjects"):
        better_set(simulate(1), simulate(2), NAMES, seed=0)


def test_sets_are_compared_on_the_same_scans():
    right = np.array([True, True, False, True] * 10)
    found = compare_sets({"good": right, "bad": ~right}, [str(i // 4) for i in range(40)], seed=0)
    assert (found["best"], found["worst"]) == ("good", "bad")
    assert found["spread"]["mean"] == pytest.approx(0.5) and found["sets"]["good"]["mean"] == pytest.approx(0.75)


def test_kinds_languages_and_wordings_of_the_bank_are_tried():
    sets = prompt_sets(["happiness", "sadness"])
    assert {"actions, en", "actions, ja", "names, en", "names, ja", "actions, en, wording 2"} <= set(sets)
    assert sets["names, ja"]["happiness"][0] == "嬉しそうな顔"
    assert sets["actions, en, wording 1"]["happiness"][1] == "lip corners pulled up"
    assert sets["actions, en, wording 3"]["happiness"][1] == "smiling mouth"
    assert "actions, en, wording 1" not in prompt_sets(["winking"])


def test_a_wrong_shape_is_refused():
    with pytest.raises(ValueError, match="expected similarities"):
        PromptScores(np.zeros((3, 2)), np.array([0]), ["a"], np.zeros(3, int), ["a"] * 3)
