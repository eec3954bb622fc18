"""A model is asked in a language that it learnt, and in the wordings that it learnt."""

import json
import logging
from pathlib import Path

import pytest

import mvfer
from modeling_mvfer import MVFERConfig
from modeling_mvfer.zeroshot_mvfer import class_prompts, prompt_language, prompts_key
from processing import prompts_mvfer

BASIC = list(prompts_mvfer.BASIC_EXPRESSIONS)


def test_a_language_that_the_model_did_not_learn_is_refused_with_the_remedy():
    config = MVFERConfig(prompt_languages=["en"])
    message = r"learnt from captions in en alone; ask in 'en', .*--captions fresh --languages en ja"
    with pytest.raises(ValueError, match=message):
        class_prompts(prompts_mvfer, config, ["happiness"], language="ja")
    own = class_prompts(prompts_mvfer, config, ["happiness"], prompts={"happiness": ["笑顔"]}, language="ja")
    assert own == {"happiness": ["笑顔"]}  # the user's own words are the user's own choice


def test_without_a_language_the_model_is_asked_in_english_or_in_what_it_learnt():
    assert prompt_language(MVFERConfig(), None) == "en"
    assert prompt_language(MVFERConfig(prompt_languages=["en", "ja"]), None) == "en"
    assert prompt_language(MVFERConfig(prompt_languages=["ja"]), None) == "ja"
    found = class_prompts(prompts_mvfer, MVFERConfig(prompt_languages=["ja"], prompt_kinds=["actions"]), ["happiness"])
    assert "口角が上がっている" in found["happiness"]


def test_where_nobody_knows_what_a_model_learnt_it_warns(caplog):
    logger = logging.getLogger("transformers")
    logger.addHandler(caplog.handler)
    try:
        prompt_language.__globals__["logger"].warning_once.__func__.cache_clear()
        assert prompt_language(MVFERConfig(), "ja") == "ja"
    finally:
        logger.removeHandler(caplog.handler)
    assert "not known whether this model learnt language 'ja'" in caplog.text


def test_the_bundled_model_is_asked_as_it_was_taught():
    folder = Path(mvfer.model())
    config = MVFERConfig.from_pretrained(folder)
    assert config.prompt_wordings > 1 and config.prompt_languages == ["en", "ja"]
    asked = class_prompts(prompts_mvfer, config, BASIC)
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    assert asked == results["prompts"]
    assert prompts_key(asked) == config.calibration.prompts_key


def test_a_model_without_a_number_of_wordings_knows_those_of_the_first_bank():
    asked = class_prompts(prompts_mvfer, MVFERConfig(prompt_kinds=["actions"]), ["contempt", "happiness"])
    assert len(asked["happiness"]) == 3 * 4 and len(asked["contempt"]) == 2 * 6
