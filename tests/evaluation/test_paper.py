"""All published tables of a set by one command, beside figures that have sources; several labels per scan where it has them."""

import json

import numpy as np
import pytest

from mvfer.cli import main as cli
from mvfer.data.protocols import PROTOCOLS, Protocol, folds
from mvfer.data.schema import load_splits
from mvfer.evaluation.embeddings import SplitFeatures
from mvfer.evaluation.protocols.multilabel import multilabel_score, score_labels_in_folds
from mvfer.evaluation.protocols.protocol import evaluate_paper
from mvfer.evaluation.protocols.published import PUBLISHED, Published, published_for
from tests.train.toy import ACTIONS, write_toy_data

from .test_evaluate import rewrite
from .test_poc import Tags


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return write_toy_data(tmp_path_factory.mktemp("data") / "toy")


@pytest.fixture
def tables(monkeypatch):
    """Two protocols for the toy data, and a figure that was published for one of them."""
    for name, number in (("toy-two", 2), ("toy-three", 3), ("toy-many", 40)):
        made = Protocol("toy", number, source="us", reading="as it says", expressions=tuple(ACTIONS))
        monkeypatch.setitem(PROTOCOLS, name, made)
    figure = Published(("toy-two",), "TOY-NET", 0.8765, "accuracy", "labels", "a paper", "another <subset>")
    monkeypatch.setattr("mvfer.evaluation.protocols.published.PUBLISHED", (figure,))


def test_every_figure_is_shown_beside_a_protocol_and_says_where_it_stands_and_how_it_differs():
    assert {one.metric for one in PUBLISHED} == {"accuracy", "uf1"}
    for one in PUBLISHED:
        assert "arXiv" in one.source and one.supervision and len(one.differs) > 20
        assert (one.metric == "uf1") == all(bool(PROTOCOLS[name].labels) for name in one.protocols)
    values = [one.value for one in published_for("bu4dfe-10fold")]
    assert len(values) == 5 and values == sorted(values, reverse=True)
    for wrong in ({"protocols": ("none",)}, {"value": 99.4}, {"source": ""}):
        with pytest.raises(ValueError, match=r"X: (no such protocols|expected a value)"):
            Published(**{**vars(PUBLISHED[0]), "method": "X", **wrong})


def test_one_command_gives_every_table_of_the_set_beside_published_figures(small_run, toy, tables, tmp_path, capsys):
    out = tmp_path / "out"
    argv = ["evaluate", "--model", str(small_run), "--dataset", str(toy), "--protocol", "paper", "--out", str(out)]
    assert cli.main(argv) == 0
    results, printed = json.loads((out / "results.json").read_text()), capsys.readouterr().out
    assert list(results["tables"]) == ["toy-two", "toy-three"] and "needs 40 subjects" in results["not_run"]["toy-many"]
    assert [len(one["folds"]) for one in results["tables"].values()] == [2, 3]
    assert results["tables"]["toy-two"]["published"][0]["value"] == 0.8765
    assert "0.8765 accuracy, TOY-NET" in printed and "another <subset>" in printed and "toy-many: not run" in printed
    page = (out / "index.html").read_text()
    assert "TOY-NET" in page and "another &lt;subset&gt;" in page and "No published figure of this protocol" in page
    links = [attrs.get("src") or attrs.get("href") for _, attrs in Tags(page).found if {"src", "href"} & set(attrs)]
    assert len(links) == 2 and all(link.startswith("data:image/png;base64,") for link in links)
    for one in results["tables"].values():
        probe = one["linear_probe"]
        assert (
            f"{probe['accuracy']['mean']:.3f} [" in page and f"{probe['over_folds']['macro_f1']['mean']:.3f} [" in page
        )


def test_a_set_without_protocols_or_with_none_that_can_be_run_is_refused(
    small_model, small_processor, toy, monkeypatch
):
    with pytest.raises(ValueError, match="no protocol tests 'toy'; .*mvfer-bosphorus, mvfer-bp4d"):
        evaluate_paper(small_model, small_processor, toy, progress=False)
    made = Protocol("toy", 40, source="us", reading="as it says")
    monkeypatch.setitem(PROTOCOLS, "toy-many", made)
    with pytest.raises(ValueError, match="needs 40 subjects"):
        evaluate_paper(small_model, small_processor, toy, progress=False)


NAMES = ["Positive", "Negative", "Others"]


def labelled(people=8, per_person=4, seed=0) -> tuple[SplitFeatures, list[str]]:
    """Embeddings of which two axes say what is true, in a set of which every scan has one or two labels."""
    rng = np.random.default_rng(seed)
    tasks, embeds, subjects = [], [], []
    for row in range(people * per_person):
        task = ["Positive", "Negative", "Negative+Positive", "Negative"][row % 4]
        tasks.append(task)
        embeds.append([2.0 * ("Positive" in task) - 1, 2.0 * ("Negative" in task) - 1, 0.0])
        subjects.append(f"s{row // per_person}")
    embeds = (np.array(embeds) + 0.1 * rng.normal(size=(len(tasks), 3))).astype(np.float32)
    nothing = np.full(len(tasks), -1)
    return SplitFeatures(embeds, {}, None, None, nothing, subjects, subjects), tasks


def leave_each_out(features):
    rows = [{"subject": subject, "expression": -1, "intensity": None} for subject in features.subjects]
    return folds(Protocol("", 0, source="", reading=""), rows)


def test_labels_are_told_apart_one_by_one_and_by_others_subjects():
    features, tasks = labelled()
    drawn = leave_each_out(features)
    found = score_labels_in_folds(features, tasks, NAMES, drawn, seed=0)
    assert found["multilabel_probe"]["uf1"]["mean"] == 1.0 and found["multilabel_probe"]["num_subjects"] == 8
    truth = np.array([[name in task for name in NAMES] for task in tasks])
    always = multilabel_score(truth, np.ones_like(truth), features.subjects, NAMES, seed=0)
    assert found["every_label"] == always and always["uf1"]["mean"] < 1
    # what only the tested person's own rows could tell is not known
    marked = features.image_embeds.copy()
    person = np.array(features.subjects) == "s3"
    marked[person, 0] *= -1
    wrong = score_labels_in_folds(
        SplitFeatures(**{**vars(features), "image_embeds": marked}), tasks, NAMES, drawn, seed=0
    )
    assert wrong["multilabel_probe"]["per_label"]["Positive"]["recall"] == pytest.approx(1 - 1 / 8)


def test_fourdme_is_scored_by_uf1_and_uar_of_its_own_labels(small_run, tmp_path, capsys):
    """Expressions are unknown there; a row without an emotion is left out."""
    data = write_toy_data(tmp_path / "toy", name="mvfer-fourdme")
    labels = {0: "Surprise", 1: "Negative", 2: "Negative+Repression"}
    for split in ("train", "validation", "test"):
        data = rewrite(
            data,
            tmp_path / split,
            split,
            lambda rows: [row | {"expression": -1, "task": labels[number % 3]} for number, row in enumerate(rows)],
        )
    data = rewrite(data, tmp_path / "last", "test", lambda rows: [rows[0] | {"task": ""}, *rows[1:]])
    assert len(load_splits(data)["test"]) == 9
    command = ["evaluate", "--model", str(small_run), "--dataset", str(data), "--protocol", "paper"]
    assert cli.main([*command, "--out", str(tmp_path / "out")]) == 0
    results = json.loads((tmp_path / "out" / "results.json").read_text())["tables"]["fourdme-loso"]
    assert results["multilabel_probe"]["num_scans"] == 41 and results["protocol"]["folds"] == 14
    assert results["multilabel_probe"]["uf1"]["mean"] > results["every_label"]["uf1"]["mean"]
    printed = capsys.readouterr().out
    assert "multilabel probe, UF1" in printed and "0.536 UF1" in printed
    assert "Repression" in (tmp_path / "out" / "index.html").read_text()
    assert cli.main([*command, "--finetune", "probe", "--out", str(tmp_path / "out")]) == 2
    assert "rows have several labels" in capsys.readouterr().err
