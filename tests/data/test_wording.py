"""Captions in fresh words, and what captions claim."""

import random

import pytest

from mvfer.data.wording import (
    facts,
    languages_of,
    meaning,
    mirrored_units,
    reword,
    split_phrases,
    told_whole,
    units_of,
    units_told,
    wordings_met,
)
from processing.facs_phrases_mvfer import (
    ACTION_PHRASES,
    EVERYDAY_PHRASES,
    HELD_OUT_EVERYDAY,
    HELD_OUT_PHRASES,
    HELD_OUT_RELAXED,
    graded_phrases,
)
from processing.prompts_mvfer import describe_actions, named_emotion, swap_sides

HELD_OUT = {
    text
    for bank in (*HELD_OUT_PHRASES.values(), *HELD_OUT_EVERYDAY.values(), HELD_OUT_RELAXED)
    for texts in bank.values()
    for text in texts
} | {
    text
    for unit in HELD_OUT_PHRASES
    for language in ("en", "ja")
    for degree in "<>"
    for text in graded_phrases(unit, language, degree, held_out=True)
}


def drawn(count: int):
    """Random faces with a caption each: (units, language, caption)."""
    rng = random.Random(0)
    for _ in range(count):
        names = rng.sample(list(ACTION_PHRASES), rng.randint(0, 5))
        units = {unit: rng.choice([0.2, 0.4, 0.5, 0.6, 0.7, 0.9, 1.0]) for unit in names}
        language = rng.choice(["en", "ja"])
        yield units, language, reword(units, rng, language=language)


def test_a_fresh_caption_names_every_unit_and_claims_nothing_that_is_not_true():
    for units, language, caption in drawn(3000):
        assert units_of(meaning(caption)) == (set(units) or {"0"}), caption
        assert meaning(caption) <= facts(units), caption
        assert languages_of([caption]) == [language]
        assert named_emotion(caption) is None


def test_no_fresh_caption_has_a_held_out_wording():
    assert not HELD_OUT & {phrase for _, _, caption in drawn(5000) for phrase in [caption, *split_phrases(caption)]}


def test_every_known_wording_is_met_in_fresh_captions():
    rng, unit = random.Random(0), "4"
    for language in ("en", "ja"):
        captions = {reword({unit: 0.8}, rng, language=language) for _ in range(500)}
        assert captions == set(ACTION_PHRASES[unit][language]) | set(graded_phrases(unit, language, ">"))
    assert set(EVERYDAY_PHRASES["12", "25"]["en"]) < {reword({"12": 1.0, "25": 1.0}, rng) for _ in range(500)}


def test_fresh_captions_tell_degrees_only_where_the_intensity_says_so():
    rng = random.Random(0)
    weak = " ".join(reword({"12": 0.3}, rng) for _ in range(300))
    strong = " ".join(reword({"12": 0.9}, rng) for _ in range(300))
    neither = " ".join(reword({"12": 0.6}, rng) + reword({"12": 1.0}, rng) for _ in range(300))
    assert "slightly" in weak and "strongly" not in weak and "broad" not in weak
    assert "strongly" in strong and "a broad smile" in strong and "slightly" not in strong
    assert not any(word in neither for word in ("slightly", "faint", "strongly", "markedly", "broad"))


def test_a_caption_told_whole_claims_all_that_is_true():
    for units, _, _ in drawn(500):
        assert meaning(told_whole(units)) == facts(units)


def test_degrees_claim_their_unit_too_and_contradict_one_another():
    assert meaning("slightly narrowed eyes") == {"7", "7<"} == meaning("目を軽く細めている")
    assert meaning("eyes strongly narrowed, jaw dropped") == {"7", "7>", "26"}
    weak, strong = facts({"7": 0.3}), facts({"7": 0.9})
    assert meaning("slightly narrowed eyes") <= weak and not meaning("slightly narrowed eyes") <= strong
    assert meaning("narrowed eyes") <= weak and meaning("narrowed eyes") <= strong


def test_everyday_phrases_claim_all_their_units():
    assert meaning("a broad smile") == {"12", "12>"} == meaning("大きく微笑んでいる")
    assert meaning("smiling with parted lips") == {"12", "25"} == meaning("唇を開いて微笑んでいる")
    assert meaning("eyebrows raised") == {"1", "2"}


def test_sentences_are_taken_apart_into_their_phrases():
    assert split_phrases("jaw dropped, lips pressed together and brows lowered") == [
        "jaw dropped",
        "lips pressed together",
        "brows lowered",
    ]
    assert split_phrases("eyebrows drawn down and together and eyes closed") == [
        "eyebrows drawn down and together",
        "eyes closed",
    ]
    assert split_phrases("眉が下がり寄っていて、目を閉じている") == ["眉が下がり寄っている", "目を閉じている"]
    assert split_phrases("a scar and a beard") == ["a scar and a beard"]


def test_held_out_wordings_mean_what_known_ones_mean():
    for unit in HELD_OUT_PHRASES:
        for language in ("en", "ja"):
            assert {meaning(text) for text in HELD_OUT_PHRASES[unit][language]} == {frozenset({unit})}
    assert meaning(describe_actions(["4", "12L"], language="ja", held_out=True)) == {"4", "12L"}


def test_mirrored_units_are_what_the_mirrored_caption_says():
    rng = random.Random(0)
    for language in ("en", "ja"):
        caption = reword({"12L": 0.8, "4": 0.3}, rng, language=language)
        assert units_of(meaning(swap_sides(caption))) == set(mirrored_units({"12L": 0.8, "4": 0.3})) == {"12R", "4"}


def test_what_a_row_tells_is_read_from_its_captions_and_units():
    units = {"12": 0.8, "26": 0.05, "1L": 0.6}
    assert units_told(["inner brows raised, smiling"], units) == {"1": 0.6, "12": 0.8}  # 26 is too faint to be told
    assert list(units_told(["smiling, brows lowered"], {"12": 0.8, "4": 0.3})) == ["4", "12"]
    assert units_told(["a relaxed face"], {}) == {}
    for captions in ([], ["a happy face"], ["smiling, a scar"], ["jaw dropped, lips parted"]):
        assert units_told(captions, units) is None


@pytest.mark.parametrize("count", [1, 3, 8])
def test_the_wordings_and_languages_of_captions_are_known_from_their_words(count):
    captions = [describe_actions([unit], wording=i) for unit in ACTION_PHRASES for i in range(count)]
    assert wordings_met(captions) == count and languages_of(captions) == ["en"]
    assert wordings_met(["a happy face"]) is None
    assert languages_of(["笑顔", "a face", ""]) == ["en", "ja"]
