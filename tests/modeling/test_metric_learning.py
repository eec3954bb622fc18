import pytest
import torch
from torch.nn.functional import normalize

from modeling_mvfer.metric_learning_mvfer import consistency_loss, margin_contrast_loss, related_views, triplet_loss

RELATED = torch.tensor(
    [
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [0, 1, 1, 0, 0, 0],
        [0, 0, 0, 1, 1, 0],
        [0, 0, 0, 1, 1, 0],
        [0, 0, 0, 0, 0, 1],
    ]
).bool()  # the last has no relative
MARGIN = torch.tensor(0.2).double()


@pytest.fixture
def embeds():
    generator = torch.Generator().manual_seed(0)
    return normalize(torch.randn(6, 5, generator=generator, dtype=torch.float64), dim=-1)


def test_margin_contrast_equals_a_loop_over_pairs(embeds):
    together, apart = [], []
    for i in range(6):
        for j in range(6):
            cosine = float(embeds[i] @ embeds[j])
            if i != j and RELATED[i, j]:
                together.append(1 - cosine)
            elif i != j:
                apart.append(max(0.0, cosine - 0.2))
    expected = sum(together) / len(together) + sum(apart) / len(apart)
    assert float(margin_contrast_loss(embeds, RELATED, MARGIN)) == pytest.approx(expected, rel=1e-9)


def test_triplets_equal_a_loop_over_all_of_them(embeds):
    losses = []
    for a in range(5):
        hardest = max(
            ((embeds[a] - embeds[p]) ** 2).sum() - ((embeds[a] - embeds[n]) ** 2).sum() + MARGIN
            for p in range(6)
            for n in range(6)
            if p != a and RELATED[a, p] and not RELATED[a, n]
        )
        losses.append(max(0.0, float(hardest)))
    assert float(triplet_loss(embeds, RELATED, MARGIN)) == pytest.approx(sum(losses) / 5, rel=1e-9)


def test_consistency_equals_a_loop_over_samples_and_pairs():
    generator = torch.Generator().manual_seed(1)
    views = normalize(torch.randn(4, 3, 5, generator=generator, dtype=torch.float64), dim=-1)
    mask = torch.tensor([[1, 1, 1], [1, 0, 1], [0, 1, 0], [0, 1, 1]]).bool()
    pairs = [
        1 - float(views[b, i] @ views[b, j])
        for b in range(4)
        for i in range(3)
        for j in range(i)
        if mask[b, i] and mask[b, j]
    ]
    ours = consistency_loss(views, mask)
    assert float(ours) == pytest.approx(sum(pairs) / len(pairs), rel=1e-9)
    assert consistency_loss(views[:, :1].expand(-1, 3, -1), mask) < 1e-9
    assert consistency_loss(views[:, :1], mask[:, 1:2]) == 0


def test_gradients_are_exact(embeds):
    rows, margin = embeds.clone().requires_grad_(), MARGIN.clone().requires_grad_()
    check = torch.autograd.gradcheck
    assert check(lambda e, m: margin_contrast_loss(e, RELATED, m), (rows, margin))
    assert check(lambda e, m: triplet_loss(e, RELATED, m), (rows, margin))
    views = rows.detach().view(2, 3, 5).requires_grad_()
    assert check(lambda v: consistency_loss(v, torch.tensor([[1, 1, 1], [1, 0, 1]]).bool()), (views,))


def test_the_shared_margin_is_pushed_from_both_sides(embeds):
    margin = torch.tensor(-0.5, dtype=torch.float64, requires_grad=True)  # so low that both are active
    raises = torch.autograd.grad(margin_contrast_loss(embeds, RELATED, margin), margin)[0]
    lowers = torch.autograd.grad(triplet_loss(embeds, RELATED, margin + 2), margin)[0]
    assert raises < 0 < lowers


def test_views_of_one_face_and_of_faces_with_a_common_text_are_related():
    targets = torch.tensor([[1, 1, 0], [0, 1, 0], [0, 0, 1]]).bool()
    mask = torch.tensor([[1, 1], [1, 0], [1, 1]]).bool()
    expected = torch.block_diag(torch.ones(3, 3), torch.ones(2, 2)).bool()
    assert torch.equal(related_views(targets, mask), expected)
    soft = torch.tensor([[0.6, 0.4, 0.0], [0.4, 0.6, 0.0], [0.5, 0.2, 0.3]])
    assert related_views(soft, mask)[0].tolist() == [True, True, False, True, True]


def test_nothing_to_compare_is_zero_and_keeps_the_gradient(embeds):
    for loss in (margin_contrast_loss, triplet_loss):
        margin = MARGIN.clone().requires_grad_()
        value = loss(embeds[:0], RELATED[:0, :0], margin)
        value.backward()
        assert value == 0 and margin.grad == 0


def test_wrong_shapes_are_refused(embeds):
    for loss in (margin_contrast_loss, triplet_loss):
        with pytest.raises(ValueError, match="related"):
            loss(embeds, RELATED[:3], MARGIN)
    with pytest.raises(ValueError, match="mask"):
        consistency_loss(embeds, RELATED)
