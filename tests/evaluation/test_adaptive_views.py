import json

import numpy as np
import pytest
import torch
from PIL import Image

from modeling_mvfer.adaptive_views_mvfer import adaptive_logits
from modeling_mvfer.classifier_mvfer import Classifier
from mvfer.cli.main import main
from mvfer.data.batching import Collator, ViewDataset
from mvfer.data.schema import load_splits
from mvfer.studies.adaptive_views import (
    StagedLogits,
    choose_threshold_for_views,
    curve,
    evaluate_adaptive_views,
    fit_over_stages,
    staged_logits,
    stop_early,
)
from tests.train.toy import write_toy_data

LABELS = ["happiness", "sadness", "surprise"]


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return write_toy_data(tmp_path_factory.mktemp("data") / "toy")


def made_up(count: int = 400, seed: int = 0) -> StagedLogits:
    """Logits of three views that say more and more of the truth, unequally for each scan."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(4, (count,), generator=generator)
    clear = 3 * torch.rand(count, 1, 1, generator=generator) * torch.tensor([1.0, 1.5, 2.0])[:, None]
    truth = torch.nn.functional.one_hot(labels, 4)[:, None] * clear
    logits = truth + torch.randn(count, 1, 4, generator=generator) * 0.7
    return StagedLogits(logits, np.full(count, 3), labels.numpy(), [f"s{i // 4}" for i in range(count)])


def test_what_is_measured_is_what_the_pipeline_does(small_model, small_processor, toy):
    split = load_splits(toy)["test"]
    classifier = Classifier.of(small_model, small_processor, LABELS)
    data = staged_logits(small_processor, classifier, split, batch_size=4)
    batch = Collator(None, small_processor.image_processor, phrases=False)(
        [ViewDataset(split)[row] | {"captions": [], "known_captions": []} for row in range(len(split))]
    )
    entropy = np.quantile(np.sort(-(data.logits.softmax(-1) * data.logits.log_softmax(-1)).sum(-1)[:, 0]), 0.5)
    threshold = float(entropy / np.log(3))
    predictions, used = stop_early(data, threshold, 1.0)
    found = adaptive_logits(classifier, batch, threshold=threshold)
    assert used.tolist() == found.views_used.tolist() and len(set(used)) > 1
    assert predictions.tolist() == found.logits.argmax(-1).tolist()


def test_logits_that_are_too_sure_are_cooled():
    data = made_up(3000)
    probabilities = data.logits[:, 2].softmax(-1)
    labels = torch.multinomial(probabilities, 1, generator=torch.Generator().manual_seed(1))[:, 0].numpy()
    exaggerated = StagedLogits(2.5 * data.logits[:, 2:], np.ones(3000), labels, data.subjects)
    assert fit_over_stages(exaggerated) == pytest.approx(2.5, rel=0.1)


def test_the_curve_goes_from_all_views_to_one():
    points = curve(made_up(), 1.0)
    views = [point["mean_views"] for point in points]
    assert views[0] == 3 and views[-1] == 1 and views == sorted(views, reverse=True)
    assert points[0]["accuracy"] > points[-1]["accuracy"]


def test_the_threshold_spoils_no_more_than_it_may():
    data = made_up()
    for tolerance in (0.0, 0.02, 1.0):
        threshold = choose_threshold_for_views(data, 1.0, tolerance=tolerance)
        full, early = (stop_early(data, value, 1.0)[0] == data.labels for value in (0.0, threshold))
        assert (full & ~early).mean() <= tolerance
    assert threshold == 1.0 and stop_early(data, 1.0, 1.0)[1].tolist() == [1] * len(data.labels)


def test_the_command_writes_numbers_and_a_curve(small_run, toy, tmp_path, capsys):
    assert (
        main(["study", "adaptive_views", "--model", str(small_run), "--dataset", str(toy), "--out", str(tmp_path)]) == 0
    )
    results = json.loads((tmp_path / "adaptive_views.json").read_text())
    assert results["test"]["adaptive"]["num_scans"] == 9 and 1 <= results["test"]["mean_views"] <= 3
    assert Image.open(tmp_path / "adaptive_views.png").size[0] > 200
    assert f"adaptive_views={results['threshold']:.4g}" in capsys.readouterr().out
    assert (
        main(["study", "adaptive_views", "--model", str(tmp_path), "--dataset", str(toy), "--out", str(tmp_path)]) == 2
    )
    assert "no config.json" in capsys.readouterr().err


def test_data_of_one_view_is_refused(small_model, small_processor, toy, monkeypatch):
    monkeypatch.setattr("mvfer.studies.adaptive_views.staged_logits", lambda *_, **__: one_view())

    def one_view():
        data = made_up(8)
        return StagedLogits(data.logits[:, :1], np.ones(8), data.labels, data.subjects)

    with pytest.raises(ValueError, match="every scan has one view"):
        evaluate_adaptive_views(small_model, small_processor, toy)
