import pytest
import torch
from torch.nn.functional import normalize

from modeling_mvfer.contrast_mvfer import assignment_loss, contrastive_loss
from modeling_mvfer.decorrelation_mvfer import all_views_loss, cross_view_loss, vicreg_loss
from modeling_mvfer.metric_learning_mvfer import consistency_loss, margin_contrast_loss, triplet_loss
from modeling_mvfer.objectives_mvfer import MVFERObjective

TARGETS = torch.tensor([[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 1]]).bool()


@pytest.fixture
def inputs():
    torch.manual_seed(3)
    view_mask = torch.tensor([[[1, 1, 1]], [[1, 0, 1]], [[1, 1, 1]], [[0, 1, 1]]]).bool()
    views = torch.randn(4, 1, 3, 8) * view_mask.unsqueeze(-1)
    return {
        "image_features": torch.randn(4, 8),
        "view_features": views,
        "view_mask": view_mask,
        "track_features": views[:, 0],
        "track_mask": view_mask[:, 0],
        "scale": torch.tensor(5.0),
        "text_features": torch.randn(3, 8),
        "text_keys": torch.tensor([[0, 5, 1], [0, 6, 1], [0, 7, 1]]),
        "text_targets": TARGETS,
        "phrase_features": torch.randn(2, 8),
        "phrase_keys": torch.tensor([[0, 8, 1], [0, 9, 1]]),
        "phrase_targets": torch.tensor([[1, 0], [0, 1], [1, 1], [0, 0]]).bool(),
    }


def test_objective_weighs_and_adds_its_terms(tiny_config, inputs):
    weights = dict(contrastive=1.5, view_contrastive=0.5, phrase=0.7, cross_view=0.2, cross_modal=0.1)
    objective = MVFERObjective(tiny_config(**{f"{name}_weight": weight for name, weight in weights.items()}))
    losses = objective(**inputs)
    assert set(losses) == {"loss", *weights}
    torch.testing.assert_close(losses["loss"], sum(weight * losses[name] for name, weight in weights.items()))
    images, texts = (normalize(inputs[name], dim=-1) for name in ("image_features", "text_features"))
    expected = contrastive_loss(images, texts, inputs["text_targets"], inputs["scale"])
    torch.testing.assert_close(losses["contrastive"], expected)
    present = inputs["track_mask"]
    tracks = normalize(inputs["track_features"], dim=-1)
    per_view = [
        contrastive_loss(tracks[present[:, v], v], texts, inputs["text_targets"][present[:, v]], inputs["scale"])
        for v in range(3)
    ]
    torch.testing.assert_close(losses["view_contrastive"], sum(per_view) / 3)


def test_terms_of_weight_zero_are_not_computed_and_own_nothing(tiny_config, inputs):
    names = ("view_contrastive_weight", "phrase_weight", "cross_view_weight", "cross_modal_weight")
    objective = MVFERObjective(tiny_config(**dict.fromkeys(names, 0)))
    assert set(objective(**inputs)) == {"loss", "contrastive"}
    assert not list(objective.parameters())


def test_every_parameter_keeps_a_gradient_without_phrases_or_pairs(tiny_config, inputs):
    objective = MVFERObjective(tiny_config())
    for name in ("view_features", "view_mask"):
        inputs[name] = inputs[name][:, :, :1]
    inputs["view_mask"][:] = True
    inputs["track_features"], inputs["track_mask"] = inputs["view_features"][:, 0], inputs["view_mask"][:, 0]
    for name in ("phrase_features", "phrase_keys", "phrase_targets"):
        inputs.pop(name)
    objective(**inputs)["loss"].backward()
    assert all(parameter.grad is not None for parameter in objective.parameters())


def test_terms_between_views_see_the_described_samples(tiny_config, inputs):
    names = ("contrastive", "view_contrastive", "phrase", "cross_view")
    weights = dict.fromkeys((f"{name}_weight" for name in names), 0) | {
        "margin_contrast_weight": 0.3, "triplet_weight": 0.2, "consistency_weight": 0.1
    }  # fmt: skip
    objective = MVFERObjective(tiny_config(**weights))
    inputs["text_targets"] = torch.tensor([[1, 0, 0], [1, 1, 0], [0, 0, 0], [0, 0, 1]]).bool()  # the third has no text
    losses = objective(**inputs)
    present, tracks = inputs["track_mask"], normalize(inputs["track_features"], dim=-1)
    rows = [(b, v) for b in (0, 1, 3) for v in range(3) if present[b, v]]
    related = torch.tensor([[(a == 3) == (b == 3) for b, _ in rows] for a, _ in rows])
    embeds, margin = torch.stack([tracks[b, v] for b, v in rows]), torch.tensor(0.5)
    torch.testing.assert_close(losses["margin_contrast"], margin_contrast_loss(embeds, related, margin))
    torch.testing.assert_close(losses["triplet"], triplet_loss(embeds, related, margin))
    torch.testing.assert_close(losses["consistency"], consistency_loss(tracks, present))
    expected = 0.3 * losses["margin_contrast"] + 0.2 * losses["triplet"] + 0.1 * losses["consistency"]
    torch.testing.assert_close(losses["loss"], expected)


@pytest.mark.parametrize("form", ["infonce", "sigmoid"])
def test_a_sample_without_a_text_is_no_negative_of_the_others_texts(tiny_config, inputs, form):
    objective = MVFERObjective(tiny_config(cross_view_weight=0, cross_modal_weight=0.1, contrastive_form=form))
    inputs["text_targets"] = TARGETS & (torch.arange(4) != 2).unsqueeze(1)
    losses, rows = objective(**inputs), [0, 1, 3]
    texts = ("text_features", "text_keys", "phrase_features", "phrase_keys", "scale")
    without = {name: value if name in texts else value[rows] for name, value in inputs.items()}
    assert losses["contrastive"] > 0 and losses["phrase"] > 0
    torch.testing.assert_close(losses, objective(**without))


def test_cross_view_form_is_chosen_by_the_configuration(tiny_config, inputs):
    mask = inputs["view_mask"].flatten(0, 1)
    for form, loss in (("barlow", cross_view_loss), ("vicreg", vicreg_loss), ("all_views", all_views_loss)):
        objective = MVFERObjective(tiny_config(cross_view_form=form))
        projections = objective.projector(inputs["view_features"].flatten(0, 1), mask)
        torch.testing.assert_close(objective(**inputs)["cross_view"], loss(projections, mask))


def test_soft_assignments_replace_captions(tiny_config, inputs):
    objective = MVFERObjective(tiny_config(phrase_weight=0, cross_view_weight=0))
    assignments = torch.tensor([[0.8, 0.2, 0.0], [0.0, 0.0, 0.0], [0.1, 0.1, 0.8], [0.0, 1.0, 0.0]])
    losses = objective(**inputs, text_assignments=assignments)
    images, texts = (normalize(inputs[name], dim=-1) for name in ("image_features", "text_features"))
    torch.testing.assert_close(losses["contrastive"], assignment_loss(images, texts, assignments, inputs["scale"]))
    with pytest.raises(ValueError, match="infonce"):
        MVFERObjective(tiny_config(contrastive_form="sigmoid"))(**inputs, text_assignments=assignments)
