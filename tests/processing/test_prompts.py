"""Words for facial actions, and the prompt bank."""

import hashlib
import random

import pytest

from processing.facs_phrases_mvfer import (
    ACTION_PHRASES,
    EVERYDAY_PHRASES,
    HELD_OUT_EVERYDAY,
    HELD_OUT_PHRASES,
    HELD_OUT_RELAXED,
    RELAXED_PHRASES,
    SLIGHT,
    STRONG,
    degree_of,
    graded_phrases,
    split_wordings,
)
from processing.prompts_mvfer import (
    ACTION_BANK,
    EXPRESSIONS,
    PROMPTS,
    describe_actions,
    named_emotion,
    prompts_for,
    swap_sides,
)

BANKS = (ACTION_PHRASES, HELD_OUT_PHRASES, EVERYDAY_PHRASES, HELD_OUT_EVERYDAY)
PHRASES = [(lang, text) for bank in BANKS for forms in bank.values() for lang in ("en", "ja") for text in forms[lang]]
GRADED = [
    (language, text)
    for unit in ACTION_PHRASES
    for language in ("en", "ja")
    for degree in (SLIGHT, STRONG)
    for held_out in (False, True)
    for text in graded_phrases(unit, language, degree, held_out=held_out)
]


def test_no_phrase_names_an_emotion_or_holds_a_separator():
    for _, text in PHRASES + GRADED:
        assert named_emotion(text) is None, text
        assert "," not in text and "、" not in text
    assert all(named_emotion(text) is None for texts in RELAXED_PHRASES.values() for text in texts)


def test_phrases_of_different_actions_differ():
    for language in ("en", "ja"):
        texts = [text for lang, text in PHRASES + GRADED if lang == language]
        assert len(texts) == len(set(texts))


def test_actions_come_in_canonical_order_and_wording():
    assert describe_actions({"12": 0.8, "6": 0.4}) == "cheeks raised, lip corners pulled up"
    assert describe_actions(["12L"], language="ja") == "左の口角が上がっている"
    assert describe_actions({}) == "a relaxed face"


def test_random_wordings_reach_every_wording_and_every_order():
    rng = random.Random(0)
    drawn = {describe_actions(["6", "12"], wording=rng) for _ in range(2000)}
    assert len(drawn) == 8 * 8 * 2


def test_every_wording_that_is_asked_for_occurs_in_the_prompts_and_no_other():
    banks = {"known": [ACTION_PHRASES], "held_out": [HELD_OUT_PHRASES], "all": [ACTION_PHRASES, HELD_OUT_PHRASES]}
    for wordings, banks_ in banks.items():
        for name, variants in ACTION_BANK.items():
            prompts = prompts_for([name], kinds=["actions"], wordings=wordings)[name]
            asked = {text for units in variants for unit in units for bank in banks_ for text in bank[unit]["en"]}
            relaxed = {"known": RELAXED_PHRASES, "held_out": HELD_OUT_RELAXED}.get(wordings, {"en": ()})["en"]
            found = set(", ".join(prompts).split(", ")) - set(RELAXED_PHRASES["en"] + HELD_OUT_RELAXED["en"])
            assert found == asked, (name, wordings)
            assert name != "neutral" or set(relaxed) <= set(prompts)


def test_action_prompts_never_name_an_emotion_and_name_prompts_always_do():
    for name in EXPRESSIONS:
        for language in ("en", "ja"):
            assert not any(named_emotion(text) for text in PROMPTS[name]["actions"][language])
            assert all(named_emotion(text) for text in PROMPTS[name]["names"][language])


def test_no_prompt_stands_for_two_expressions():
    for language in ("en", "ja"):
        bank = prompts_for(EXPRESSIONS, language=language, wordings="all")
        prompts = [text for texts in bank.values() for text in texts]
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
    "call",
    [
        lambda: prompts_for([]),
        lambda: prompts_for([" "]),
        lambda: prompts_for(["fear"], kinds=["x"]),
        lambda: prompts_for(["fear"], wordings="none"),
        lambda: prompts_for(["fear"], wordings=0),
    ],
)
def test_bad_labels_kinds_and_wordings_are_refused(call):
    with pytest.raises(ValueError, match="expected"):
        call()


def test_unknown_units_and_languages_are_refused():
    with pytest.raises(ValueError, match="unknown action unit '99'"):
        describe_actions(["99"])
    with pytest.raises(ValueError, match="expected one of en, ja"):
        describe_actions(["12"], language="de")


def test_every_action_has_many_wordings_a_third_of_them_held_out():
    known, held_out = ACTION_PHRASES | {"0": RELAXED_PHRASES}, HELD_OUT_PHRASES | {"0": HELD_OUT_RELAXED}
    assert set(known) == set(held_out) and len(known) == 26 + 2 * 15 + 1
    for unit in known:
        for language, least in (("en", 12), ("ja", 8)):
            both = known[unit][language], held_out[unit][language]
            assert sum(map(len, both)) >= least and split_wordings([*both[0], *both[1]]) == both
            assert not set(both[0]) & set(both[1])


def test_held_out_wordings_are_made_of_words_that_known_ones_use():
    def parts(bank, language):
        texts = [text for forms in bank for text in forms[language]]
        return set(" ".join(texts).split()) if language == "en" else set("".join(texts))

    for language in ("en", "ja"):
        known = [*ACTION_PHRASES.values(), *EVERYDAY_PHRASES.values(), RELAXED_PHRASES]
        known_parts = parts(known, language) | {"slightly"}
        held_out = [*HELD_OUT_PHRASES.values(), *HELD_OUT_EVERYDAY.values(), HELD_OUT_RELAXED]
        assert parts(held_out, language) <= known_parts


def test_the_first_wordings_are_those_that_earlier_models_know():
    assert ACTION_PHRASES["12"]["en"][:3] == ("lip corners pulled up", "corners of the mouth lifted", "smiling mouth")
    assert ACTION_PHRASES["4"]["ja"][:3] == ("眉が下がり寄っている", "眉をひそめている", "眉間にしわが寄っている")
    assert prompts_for(["happiness"], kinds=["actions"])["happiness"][3:6] == [
        "lip corners pulled up",
        "corners of the mouth lifted",
        "smiling mouth",
    ]
    canonical = prompts_for(EXPRESSIONS, kinds=["actions"], wordings=1)
    text = repr(sorted(prompts_for(EXPRESSIONS, kinds=["actions"]).items())) + repr(sorted(canonical.items()))
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "25c16925ba357e2b"
    text = repr(sorted(prompts_for(EXPRESSIONS, kinds=["actions"], language="ja").items()))
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "ead73d54c789879c"


def test_degrees_are_words_within_the_phrase_and_follow_the_letters_of_facs():
    assert "lips barely parted" in graded_phrases("25", "en", SLIGHT)
    assert "deeply furrowed brow" in graded_phrases("4", "en", STRONG)
    assert "左の口角がわずかに上がっている" in graded_phrases("12L", "ja", SLIGHT)
    assert graded_phrases("45", "en", STRONG) == ()
    letters = [degree_of("12", value) for value in (0.2, 0.4, 0.6, 0.8)]  # A to D
    assert letters == [SLIGHT, SLIGHT, "", STRONG]
    assert degree_of("12", 0.5) == SLIGHT  # marked as weak, without a letter
    assert degree_of("12", 1.0) == "" == degree_of("45", 0.9)  # 1 is also what sets without intensities write


def test_swapping_sides_turns_the_left_phrase_into_the_right_one_and_back():
    for unit in (unit for unit in ACTION_PHRASES if unit.endswith("L")):
        for language in ("en", "ja"):
            for bank in (ACTION_PHRASES, HELD_OUT_PHRASES):
                pairs = zip(bank[unit][language], bank[unit[:-1] + "R"][language], strict=True)
                for left, right in pairs:
                    assert swap_sides(left) == right and swap_sides(right) == left
    assert swap_sides("Left brow, bright 左右") == "Right brow, bright 左右"
