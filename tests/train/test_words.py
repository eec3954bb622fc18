"""What a model's configuration says of the words that it learnt."""

import pytest

from modeling_mvfer import MVFERConfig
from mvfer.training.parse_config import parse_config
from mvfer.training.pretraining import learnt_words
from processing.prompts_mvfer import describe_actions

FACES = (["12", "6"], ["4", "12L"], [])


def rows(*, wordings: int = 1, language: str = "en", source: str = "captions") -> list[dict]:
    captions = [[describe_actions(units, language=language, wording=i) for i in range(wordings)] for units in FACES]
    return [{"captions": captions, "caption_source": [source] * len(captions)}]


def config(*flags: str):
    return parse_config(["--dataset", "data/any", *flags])


@pytest.mark.parametrize("count", [1, 2, 8])
def test_a_model_is_asked_in_as_many_wordings_as_its_captions_have(count):
    found = learnt_words(config(), rows(wordings=count))
    assert found == {"prompt_wordings": count, "prompt_languages": ["en"]}


def test_fresh_captions_teach_all_known_wordings_in_the_languages_that_are_asked_for():
    found = learnt_words(config("--captions", "fresh", "--languages", "ja", "en"), rows())
    assert found == {"prompt_wordings": 8, "prompt_languages": ["en", "ja"]}
    assert learnt_words(config("--captions", "fresh", "--languages", "ja"), rows())["prompt_languages"] == ["ja"]


def test_stored_captions_teach_the_language_that_they_are_in_beside_what_the_start_knew(tmp_path):
    assert learnt_words(config(), rows(language="ja"))["prompt_languages"] == ["ja"]
    MVFERConfig(prompt_languages=["en"]).save_pretrained(tmp_path)
    found = learnt_words(config("--model", str(tmp_path)), rows(language="ja"))
    assert found["prompt_languages"] == ["en", "ja"]


def test_captions_that_are_labels_teach_names():
    named = [{"captions": [["a happy face"]], "caption_source": ["label_prompts"]}]
    found = learnt_words(config("--captions", "fresh"), named)
    assert found["prompt_kinds"] == ["names"] and found["prompt_wordings"] is None
    assert learnt_words(config(), named + rows())["prompt_kinds"] == ["actions", "names"]


def test_unknown_languages_are_refused(tmp_path):
    recipe = tmp_path / "recipe.json"
    recipe.write_text('{"dataset": ["data/any"], "languages": ["de"]}', encoding="utf-8")
    with pytest.raises(ValueError, match="languages must be some of en, ja, got"):
        parse_config(["--config", str(recipe)])
