"""Words for facial actions, and the prompt bank."""

import random

import pytest

from processing.facs_phrases_mvfer import ACTION_PHRASES, RELAXED_PHRASES
from processing.prompts_mvfer import (
    ACTION_BANK,
    EXPRESSIONS,
    PROMPTS,
    describe_actions,
    named_emotion,
    prompts_for,
    swap_sides,
)

PHRASES = [(lang, text) for forms in ACTION_PHRASES.values() for lang in ("en", "ja") for text in forms[lang]]


def test_no_phrase_names_an_emotion_or_holds_a_separator():
    for _, text in PHRASES:
        assert named_emotion(text) is None, text
        assert "," not in text and "、" not in text
    assert all(named_emotion(text) is None for texts in RELAXED_PHRASES.values() for text in texts)


def test_phrases_of_different_actions_differ():
    for language in ("en", "ja"):
        texts = [text for lang, text in PHRASES if lang == language]
        assert len(texts) == len(set(texts))


def test_actions_come_in_canonical_order_and_wording():
    assert describe_actions({"12": 0.8, "6": 0.4}) == "cheeks raised, lip corners pulled up"
    assert describe_actions(["12L"], language="ja") == "左の口角が上がっている"
    assert describe_actions({}) == "a relaxed face"


def test_random_wordings_reach_every_wording_and_every_order():
    rng = random.Random(0)
    drawn = {describe_actions(["6", "12"], wording=rng) for _ in range(500)}
    assert len(drawn) == 3 * 3 * 2


def test_every_wording_of_the_bank_occurs_in_the_prompts():
    for name, variants in ACTION_BANK.items():
        prompts = ", ".join(PROMPTS[name]["actions"]["en"]).split(", ")
        for unit in {unit for units in variants for unit in units}:
            assert set(ACTION_PHRASES[unit]["en"]) <= set(prompts), (name, unit)


def test_action_prompts_never_name_an_emotion_and_name_prompts_always_do():
    for name in EXPRESSIONS:
        for language in ("en", "ja"):
            assert not any(named_emotion(text) for text in PROMPTS[name]["actions"][language])
            assert all(named_emotion(text) for text in PROMPTS[name]["names"][language])


def test_no_prompt_stands_for_two_expressions():
    prompts = [
        text for name in EXPRESSIONS for kind in PROMPTS[name].values() for texts in kind.values() for text in texts
    ]
    assert len(prompts) == len(set(prompts))


def test_labels_keep_their_order_and_other_words_for_them_are_known():
    bank = prompts_for(["surprise", "Happy", "悲しみ"])
    assert list(bank) == ["surprise", "Happy", "悲しみ"]
    assert bank["Happy"] == prompts_for(["happiness"])["happiness"]
    assert bank["悲しみ"] == prompts_for(["sadness"])["sadness"]


def test_any_other_label_becomes_prompts_itself():
    assert prompts_for(["a broad grin"]) == {
        "a broad grin": ["a broad grin", "a face with a broad grin", "a person with a broad grin"]
    }


@pytest.mark.parametrize(
    "call", [lambda: prompts_for([]), lambda: prompts_for([" "]), lambda: prompts_for(["fear"], kinds=["x"])]
)
def test_bad_labels_and_kinds_are_refused(call):
    with pytest.raises(ValueError, match="expected"):
        call()


def test_unknown_units_and_languages_are_refused():
    with pytest.raises(ValueError, match="unknown action unit '99'"):
        describe_actions(["99"])
    with pytest.raises(ValueError, match="expected one of en, ja"):
        describe_actions(["12"], language="de")


def test_swapping_sides_turns_the_left_phrase_into_the_right_one_and_back():
    for unit in (unit for unit in ACTION_PHRASES if unit.endswith("L")):
        for language in ("en", "ja"):
            for left, right in zip(
                ACTION_PHRASES[unit][language], ACTION_PHRASES[unit[:-1] + "R"][language], strict=True
            ):
                assert swap_sides(left) == right and swap_sides(right) == left
    assert swap_sides("Left brow, bright 左右") == "Right brow, bright 左右"
