"""The audit of held-out wordings finds what was learnt by heart, and nothing else."""

from types import SimpleNamespace

import numpy as np
import pytest

from mvfer.evaluation.audits import wordings
from mvfer.evaluation.audits.prompt_audit import PromptScores
from mvfer.evaluation.audits.wordings import audit_wordings
from mvfer.reports.findings import findings
from mvfer.reports.report import SECTIONS
from processing.prompts_mvfer import prompts_for

NAMES = ["happiness", "surprise"]
LABELS = np.arange(40) % 2
KNOWN = {
    language: {text for texts in prompts_for(NAMES, kinds=["actions"], language=language, wordings=8).values() for text in texts}
    for language in ("en", "ja")
}  # fmt: skip


def audit(monkeypatch, understands, languages=("en", "ja")) -> dict:
    """Of a model that is right of a scan if `understands(texts, scan)`."""

    def scores(model, tokenizer, zero_shot, prompts, features):
        texts = [text for name in NAMES for text in prompts[name]]
        owners = np.repeat([0, 1], [len(prompts[name]) for name in NAMES])
        right = np.array([understands(texts, scan) for scan in range(len(LABELS))])
        answers = np.where(right, LABELS, 1 - LABELS)
        similarities = (owners[None] == answers[:, None]).astype(float)
        return PromptScores(similarities, owners, texts, LABELS, [str(scan // 4) for scan in range(len(LABELS))])

    monkeypatch.setattr(wordings, "prompt_scores", scores)
    config = SimpleNamespace(prompt_languages=languages, prompt_wordings=8)
    zero_shot = SimpleNamespace(names=NAMES, prompts=prompts_for(NAMES, kinds=["actions"], wordings=8))
    return audit_wordings(SimpleNamespace(config=config), None, zero_shot, None, seed=0)


def test_a_model_that_knows_its_captions_by_heart_is_found_out(monkeypatch):
    found = audit(monkeypatch, lambda texts, scan: set(texts) <= KNOWN["en"] or scan % 4 == 0)
    assert found["en"]["known"]["mean"] == 1 and found["en"]["held_out"]["mean"] == pytest.approx(0.25)
    assert found["en"]["difference"]["mean"] == pytest.approx(-0.75) and found["en"]["from_default"]["mean"] == 0
    assert found["ja"]["known"]["mean"] == pytest.approx(0.25) and found["ja"]["difference"]["mean"] == 0
    assert found["ja"]["from_default"]["mean"] == pytest.approx(-0.75)


def test_a_model_that_understands_its_words_loses_nothing_and_is_asked_only_in_what_it_learnt(monkeypatch):
    asked = []
    found = audit(monkeypatch, lambda texts, scan: asked.append(tuple(texts)) or True, languages=["en"])
    assert set(found) == {"en"} and found["en"]["difference"] == {"mean": 0.0, "low": 0.0, "high": 0.0}
    held_out = [set(texts) for texts in set(asked) if not set(texts) <= KNOWN["en"]]
    assert len(held_out) == 1 and not held_out[0] & KNOWN["en"]
    assert found["en"]["num_prompts"]["held_out"] == len(held_out[0])


def test_reports_say_the_difference_in_points(monkeypatch):
    found = audit(monkeypatch, lambda texts, scan: set(texts) <= KNOWN["en"] or scan % 4 == 0)
    (line,) = findings({"wordings": found})
    assert line.startswith("held-out wordings: en: accuracy 0.250, 1.000 by known ones, a difference of -75.0 points")
    assert any("learnt by heart" in part for part in SECTIONS["wordings"](found))
