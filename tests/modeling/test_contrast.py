import math

import pytest
import torch
from torch.nn.functional import normalize

from modeling_mvfer.contrast_mvfer import (
    assignment_loss,
    contrastive_loss,
    merge_texts,
    phrase_loss,
    side_loss,
    sigmoid_loss,
)

TARGETS = torch.tensor([[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]]).bool()  # the last has no text
SCALE, BIAS = torch.tensor(5.0).double(), torch.tensor(-1.0).double()


@pytest.fixture
def embeds():
    generator = torch.Generator().manual_seed(0)
    images, texts = (torch.randn(n, 6, generator=generator, dtype=torch.float64) for n in (5, 3))
    return normalize(images, dim=-1), normalize(texts, dim=-1)


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


def test_sides_are_told_along_the_direction_between_a_phrase_and_its_opposite(embeds):
    images, phrases = embeds
    opposites = torch.tensor([2, -1, 0])  # the middle one names no side
    pairs = []
    for b in range(5):
        for own, other in ((0, 2), (2, 0)):
            if TARGETS[b, own] != TARGETS[b, other]:
                direction = (phrases[own] - phrases[other]) / (phrases[own] - phrases[other]).norm()
                sign = 1 if TARGETS[b, own] else -1
                pairs.append(math.log1p(math.exp(-sign * float(SCALE * images[b] @ direction))))
    assert len(pairs) == 6  # images 0, 1 and 3, each with both phrases
    assert float(side_loss(images, phrases, TARGETS, opposites, SCALE)) == pytest.approx(sum(pairs) / 6, rel=1e-9)
    nothing = side_loss(images, phrases, torch.ones_like(TARGETS), opposites, SCALE)
    assert nothing == 0 and side_loss(images, phrases, TARGETS, torch.full((3,), -1), SCALE) == 0
    with pytest.raises(ValueError, match="opposites"):
        side_loss(images, phrases, TARGETS, opposites[:2], SCALE)


def test_nearly_equal_phrases_pull_as_much_as_different_ones(embeds):
    images, phrases = embeds
    phrases = phrases.clone()
    pulls = []
    for gap in (1.0, 1e-3):  # a contrast's pull on the images falls a thousandfold with it
        phrases[2] = phrases[0] - gap * phrases[1]
        rows = images.clone().requires_grad_()
        side_loss(rows, phrases, TARGETS, torch.tensor([2, -1, 0]), SCALE).backward()
        pulls.append(rows.grad.norm())
    torch.testing.assert_close(pulls[0], pulls[1])


def test_many_pairs_are_contrasted_in_parts_with_the_same_gradients(embeds, monkeypatch):
    found = []
    for at_once in (100, 3, 1):  # 15 pairs
        monkeypatch.setattr("modeling_mvfer.contrast_mvfer.PAIRS_AT_ONCE", at_once)
        images, texts, scale = (one.clone().requires_grad_() for one in (*embeds, SCALE))
        loss = contrastive_loss(images, texts, TARGETS, scale)
        loss.backward()
        found.append((loss.detach(), images.grad, texts.grad, scale.grad))
    torch.testing.assert_close(found[1], found[0])
    torch.testing.assert_close(found[2], found[0])


def test_equal_texts_become_one_and_keep_their_samples():
    keys = torch.tensor([[0, 7, 1, -1], [0, 5, 6, 1], [0, 7, 1, -1]])
    features = torch.tensor([[1.0, 2.0], [3.0, 4.0], [1.0, 2.0]])
    merged, targets = merge_texts(features, keys, torch.eye(3).bool())
    assert sorted(merged.tolist()) == [[1.0, 2.0], [3.0, 4.0]]
    shared = merged.tolist().index([1.0, 2.0])
    assert targets[:, shared].tolist() == [True, False, True]


def test_soft_assignments_equal_a_loop_and_rows_without_one_are_left_out(embeds):
    images, prompts = embeds
    assignments = torch.tensor([[0.7, 0.2, 0.1], [0, 0, 0], [0.1, 0.9, 0], [0, 0, 0], [0.3, 0.3, 0.4]]).double()
    rows = []
    for b in (0, 2, 4):
        log_total = torch.log(sum(torch.exp(SCALE * images[b] @ prompt) for prompt in prompts))
        rows.append(-sum(assignments[b, k] * (SCALE * images[b] @ prompts[k] - log_total) for k in range(3)))
    torch.testing.assert_close(assignment_loss(images, prompts, assignments, SCALE), sum(rows) / 3)
    assert assignment_loss(images, prompts, torch.zeros(5, 3).double(), SCALE) == 0


def test_gradients_are_exact(embeds):
    images, texts = (tensor.clone().requires_grad_() for tensor in embeds)
    scale, bias = SCALE.clone().requires_grad_(), BIAS.clone().requires_grad_()
    check = torch.autograd.gradcheck
    assert check(lambda i, t, s: contrastive_loss(i, t, TARGETS, s), (images, texts, scale))
    assert check(lambda i, t, s, b: sigmoid_loss(i, t, TARGETS, s, b), (images, texts, scale, bias))
    assert check(lambda i, t, s, b: phrase_loss(i, t, TARGETS, s, b), (images, texts, scale, bias))
    opposites = torch.tensor([2, -1, 0])
    assert check(lambda i, t, s: side_loss(i, t, TARGETS, opposites, s), (images, texts, scale))
    shares = torch.rand(5, 3, dtype=torch.float64).softmax(dim=1)
    assert check(lambda i, t, s: assignment_loss(i, t, shares, s), (images, texts, scale))


@pytest.mark.parametrize("shape", [(5, 3, 4), (5, 4)])
def test_wrong_shapes_are_refused(embeds, shape):
    with pytest.raises(ValueError, match="targets"):
        contrastive_loss(*embeds, torch.ones(shape).bool(), SCALE)
