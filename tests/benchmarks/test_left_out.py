# ruff: noqa: F811  (fixtures are imported, then named as arguments)
import json

import pytest
import torch

from benchmarks import sides
from benchmarks.arms import _folder
from benchmarks.left_out import main, rest_mistaken
from modeling_mvfer import Calibration, MVFERModel
from modeling_mvfer.zeroshot_mvfer import prompts_key
from mvfer.data.schema import load_splits
from mvfer.evaluation.classifiers import SplitClassifier
from mvfer.evaluation.embeddings import embed_split
from mvfer.hub.run_folder import save_run
from mvfer.training.presets import small_config
from processing.prompts_mvfer import EXPRESSIONS
from tests.tiny import small_processor  # noqa: F401
from tests.train.toy import write_toy_data


@pytest.fixture(scope="module")
def model(small_processor) -> MVFERModel:
    tokenizer = small_processor.tokenizer
    special = {f"{kind}_token_id": getattr(tokenizer, f"{kind}_token_id") for kind in ("bos", "eos", "pad")}
    torch.manual_seed(0)
    return MVFERModel(small_config(vocab_size=len(tokenizer), image_size=32, baseline=True, **special)).eval()


def test_every_family_is_left_out_once(model, small_processor, tmp_path, capsys):
    sets = [str(write_toy_data(tmp_path / name)) for name in ("one", "two")]
    for name in ("one", "two"):  # finished runs, which are kept
        run = save_run(_folder(tmp_path / "out", name, 0), model, small_processor)
        (run / "results.json").write_text("{}")
    arguments = ["--train", *sets, "--test", *sets, "--seeds", "0", "--out", str(tmp_path / "out")]
    assert main([*arguments, "--", "--captions_unheard_of"]) == 0
    found = json.loads((tmp_path / "out" / "left_out.json").read_text())
    assert [row["arm"] for row in found["table"]] == ["one", "two"]
    run = found["runs"]["one"][0]
    assert run["one scan"] == run["beside one at rest"], "the toy faces have no rest"
    assert 0 <= run["beside all own"] <= 1 and found["recipe"] == ["--captions_unheard_of"]
    kept = _folder(tmp_path / "out", "one", 0) / "one.json"
    kept.write_text(json.dumps(json.loads(kept.read_text()) | {"one scan": 0.25}))
    assert main([*arguments, "--"]) == 0, "scores are kept, as runs are"
    assert json.loads((tmp_path / "out" / "left_out.json").read_text())["runs"]["one"][0]["one scan"] == 0.25
    with pytest.raises(SystemExit):
        main(["--train", *sets, "--test", sets[0], "--out", str(tmp_path / "out")])


def test_weights_of_the_side_term_are_compared(model, small_processor, tmp_path):
    toy = str(write_toy_data(tmp_path / "toy"))
    for weight in ("0", "1"):
        run = save_run(_folder(tmp_path / "out", f"side_weight {weight}", 0), model, small_processor)
        (run / "results.json").write_text("{}")
    arguments = ["--train", toy, "--test", toy, "--weights", "0", "1", "--seeds", "0", "--out", str(tmp_path / "out")]
    assert sides.main([*arguments, "--", "--captions", "fresh"]) == 0
    found = json.loads((tmp_path / "out" / "sides.json").read_text())
    assert [row["arm"] for row in found["table"]] == ["side_weight 0", "side_weight 1"]
    assert 0 <= found["runs"]["side_weight 1"][0]["one scan"] <= 1 and found["recipe"] == ["--captions", "fresh"]


def test_a_scan_at_rest_misleads_unless_it_is_neutral_or_left_to_people(model, small_processor, tmp_path):
    neutral = EXPRESSIONS.index("neutral")

    def rest(row: dict) -> dict:
        if row["expression"] != EXPRESSIONS.index("sadness"):
            return row
        return row | {"expression": neutral, "action_units": [], "intensity": 0.0}

    split = load_splits(write_toy_data(tmp_path / "toy"))["test"].map(rest)
    classifier = SplitClassifier.build(model, small_processor, [split])
    assert "neutral" in classifier.classifier.labels
    features = embed_split(model, small_processor.image_processor, split, progress=False)
    resting = features.select(
        resting_rows := [row for row, label in enumerate(split["expression"]) if label == neutral]
    )
    wrong = classifier.predict(resting.image_embeds) != classifier.names.index("neutral")
    assert len(resting_rows) == 3 and rest_mistaken(model, small_processor, split, classifier) == wrong.mean()
    model.config.calibration = Calibration(1.0, abstain_below=1.0, prompts_key=prompts_key(classifier.prompts))
    cautious = SplitClassifier.build(model, small_processor, [split])
    assert rest_mistaken(model, small_processor, split, cautious) == 0.0
    model.config.calibration = None
