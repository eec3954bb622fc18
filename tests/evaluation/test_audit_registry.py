import pytest

from modeling_mvfer import MVFERForFaceClassification
from modeling_mvfer.classifier_mvfer import Classifier
from mvfer.evaluation.audits.registry import AUDITS, Audit
from mvfer.evaluation.evaluate import evaluate
from mvfer.reports.report import SECTIONS
from processing import MVFERImageProcessor, MVFERProcessor
from tests.train.toy import write_toy_data


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return write_toy_data(tmp_path_factory.mktemp("data") / "toy")


@pytest.fixture(scope="module")
def classifier(small_model, small_processor):
    labels = ["happiness", "sadness", "surprise"]
    return MVFERForFaceClassification.from_zero_shot(
        small_model, Classifier.from_prompts(small_model, small_processor, labels).class_embeds
    )


def test_an_audit_is_one_entry_for_both_kinds_of_model(small_model, classifier, small_processor, toy, monkeypatch):
    monkeypatch.setitem(AUDITS, "shape", Audit(lambda tested: {"of": tested.classifier.kind, "rows": len(tested.rows)}))
    monkeypatch.setitem(AUDITS, "people", Audit(lambda tested: tested.validation.subjects, on_request=True))
    found = evaluate(small_model, small_processor, toy, audits=["people"], progress=False)
    assert found["shape"] == {"of": "zero_shot", "rows": 9} and len(set(found["people"])) == 3
    found = evaluate(classifier, small_processor, toy, progress=False)
    assert found["shape"] == {"of": "classification", "rows": 9} and "people" not in found
    assert {name for name, audit in AUDITS.items() if not audit.on_request} <= found.keys()
    assert not {"robustness", "mesh_robustness", "prompt_audit"} & found.keys()


def test_every_section_of_the_report_is_an_audit_or_a_test_of_its_own():
    assert set(SECTIONS) - {"calibration", "familiarity", "actions"} <= set(AUDITS)


def test_audits_that_cannot_be_made_are_refused_before_anything_is_computed(
    small_model, classifier, small_processor, toy, monkeypatch
):
    monkeypatch.delattr("mvfer.evaluation.evaluate.embed_splits")
    with pytest.raises(ValueError, match="unknown audit 'taste'; known are fairness"):
        evaluate(small_model, small_processor, toy, audits=["taste"])
    with pytest.raises(ValueError, match="prompt_audit: a fine-tuned classifier reads no prompts"):
        evaluate(classifier, small_processor, toy, audits=["prompt_audit"])
    with pytest.raises(ValueError, match="mesh_robustness: it corrupts mesh files; give their folder"):
        evaluate(small_model, small_processor, toy, audits=["mesh_robustness"])
    size = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    image_processor = MVFERImageProcessor(**size, frames="rank_pooled")
    pooled = MVFERProcessor(image_processor=image_processor, tokenizer=small_processor.tokenizer)
    with pytest.raises(ValueError, match="reads motion, which a single scan lacks"):
        evaluate(small_model, pooled, toy, meshes=toy)
