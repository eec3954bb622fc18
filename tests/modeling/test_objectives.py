import math
from itertools import combinations

import pytest
import torch
from torch.nn.functional import normalize

from modeling_mvfer.objectives_mvfer import (
    EPSILON,
    MVFERObjective,
    Projector,
    contrastive_loss,
    cross_modal_loss,
    cross_view_loss,
    merge_texts,
    phrase_loss,
    sigmoid_loss,
)

TARGETS = torch.tensor([[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]]).bool()  # the last has no text
SCALE, BIAS = torch.tensor(5.0).double(), torch.tensor(-1.0).double()


@pytest.fixture
def embeds():
    generator = torch.Generator().manual_seed(0)
    images, texts = (torch.randn(n, 6, generator=generator, dtype=torch.float64) for n in (5, 3))
    return normalize(images, dim=-1), normalize(texts, dim=-1)


def correlation_by_loops(a, b):
    """Pearson-like correlation of the columns of (n, P) and (n, P), from the definition."""
    n, width = a.shape
    result = torch.zeros(width, width, dtype=a.dtype)
    for k in range(width):
        for j in range(width):
            x, y = a[:, k] - a[:, k].mean(), b[:, j] - b[:, j].mean()
            result[k, j] = (x * y).mean() / math.sqrt(((x * x).mean() + EPSILON) * ((y * y).mean() + EPSILON))
    return result


def barlow_by_loops(correlation, weight):
    width, total = len(correlation), 0.0
    for k in range(width):
        for j in range(width):
            total += (1 - correlation[k, j]) ** 2 if k == j else weight * correlation[k, j] ** 2
    return total / width


def test_contrast_equals_loops_over_positives(embeds):
    images, texts = embeds
    logits = SCALE * images @ texts.T
    directions = []
    for scores, targets in ((logits, TARGETS), (logits.T, TARGETS.T)):
        rows = []
        for row, positive in zip(scores, targets, strict=True):
            if positive.any():
                log_total = torch.log(sum(torch.exp(score) for score in row))
                rows.append(-sum(score - log_total for score in row[positive]) / positive.sum())
        directions.append(sum(rows) / len(rows))
    torch.testing.assert_close(contrastive_loss(images, texts, TARGETS, SCALE), sum(directions) / 2)


def test_contrast_with_one_text_each_is_clips_loss(embeds):
    from transformers.models.clip.modeling_clip import image_text_contrastive_loss

    images, texts = embeds[0][:3], embeds[1]
    ours = contrastive_loss(images, texts, torch.eye(3).bool(), SCALE)
    torch.testing.assert_close(ours, image_text_contrastive_loss(SCALE * texts @ images.T))


def test_sigmoid_loss_equals_loops_over_pairs(embeds):
    images, texts = embeds
    total = 0.0
    for b in range(5):
        for k in range(3):
            sign = 1 if TARGETS[b, k] else -1
            total -= math.log(1 / (1 + math.exp(-sign * float(SCALE * images[b] @ texts[k] + BIAS))))
    assert float(sigmoid_loss(images, texts, TARGETS, SCALE, BIAS)) == pytest.approx(total / 5, rel=1e-9)


def test_phrases_weigh_alike_however_rare(embeds):
    images, phrases = embeds
    pair = [[math.log1p(math.exp(-float(SCALE * i @ p + BIAS) * (1 if TARGETS[b, k] else -1)))
             for k, p in enumerate(phrases)] for b, i in enumerate(images)]  # fmt: skip
    halves = []
    for k in range(3):
        for shown in (True, False):
            side = [pair[b][k] for b in range(5) if bool(TARGETS[b, k]) is shown]
            halves.append(sum(side) / len(side))
    loss = phrase_loss(images, phrases, TARGETS, SCALE, BIAS)
    assert float(loss) == pytest.approx(sum(halves) / 6, rel=1e-9)
    never = phrase_loss(images, phrases, torch.zeros_like(TARGETS), SCALE, BIAS)
    assert 0 < float(never) < math.inf


def test_cross_view_equals_loops_over_pairs_and_rows():
    generator = torch.Generator().manual_seed(2)
    projections = torch.randn(7, 3, 4, generator=generator, dtype=torch.float64)
    mask = torch.rand(7, 3, generator=generator) > 0.3
    terms = []
    for i, j in combinations(range(3), 2):
        rows = [b for b in range(7) if mask[b, i] and mask[b, j]]
        terms.append(barlow_by_loops(correlation_by_loops(projections[rows, i], projections[rows, j]), 0.01))
    ours = cross_view_loss(projections, mask, off_diagonal_weight=0.01)
    torch.testing.assert_close(ours, sum(terms) / 3)
    projections[~mask] = 1e9  # what is masked is not looked at
    torch.testing.assert_close(cross_view_loss(projections, mask, off_diagonal_weight=0.01), ours)


def test_cross_view_ignores_order_scale_and_shift_and_needs_a_pair():
    views = torch.randn(8, 3, 4, dtype=torch.float64)
    mask = torch.ones(8, 3, dtype=torch.bool)
    loss = cross_view_loss(views, mask)
    torch.testing.assert_close(cross_view_loss(views[:, [2, 0, 1]], mask), loss)
    torch.testing.assert_close(cross_view_loss(5 * views + 3, mask), loss, rtol=1e-4, atol=0)
    same = views[:, :1].expand(-1, 3, -1)
    assert cross_view_loss(same, mask, off_diagonal_weight=0) < 1e-9
    alone = views[:, :1].requires_grad_()
    single = cross_view_loss(alone, mask[:, :1])
    single.backward()
    assert single == 0 and not alone.grad.any()


def test_cross_modal_forms_equal_loops(embeds):
    a, b = torch.randn(6, 4, dtype=torch.float64), torch.randn(6, 4, dtype=torch.float64)
    correlation = correlation_by_loops(a, b)
    torch.testing.assert_close(cross_modal_loss(a, b, form="full"), barlow_by_loops(correlation, 0.01))
    off = sum(correlation[k, j] ** 2 for k in range(4) for j in range(4) if k != j) / 4
    torch.testing.assert_close(cross_modal_loss(a, b), off)
    assert cross_modal_loss(a[:1], b[:1]) == 0


def test_gradients_are_exact(embeds):
    images, texts = (tensor.clone().requires_grad_() for tensor in embeds)
    scale, bias = SCALE.clone().requires_grad_(), BIAS.clone().requires_grad_()
    check = torch.autograd.gradcheck
    assert check(lambda i, t, s: contrastive_loss(i, t, TARGETS, s), (images, texts, scale))
    assert check(lambda i, t, s, b: sigmoid_loss(i, t, TARGETS, s, b), (images, texts, scale, bias))
    assert check(lambda i, t, s, b: phrase_loss(i, t, TARGETS, s, b), (images, texts, scale, bias))
    views = torch.randn(5, 3, 3, dtype=torch.float64, requires_grad=True)
    mask = torch.tensor([[1, 1, 1], [1, 1, 0], [0, 1, 1], [1, 1, 1], [1, 0, 1]]).bool()
    assert check(lambda v: cross_view_loss(v, mask), (views,))
    others = torch.randn(5, 6, dtype=torch.float64, requires_grad=True)
    assert check(lambda a, b: cross_modal_loss(a, b, form="full"), (images, others))


def test_projector_normalises_over_present_rows_only():
    torch.manual_seed(0)
    projector = Projector(4, 6).double()
    features = torch.randn(5, 3, 4, dtype=torch.float64)
    mask = torch.rand(5, 3) > 0.3
    hidden = projector.first(features[mask])
    norm = torch.nn.functional.batch_norm(hidden, None, None, training=True, eps=EPSILON)
    projected = projector(features, mask)
    torch.testing.assert_close(projected[mask], projector.second(torch.relu(norm)))
    features[~mask] = 1e9
    torch.testing.assert_close(projector(features, mask), projected)
    assert not projected[~mask].any()


def test_equal_texts_become_one_and_keep_their_samples():
    keys = torch.tensor([[0, 7, 1, -1], [0, 5, 6, 1], [0, 7, 1, -1]])
    features = torch.tensor([[1.0, 2.0], [3.0, 4.0], [1.0, 2.0]])
    merged, targets = merge_texts(features, keys, torch.eye(3).bool())
    assert sorted(merged.tolist()) == [[1.0, 2.0], [3.0, 4.0]]
    shared = merged.tolist().index([1.0, 2.0])
    assert targets[:, shared].tolist() == [True, False, True]


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
        "text_targets": TARGETS[:4],
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


@pytest.mark.parametrize("shape", [(5, 3, 4), (5, 4)])
def test_wrong_shapes_are_refused(embeds, shape):
    images, texts = embeds
    with pytest.raises(ValueError, match="targets"):
        contrastive_loss(images, texts, torch.ones(shape).bool(), SCALE)
    with pytest.raises(ValueError, match="mask"):
        cross_view_loss(torch.randn(5, 3, 4), torch.ones(shape).bool())
    with pytest.raises(ValueError, match="form"):
        cross_modal_loss(images, images[:, :3])
    with pytest.raises(ValueError, match="half"):
        cross_modal_loss(images, images, form="half")
