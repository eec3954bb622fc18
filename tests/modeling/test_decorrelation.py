import math
from itertools import combinations

import pytest
import torch

from modeling_mvfer.decorrelation_mvfer import EPSILON, Projector, cross_modal_loss, cross_view_loss


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


def test_cross_view_ignores_scale_and_shift_and_is_zero_for_equal_views():
    views = torch.randn(8, 3, 4, dtype=torch.float64)
    mask = torch.ones(8, 3, dtype=torch.bool)
    loss = cross_view_loss(views, mask)
    torch.testing.assert_close(cross_view_loss(5 * views + 3, mask), loss, rtol=1e-4, atol=0)
    same = views[:, :1].expand(-1, 3, -1)
    assert cross_view_loss(same, mask, off_diagonal_weight=0) < 1e-9


def test_cross_modal_forms_equal_loops():
    a, b = torch.randn(6, 4, dtype=torch.float64), torch.randn(6, 4, dtype=torch.float64)
    correlation = correlation_by_loops(a, b)
    torch.testing.assert_close(cross_modal_loss(a, b, form="full"), barlow_by_loops(correlation, 0.01))
    off = sum(correlation[k, j] ** 2 for k in range(4) for j in range(4) if k != j) / 4
    torch.testing.assert_close(cross_modal_loss(a, b), off)
    assert cross_modal_loss(a[:1], b[:1]) == 0


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


def test_cross_view_ignores_the_order_of_views_and_is_zero_without_a_pair():
    views, mask = torch.randn(8, 3, 4, dtype=torch.float64), torch.ones(8, 3, dtype=torch.bool)
    torch.testing.assert_close(cross_view_loss(views[:, [2, 0, 1]], mask), cross_view_loss(views, mask))
    alone = views[:, :1].requires_grad_()
    loss = cross_view_loss(alone, mask[:, :1])
    loss.backward()
    assert loss == 0 and not alone.grad.any()


def test_gradients_of_views_are_exact():
    views = torch.randn(5, 3, 3, dtype=torch.float64, requires_grad=True)
    mask = torch.tensor([[1, 1, 1], [1, 1, 0], [0, 1, 1], [1, 1, 1], [1, 0, 1]]).bool()
    assert torch.autograd.gradcheck(lambda v: cross_view_loss(v, mask), (views,))


def test_gradients_of_both_modalities_are_exact():
    images, texts = (torch.randn(5, 6, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(lambda a, b: cross_modal_loss(a, b, form="full"), (images, texts))


@pytest.mark.parametrize("shape", [(5, 3, 4), (5, 4)])
def test_wrong_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="mask"):
        cross_view_loss(torch.randn(5, 3, 4), torch.ones(shape).bool())


def test_unfit_modalities_and_unknown_forms_are_refused():
    images = torch.randn(5, 6)
    with pytest.raises(ValueError, match="form"):
        cross_modal_loss(images, images[:, :3])
    with pytest.raises(ValueError, match="half"):
        cross_modal_loss(images, images, form="half")
