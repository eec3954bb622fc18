"""Fewer views where fewer suffice: the same answers, and no view read twice or in vain."""

import pytest
import torch

from modeling_mvfer.adaptive_views_mvfer import ViewStages, adaptive_logits, share_of_entropy
from modeling_mvfer.classifier_mvfer import Classifier

ANGLES = torch.tensor([[-30.0, 0.0], [0.0, 0.0], [30.0, 0.0], [60.0, 10.0]])


@pytest.fixture
def model(tiny_model):
    return tiny_model(trained=True)


@pytest.fixture
def batch():
    torch.manual_seed(0)
    mask = torch.tensor([[True] * 4, [True, False, True, True], [False, False, False, True]])
    angles = ANGLES.expand(3, 4, 2)
    return {"pixel_values": torch.randn(3, 4, 3, 16, 16), "view_mask": mask, "view_angles_deg": angles}


def classify(image_embeds):
    return 4 * image_embeds[:, :3]


def classifier(model):
    return Classifier(model, ["a", "b", "c"], classify)


@torch.no_grad()
def whole(model, batch):
    return torch.nn.functional.normalize(model.get_image_features(**batch).pooler_output, dim=-1)


def test_a_threshold_of_zero_reads_all_views_and_gives_the_usual_answer(model, batch):
    found = adaptive_logits(classifier(model).at(2.0), batch, threshold=0.0)
    assert found.views_used.tolist() == [4, 3, 1]
    torch.testing.assert_close(found.image_embeds, whole(model, batch))
    torch.testing.assert_close(found.logits, classify(whole(model, batch)) / 2)


def test_a_threshold_of_one_reads_the_most_frontal_present_view(model, batch):
    found = adaptive_logits(classifier(model), batch, threshold=1.0)
    assert found.views_used.tolist() == [1, 1, 1]
    for row, view in enumerate((1, 0, 3)):  # the front; -30 degrees, the first of two equally far; the only one
        only = torch.zeros(1, 4, dtype=torch.bool)
        only[0, view] = True
        alone = {name: value[row : row + 1] for name, value in batch.items()} | {"view_mask": only}
        torch.testing.assert_close(found.image_embeds[row : row + 1], whole(model, alone))


def test_each_sample_stops_on_its_own_as_when_asked_alone(model, batch):
    entropy = share_of_entropy(classify(ViewStages(model, batch).advance(0, torch.arange(3))))
    threshold = float(entropy[:2].mean())  # one of the first two is sure after one view
    found = adaptive_logits(classifier(model), batch, threshold=threshold)
    assert sorted(found.views_used[:2].tolist())[0] == 1 < found.views_used[:2].max()
    for row in range(3):
        alone = {name: value[row : row + 1] for name, value in batch.items()}
        one = adaptive_logits(classifier(model), alone, threshold=threshold)
        torch.testing.assert_close(one.logits[0], found.logits[row])


def test_no_view_goes_through_the_tower_twice(model, batch, monkeypatch):
    seen, tower = [], model.vision_model.forward
    monkeypatch.setattr(
        model.vision_model,
        "forward",
        lambda pixel_values, **k: seen.append(len(pixel_values)) or tower(pixel_values, **k),
    )
    found = adaptive_logits(classifier(model), batch, threshold=0.0)
    assert sum(seen) == int(found.views_used.sum()) == 8


def test_sequences_keep_their_frames(model):
    torch.manual_seed(0)
    batch = {"pixel_values": torch.randn(2, 3, 2, 3, 16, 16), "view_angles_deg": ANGLES[:2].expand(2, 2, 2)}
    batch["frame_mask"] = torch.tensor([[True, True, True], [True, True, False]])
    found = adaptive_logits(classifier(model), batch, threshold=0.0)
    torch.testing.assert_close(found.image_embeds, whole(model, batch))


def test_entropy_is_a_share_of_the_largest():
    assert share_of_entropy(torch.zeros(2, 5)).tolist() == pytest.approx([1, 1])
    assert share_of_entropy(torch.tensor([[1e4, 0.0, 0.0]])).item() == pytest.approx(0)


@pytest.mark.parametrize("options", [{"threshold": 1.5}, {"threshold": -0.1}, {"threshold": 0.5, "temperature": 0.0}])
def test_settings_out_of_range_are_refused(model, batch, options):
    with pytest.raises(ValueError, match="adaptive_views|temperature"):
        adaptive_logits(classifier(model).at(options.get("temperature")), batch, threshold=options["threshold"])
