from dataclasses import replace

import pytest
import torch
from torch.nn.functional import normalize

from modeling_mvfer.contrast_mvfer import assignment_loss, contrastive_loss
from modeling_mvfer.decorrelation_mvfer import cross_view_loss
from modeling_mvfer.metric_learning_mvfer import consistency_loss, margin_contrast_loss, triplet_loss
from modeling_mvfer.objective_config_mvfer import ObjectiveConfig
from modeling_mvfer.objectives_mvfer import MVFERObjective, TextFeatures, ViewFeatures

SCALE = torch.tensor(5.0)
TARGETS = torch.tensor([[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 1]]).bool()


WIDTH = 8


def objective_of(**fields) -> MVFERObjective:
    return MVFERObjective(ObjectiveConfig(**{"projector_size": 12} | fields), WIDTH)


@pytest.fixture
def views() -> ViewFeatures:
    torch.manual_seed(3)
    mask = torch.tensor([[[1, 1, 1]], [[1, 0, 1]], [[1, 1, 1]], [[0, 1, 1]]]).bool()
    every_view = torch.randn(4, 1, 3, WIDTH) * mask.unsqueeze(-1)
    return ViewFeatures(torch.randn(4, WIDTH), every_view, mask, every_view[:, 0], mask[:, 0])


@pytest.fixture
def texts() -> TextFeatures:
    torch.manual_seed(4)
    return TextFeatures(torch.randn(3, WIDTH), torch.tensor([[0, 5, 1], [0, 6, 1], [0, 7, 1]]), TARGETS)


@pytest.fixture
def phrases() -> TextFeatures:
    torch.manual_seed(5)
    targets = torch.tensor([[1, 0], [0, 1], [1, 1], [0, 0]]).bool()
    return TextFeatures(torch.randn(2, WIDTH), torch.tensor([[0, 8, 1], [0, 9, 1]]), targets)


def test_objective_weighs_and_adds_its_terms(views, texts, phrases):
    weights = dict(contrastive=1.5, view_contrastive=0.5, phrase=0.7, cross_view=0.2, cross_modal=0.1)
    objective = objective_of(**{f"{name}_weight": weight for name, weight in weights.items()})
    losses = objective(views, texts, phrases, scale=SCALE)
    assert set(losses) == {"loss", *weights}
    torch.testing.assert_close(losses["loss"], sum(weight * losses[name] for name, weight in weights.items()))
    images, embeds = normalize(views.fused, dim=-1), normalize(texts.features, dim=-1)
    torch.testing.assert_close(losses["contrastive"], contrastive_loss(images, embeds, texts.targets, SCALE))
    present = views.per_view_mask
    rows = normalize(views.per_view, dim=-1)
    per_view = [contrastive_loss(rows[present[:, v], v], embeds, texts.targets[present[:, v]], SCALE) for v in range(3)]
    torch.testing.assert_close(losses["view_contrastive"], sum(per_view) / 3)
    mask = views.every_view_mask.flatten(0, 1)
    projections = objective.projector(views.every_view.flatten(0, 1), mask)
    torch.testing.assert_close(losses["cross_view"], cross_view_loss(projections, mask))


def test_terms_of_weight_zero_are_not_computed_and_own_nothing(views, texts, phrases):
    names = ("view_contrastive_weight", "phrase_weight", "cross_view_weight", "cross_modal_weight")
    objective = objective_of(**dict.fromkeys(names, 0))
    assert set(objective(views, texts, phrases, scale=SCALE)) == {"loss", "contrastive"}
    assert not list(objective.parameters())


def test_every_parameter_keeps_a_gradient_without_phrases_or_pairs(views, texts):
    objective = objective_of()
    every_view, mask = views.every_view[:, :, :1], torch.ones(4, 1, 1, dtype=torch.bool)
    alone = ViewFeatures(views.fused, every_view, mask, every_view[:, 0], mask[:, 0])
    objective(alone, texts, scale=SCALE)["loss"].backward()
    assert all(parameter.grad is not None for parameter in objective.parameters())


def test_terms_between_views_see_the_described_samples(views, texts, phrases):
    names = ("contrastive", "view_contrastive", "phrase", "cross_view")
    weights = dict.fromkeys((f"{name}_weight" for name in names), 0) | {
        "margin_contrast_weight": 0.3, "triplet_weight": 0.2, "consistency_weight": 0.1
    }  # fmt: skip
    objective = objective_of(**weights)
    texts.targets = torch.tensor([[1, 0, 0], [1, 1, 0], [0, 0, 0], [0, 0, 1]]).bool()  # the third has no text
    losses = objective(views, texts, phrases, scale=SCALE)
    present, per_view = views.per_view_mask, normalize(views.per_view, dim=-1)
    rows = [(b, v) for b in (0, 1, 3) for v in range(3) if present[b, v]]
    related = torch.tensor([[(a == 3) == (b == 3) for b, _ in rows] for a, _ in rows])
    embeds, margin = torch.stack([per_view[b, v] for b, v in rows]), torch.tensor(0.5)
    torch.testing.assert_close(losses["margin_contrast"], margin_contrast_loss(embeds, related, margin))
    torch.testing.assert_close(losses["triplet"], triplet_loss(embeds, related, margin))
    torch.testing.assert_close(losses["consistency"], consistency_loss(per_view, present))
    expected = 0.3 * losses["margin_contrast"] + 0.2 * losses["triplet"] + 0.1 * losses["consistency"]
    torch.testing.assert_close(losses["loss"], expected)


@pytest.mark.parametrize("form", ["infonce", "sigmoid"])
def test_a_sample_without_a_text_is_no_negative_of_the_others_texts(views, texts, phrases, form):
    objective = objective_of(cross_view_weight=0, cross_modal_weight=0.1, contrastive_form=form)
    texts.targets, rows = TARGETS & (torch.arange(4) != 2).unsqueeze(1), [0, 1, 3]
    losses = objective(views, texts, phrases, scale=SCALE)
    without = ViewFeatures(*(value[rows] for value in vars(views).values()))
    texts, phrases = (replace(known, targets=known.targets[rows]) for known in (texts, phrases))
    assert losses["contrastive"] > 0 and losses["phrase"] > 0
    torch.testing.assert_close(losses, objective(without, texts, phrases, scale=SCALE))


def test_soft_assignments_replace_captions(views, texts):
    objective = objective_of(phrase_weight=0, cross_view_weight=0)
    texts.targets = torch.tensor([[0.8, 0.2, 0.0], [0.0, 0.0, 0.0], [0.1, 0.1, 0.8], [0.0, 1.0, 0.0]])
    losses = objective(views, texts, scale=SCALE)
    images, embeds = normalize(views.fused, dim=-1), normalize(texts.features, dim=-1)
    torch.testing.assert_close(losses["contrastive"], assignment_loss(images, embeds, texts.targets, SCALE))
    with pytest.raises(ValueError, match="infonce"):
        objective_of(contrastive_form="sigmoid")(views, texts, scale=SCALE)
