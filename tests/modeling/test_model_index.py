"""Scores in a card's metadata: read again by huggingface_hub, replaced and not repeated, and nothing else touched."""

import pytest
import yaml
from huggingface_hub import ModelCard

from mvfer.hub.card import model_card
from mvfer.hub.model_index import eval_results, update_card
from tests.modeling.test_hub import results

TASK = "zero-shot-image-classification"
CARD = """---
license: mit   # chosen by us
model-index:
- name: ours
  results:
  - task:
      type: zero-shot-image-classification
    dataset: {name: anny, type: anny, split: test}
    metrics:
    - {type: accuracy, value: 0.5, name: "accuracy, zero-shot"}
    - {type: accuracy, value: 0.25, name: "accuracy, by hand"}
  - task:
      type: zero-shot-image-classification
    dataset: {name: other, type: other, split: test}
    metrics:
    - {type: accuracy, value: 0.125, name: "accuracy, zero-shot"}

# why these tags
tags: [a,  b]
---
# Card

model-index: this line is text.
"""


@pytest.fixture(params=["\n", "\r\n"], ids=["unix", "windows"])
def folder(request, tmp_path):
    (tmp_path / "README.md").write_bytes(CARD.replace("\n", request.param).encode())
    return tmp_path


def stored(folder) -> dict:
    """(data set, configuration, name) -> result, as huggingface_hub reads them."""
    found = ModelCard.load(folder / "README.md").data.eval_results
    assert len(found) == len({(one.dataset_type, one.dataset_config, one.metric_name) for one in found})
    return {(one.dataset_type, one.dataset_config, one.metric_name): one for one in found}


def protocol_results(mean: float = 0.6) -> dict:
    value = {"mean": mean, "low": 0.5, "high": 0.7}
    scores = dict.fromkeys(("accuracy", "balanced_accuracy", "macro_f1"), value)
    one = {"protocol": {"name": "bu3dfe-subset1"}, "zero_shot": scores, "fine_tuned": scores, "knn": None}
    several = {"protocol": {"name": "fourdme-loso"}, "multilabel_probe": {"uf1": value, "uar": value}}
    return {"tables": {"bu3dfe-subset1": one, "fourdme-loso": several}, "data": {"name": "set"}}


def test_every_test_and_data_set_has_three_metrics_with_intervals():
    found = {(one.dataset_type, one.metric_name): one for one in eval_results(results(), TASK)}
    assert len(found) == 3 * 5  # four tests here, one on another set
    uar = found["anny", "balanced accuracy (UAR), zero-shot"]
    assert (uar.metric_type, uar.metric_value, uar.dataset_split) == ("balanced_accuracy", 0.9, "test")
    assert uar.metric_args == {"interval_95": [0.8, 0.94]}
    assert found["ict", "macro-F1, zero-shot"].metric_type == "f1"


def test_new_scores_replace_old_ones_and_all_else_stays_byte_for_byte(folder):
    before = (folder / "README.md").read_bytes()
    assert update_card(folder, results()) == 15
    after, found = (folder / "README.md").read_bytes(), stored(folder)
    assert found["anny", None, "accuracy, zero-shot"].metric_value == 0.91
    assert found["anny", None, "accuracy, by hand"].metric_value == 0.25
    assert found["other", None, "accuracy, zero-shot"].metric_value == 0.125
    assert ModelCard.load(folder / "README.md").data.model_name == "ours"
    start, end = before.index(b"model-index:"), before.index(b"# why these tags")
    assert after.startswith(before[:start]) and after.endswith(before[end:])
    assert (b"\r\n" in before) == (b"\r\n" in after) and after.count(b"\n") - after.count(b"\r\n") in (
        0,
        after.count(b"\n"),
    )
    update_card(folder, results())
    assert (folder / "README.md").read_bytes() == after


def test_protocols_are_configurations_of_the_set_and_are_replaced_on_their_own(folder):
    update_card(folder, protocol_results())
    assert update_card(folder, protocol_results(mean=0.65)) == 8
    found = stored(folder)
    assert found["set", "bu3dfe-subset1", "macro-F1, fine tuned"].metric_value == 0.65
    assert found["set", "fourdme-loso", "UF1, multilabel probe"].metric_type == "f1"
    assert len(found) == 3 + 8


def test_a_card_without_an_index_gets_one_and_a_card_of_training_has_three_metrics(
    small_run, small_model, small_processor, tmp_path
):
    text = model_card(small_model, small_processor, results=results())
    metadata = yaml.safe_load(text.split("---")[1])
    kinds = [metric["type"] for metric in metadata["model-index"][0]["results"][0]["metrics"]]
    assert kinds[:3] == ["accuracy", "balanced_accuracy", "f1"] and set(metadata["metrics"]) == set(kinds)
    bare = model_card(small_model, small_processor)
    (tmp_path / "README.md").write_text(bare)
    update_card(tmp_path, results())
    added = (tmp_path / "README.md").read_text()
    head, body = bare.split("\n---\n", 1)
    assert added.startswith(head + "\nmodel-index:") and added.endswith("\n---\n" + body)
    assert len(stored(tmp_path)) == 15


@pytest.mark.parametrize(
    ("card", "message"),
    [
        ("# no metadata\n", "no metadata at its top"),
        ("---\na: [\n---\n", "are no YAML"),
        ("---\nmodel-index: 3\n---\n", "mend or remove it"),
        ("---\nmodel-index: [{name: a, results: []}, {name: b, results: []}]\n---\n", "that of one model"),
        ('---\n"model-index": [{name: a, results: []}]\n---\n', "not understood"),
        ("---\nmodel-index: [\n{name: a, results: []}\n]\n---\n", "not understood"),
    ],
)
def test_a_card_that_cannot_be_merged_is_named_and_kept(tmp_path, card, message):
    (tmp_path / "README.md").write_text(card)
    with pytest.raises(ValueError, match=f"README.md: .*{message}"):
        update_card(tmp_path, results())
    assert (tmp_path / "README.md").read_text() == card
    with pytest.raises(ValueError, match="no README.md there"):
        update_card(tmp_path / "nothing", results())
