"""The report is whole in itself, shows what was tested and nothing else, and escapes what it is given."""

import io

import numpy as np
import pytest
from PIL import Image

from mvfer.cli import main as cli
from mvfer.evaluation.classifiers import Predictions, worst_mistakes
from mvfer.evaluation.evaluate import evaluate
from mvfer.reports.findings import findings
from mvfer.reports.pages import picture
from mvfer.reports.report import SECTIONS, _calibration_figure, report_page, robustness_figure
from tests.train.toy import write_toy_data

from .test_poc import Tags


@pytest.fixture(scope="module")
def results(small_model, small_processor, tmp_path_factory):
    data = write_toy_data(tmp_path_factory.mktemp("data") / "toy", subjects=(8, 6, 6))
    options = {"audits": ["robustness", "prompt_audit"], "progress": False, "command": "mvfer evaluate <so>"}
    return evaluate(small_model, small_processor, data, **options)


def headings(text: str) -> list[str]:
    return [part.split("</h2>")[0] for part in text.split("<h2>")[1:]]


def test_a_report_needs_nothing_else_and_has_every_number(results):
    text = report_page(results, pictures=[(b"\x89PNG", "a <confusion> matrix")])
    links = [attrs.get("src") or attrs.get("href") for _, attrs in Tags(text).found if {"src", "href"} & set(attrs)]
    assert len(links) >= 3 and all(link.startswith("data:image/png;base64,") for link in links)
    assert headings(text) == [
        "Accuracy",
        "Each class",
        "Calibration and abstention",
        "Known and unknown faces",
        "Which views counted",
        "Robustness",
        "Prompts",
        "How this was made",
    ]
    assert f"{results['linear_probe']['accuracy']['mean']:.3f}" in text and "lip corners pulled up" in text
    assert "Not tested: texture; the model sees geometry alone" in text
    assert "&lt;so&gt;" in text and "a &lt;confusion&gt; matrix" in text and "Art. 5(1)(f)" in text


def test_what_was_not_tested_has_no_section_and_a_leak_comes_first(results):
    short = {k: v for k, v in results.items() if k not in ("robustness", "prompt_audit", "weights", "familiarity")}
    short["calibration"] = {"not_calibrated": "too few scans"}
    short["leakage"] = results["leakage"] | {"found": ["2 people are in two splits"]}
    text = report_page(short)
    assert headings(text) == ["Accuracy", "Each class", "Calibration", "How this was made"]
    assert "LEAK" in text.split('<div class="verdict">')[1].split("</div>")[0]
    groups = {"accuracy": {"mean": 0.5, "low": 0.4, "high": 0.6}, "gap": {"mean": 0.1, "low": 0.0, "high": 0.2}}
    audit = {
        "sex": {"groups": {"male": groups | {"num_subjects": 9}}, "flagged": ["male"]},
        "age": {"not_audited": "few"},
    }
    text = report_page(short | {"fairness": results["fairness"]})
    assert "Groups of people" not in text
    assert "worse beyond chance" in "".join(SECTIONS["fairness"](audit))


def test_every_disturbance_has_its_curve(results):
    drawn = [axes for axes in robustness_figure(results["robustness"]).axes if axes.axison]
    titles = [name.replace("_", " ") for name in results["robustness"]["corruptions"]]
    assert [axes.get_title() for axes in drawn] == titles
    assert all(len(axes.lines[-1].get_ydata()) == 5 for axes in drawn)


def test_the_worst_mistakes_are_wrong_sure_and_of_different_people():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(0, 3, (60, 3)), rng.integers(3, size=60)
    predictions = Predictions(np.arange(100, 160), logits, labels, [f"p{row // 4}" for row in range(60)])
    rows = np.array(worst_mistakes(predictions)) - 100
    assert len(rows) == 6 == len({predictions.subjects[row] for row in rows})
    assert (predictions.predicted[rows] != labels[rows]).all()
    sure = np.exp(logits).max(1) / np.exp(logits).sum(1)
    assert (np.diff(sure[rows]) < 0).all() and sure[rows[0]] == sure[predictions.predicted != labels].max()
    right = Predictions(np.arange(60), logits, predictions.predicted, predictions.subjects)
    assert worst_mistakes(right) == []


def test_the_command_writes_the_page_and_no_face_if_asked(small_run, tmp_path):
    data, out = write_toy_data(tmp_path / "toy", subjects=(8, 3, 6)), tmp_path / "report"
    command = ["evaluate", "--model", str(small_run), "--dataset", str(data), "--out", str(out)]
    assert cli.main(command) == 0
    assert (out / "examples.png").is_file() and (out / "index.html").read_text().count("data:image/png") >= 4
    assert cli.main([*command, "--no_faces"]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["confusion_matrix.png", "index.html", "results.json"]


def test_only_a_wide_picture_is_scrolled_on_a_phone():
    for width, scrolled in ((1200, True), (800, False)):
        buffer = io.BytesIO()
        Image.new("RGB", (width, 20)).save(buffer, "PNG")
        assert ("class=wide" in picture(buffer.getvalue(), "faces")) == scrolled


def test_a_point_of_few_scans_is_not_drawn_and_a_threshold_of_zero_is_said_in_words(results):
    found = results["calibration"] | {"abstain_below": 0.0, "target_accuracy": 0.9}
    found["reliability"] = [
        {"confidence": place, "accuracy": place, "count": count} for place, count in ((0.2, 1), (0.5, 10), (0.9, 40))
    ]
    drawn = _calibration_figure(found).axes[0].lines[1]
    assert drawn.get_xdata().tolist() == [0.5, 0.9]
    found["abstention"] = {"coverage": {"mean": 1.0}, "accuracy": {"mean": 0.97}}
    assert any("no answer need be left out, the accuracy is 0.970" in line for line in findings({"calibration": found}))
