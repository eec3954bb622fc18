import numpy as np
import pytest

from benchmarks.learning_curve import SPLITS, extrapolate_all, labelled_embeddings, main, table
from tests.tiny import small_model, small_processor, small_run  # noqa: F401
from tests.train.toy import write_toy_data

# ruff: noqa: F811  (fixtures are imported, then named as arguments)


def embeddings(seed, people: int, scans: int = 6):
    rng = np.random.default_rng(seed)
    labels = np.tile(np.arange(3), people * scans // 3)
    embeds = np.eye(8)[labels] + rng.normal(0, 0.8, (len(labels), 8))
    return embeds, labels, np.repeat([f"p{i:03d}" for i in range(people)], scans)


def test_what_is_foretold_from_a_fifth_is_set_beside_what_all_give():
    data = dict(zip(SPLITS, (embeddings(0, 60), embeddings(1, 10), embeddings(2, 30)), strict=True))
    found = extrapolate_all(data, share=0.2, draws=2, seed=0)
    assert (found["people"], found["people_used"], len(found["draws"])) == (60, 12, 2)
    assert found["inside"] == np.mean([row["low"] <= found["measured"] <= row["high"] for row in found["draws"]])
    assert len({row["now"] for row in found["draws"]}) > 1  # other people every time
    again = extrapolate_all(data, share=0.2, draws=2, seed=0)
    assert again == found
    text = table(found | {"model": "m", "dataset": "d"})
    assert text.count("\n| ") == 3 and f"with all 60 people {found['measured']:.3f}" in text
    with pytest.raises(ValueError, match="share between 0 and 1"):
        extrapolate_all(data, share=1.5, draws=3, seed=0)


def test_the_command_writes_a_table_and_keeps_the_embeddings_of_one_model(small_run, tmp_path):
    data = write_toy_data(tmp_path / "toy", subjects=(20, 3, 3))
    out = tmp_path / "out"
    command = ["--model", str(small_run), "--dataset", str(data), "--share", "0.5", "--draws", "2", "--out", str(out)]
    assert main(command) == 0
    assert (out / "learning_curve.md").read_text().startswith("small on toy: with all 20 people")
    kept = labelled_embeddings(str(small_run), str(data), out / "embeddings.npz")
    assert kept["train"][0].shape == (60, 128) and len(set(kept["test"][2])) == 3
    with pytest.raises(ValueError, match="choose another --out"):
        labelled_embeddings(str(small_run), str(tmp_path), out / "embeddings.npz")
