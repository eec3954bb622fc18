"""The proof of concept from end to end on a small data set, and the pages it writes."""

import json
from html.parser import HTMLParser

import pytest

from mvfer.cli import main as cli
from mvfer.reports.pages import page, paragraph, table
from mvfer.studies import poc
from mvfer.studies.poc import Prices
from mvfer.studies.poc_report import poc_page
from tests.train.toy import write_toy_data

PLAN = poc.Plan(Prices(error=10.0, review=1.0), cases=1000, target=0.9, draws=2)


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return write_toy_data(tmp_path_factory.mktemp("data") / "toy", subjects=(16, 3, 6))


@pytest.fixture(scope="module")
def found(small_model, small_processor, toy, face_obj):
    return poc.proof_of_concept(small_model, small_processor, toy, PLAN, meshes=[face_obj])


class Tags(HTMLParser):
    """Collects tags and their attributes."""

    def __init__(self, text: str):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def test_the_parts_of_a_proof_of_concept_fit_together(found):
    curve, cost, benefit = found["learning_curve"], found["cost"], found["benefit"]
    assert curve["subjects"] == [2, 4, 8, 16] and curve["accuracy"][-1] > 0.9  # the toy faces are easy
    assert found["data"] == {"name": "toy", "training_subjects": 16, "test_subjects": 6}
    assert all(cost[name]["seconds"] > 0 and cost[name]["joules"] > 0 for name in cost)
    assert cost["training_at_target_size"]["subjects"] >= 16
    assert benefit["per_1000_cases"]["with_threshold"]["mean"] <= 1000  # people alone cost 1 a case
    assert found["recommendation"]["verdict"] in ("go", "collect more", "stop")
    assert json.loads(json.dumps(found))["plan"]["prices"]["error"] == 10


def test_the_report_needs_nothing_from_elsewhere_and_says_what_is_prohibited(found):
    text = poc_page(found | {"command": "mvfer poc <so>"})
    tags = Tags(text).found
    links = [attrs.get("src") or attrs.get("href") for _, attrs in tags if attrs.get("src") or attrs.get("href")]
    assert links and all(link.startswith("data:image/png;base64,") for link in links)
    assert "Art. 5(1)(f)" in text and "mvfer poc &lt;so&gt;" in text and "<so>" not in text
    assert found["recommendation"]["reason"][:20] in text
    assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in tags


def test_the_command_writes_both_files(small_run, toy, tmp_path, capsys):
    command = f"poc --model {small_run} --dataset {toy} --out {tmp_path}/out --cost_per_error 10 --cost_per_review 1 --draws 2"
    assert cli.main(command.split()) == 0
    assert json.loads((tmp_path / "out" / "poc.json").read_text())["command"].startswith("mvfer poc --model")
    page = (tmp_path / "out" / "poc.html").read_text()
    assert "poc.html" in capsys.readouterr().out and len(page) > 10_000
    for place in (tmp_path, toy.parent, small_run.parent):  # which may name people
        assert str(place) not in page + (tmp_path / "out" / "poc.json").read_text()


def test_plans_without_meaning_and_data_without_labels_are_refused(small_model, small_processor, tmp_path):
    with pytest.raises(ValueError, match="target 1"):
        poc.Plan(PLAN.prices, cases=10, target=1.0)
    few = write_toy_data(tmp_path / "few", subjects=(4, 3, 3))
    with pytest.raises(ValueError, match="8 labelled training subjects"):
        poc.proof_of_concept(small_model, small_processor, few, PLAN)


def test_pages_escape_what_they_are_given():
    text = page("a < b", paragraph("<script>"), table(["x & y", "z"], [("1", "<i>"), ("words", 2.5)]))
    assert "<script>" not in text and "<i>" not in text and "a &lt; b" in text and "x &amp; y" in text
    assert text.count("class=number>") == 3 and "<td>1</td>" in text


def test_the_threshold_comes_from_validation_subjects_alone(small_model, small_processor, toy, monkeypatch):
    seen = []
    choose = poc.choose_threshold_for_cost
    monkeypatch.setattr(poc, "choose_threshold_for_cost", lambda c, r, p: seen.append(len(c)) or choose(c, r, p))
    poc.proof_of_concept(small_model, small_processor, toy, PLAN)
    assert seen == [9]
