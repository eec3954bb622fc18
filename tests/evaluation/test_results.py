"""Results of earlier versions are read under today's names; what is no results file is refused."""

import json

import pytest

from mvfer.evaluation.results import accuracies, read_results, renamed


@pytest.mark.parametrize("kind", ["zero_shot", "classification"])
def test_results_of_schema_three_are_read_as_those_of_today(kind, tmp_path):
    scores = {"accuracy": {"mean": 0.5, "low": 0.4, "high": 0.6}}
    old = {
        "schema_version": 3,
        kind: scores,
        f"{kind}_by_view": {"front": scores},
        f"{kind}_half_occluded": scores,
        f"{kind}_same_half_occluded": None,
        "transfer": {"ict": {"zero_shot": scores}},
        "chance": 0.1,
    }
    path = tmp_path / "results.json"
    path.write_text(json.dumps(old))
    found = read_results(path)
    assert found["kind"] == kind and found["test"] == found["half_occluded"] == scores and found["chance"] == 0.1
    assert found["by_view"] == {"front": scores} and found["same_half_occluded"] is None
    assert found["transfer"] == old["transfer"]  # its keys are names of tests, which stay
    words = {"zero_shot": "zero-shot", "classification": "fine-tuned"}[kind]
    assert list(accuracies(found))[0] == words and f"{words}, front view only" in accuracies(found)
    assert renamed(found) == found


def test_results_of_a_protocol_keep_their_names():
    found = {"protocol": {"name": "a"}, "zero_shot": {"accuracy": 1}}
    assert renamed(found) == found


@pytest.mark.parametrize("text", ["", "<html>", "[1]"])
def test_what_is_no_results_file_is_refused_with_the_remedy(text, tmp_path):
    path = tmp_path / "results.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="results.json: .*give a results.json that mvfer evaluate wrote"):
        read_results(path)
