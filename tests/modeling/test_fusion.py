import math

import pytest
import torch

from modeling_mvfer.fusion_mvfer import (
    MaskedFusion,
    MaxFusion,
    MeanFusion,
    TextGuidedFusion,
    angles_to_radians,
    pool_frames,
    times_to_phase,
)

SCALE = torch.tensor(5.0).double()


@pytest.fixture
def trained():
    torch.manual_seed(0)
    module = MaskedFusion(8, position_size=2, hidden_size=6, frequencies=3).double()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return module


@pytest.fixture
def guided():
    torch.manual_seed(2)
    module = TextGuidedFusion(8, position_size=2, hidden_size=6, frequencies=3).double()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    prompts = torch.nn.functional.normalize(torch.randn(5, 8, dtype=torch.float64), dim=-1)
    return lambda features, mask, positions: module(features, mask, positions, prompts, SCALE), module, prompts


@pytest.fixture
def views():
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(3, 4, 8, generator=generator, dtype=torch.float64)
    mask = torch.tensor([[1, 1, 1, 1], [0, 1, 0, 1], [0, 0, 1, 0]]).bool()
    positions = angles_to_radians(60 * torch.randn(3, 4, 2, generator=generator, dtype=torch.float64))
    return features, mask, positions


def test_fusion_equals_a_loop_over_samples_and_views(trained, views):
    features, mask, positions = views
    fused, weights = trained(features, mask, positions)
    for b in range(3):
        scores, values = [], []
        for v in mask[b].nonzero().flatten().tolist():
            waves = [wave(2**k * place) for wave in (math.sin, math.cos) for place in positions[b, v] for k in range(3)]
            hidden = trained.content(trained.norm(features[b, v])) + trained.place(torch.tensor(waves).double())
            tanh_branch, gate, value_branch = hidden[:6], hidden[6:12], hidden[12:]
            scores.append(trained.score.weight[0] @ (torch.tanh(tanh_branch) * torch.sigmoid(gate)))
            values.append(features[b, v] + trained.value.weight @ torch.relu(value_branch))
        expected = torch.softmax(torch.stack(scores), 0)
        torch.testing.assert_close(weights[b, mask[b]], expected)
        torch.testing.assert_close(fused[b], sum(w * value for w, value in zip(expected, values, strict=True)))


def test_untrained_fusion_is_the_mean_of_what_is_present(views):
    features, mask, positions = views
    fused, weights = MaskedFusion(8, position_size=2, hidden_size=6, frequencies=3).double()(features, mask, positions)
    mean, equal = MeanFusion()(features, mask, positions)
    torch.testing.assert_close(fused, mean)
    torch.testing.assert_close(weights, equal)
    torch.testing.assert_close(mean[1], features[1, [1, 3]].mean(0))
    assert torch.equal(mean[2], features[2, 2])


def test_masked_view_equals_absent_view(trained, views):
    features, _, positions = views
    mask = torch.tensor([[True, False, True, True]] * 3)
    garbage = features.clone()
    garbage[:, 1] = 1e6
    left = [0, 2, 3]
    fused, weights = trained(garbage, mask, positions)
    expected, expected_weights = trained(features[:, left], mask[:, left], positions[:, left])
    torch.testing.assert_close(fused, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(weights[:, left], expected_weights, rtol=1e-12, atol=1e-12)
    assert not weights[:, 1].any()


def test_order_of_views_does_not_matter_but_their_angles_do(trained, views):
    features, mask, positions = views
    order = [2, 0, 3, 1]
    fused, weights = trained(features, mask, positions)
    permuted, permuted_weights = trained(features[:, order], mask[:, order], positions[:, order])
    torch.testing.assert_close(permuted, fused)
    torch.testing.assert_close(permuted_weights, weights[:, order])
    assert not torch.allclose(trained(features, mask, positions.flip(1))[1], weights)


def test_nothing_present_gives_zeros_and_finite_gradients(trained, views):
    features, mask, positions = views
    features.requires_grad_()
    fused, weights = trained(features, torch.zeros_like(mask), positions)
    fused.sum().backward()
    assert not fused.any() and not weights.any() and features.grad.isfinite().all()


def test_gradients_are_exact(trained, views):
    features, mask, positions = views
    assert torch.autograd.gradcheck(lambda x: trained(x, mask, positions), features.requires_grad_())


def test_half_precision_features_get_full_precision_weights(views):
    features, mask, positions = views
    fused, weights = MaskedFusion(8, position_size=2, hidden_size=6, frequencies=3).bfloat16()(
        features.bfloat16(), mask, positions
    )
    assert weights.dtype == fused.dtype == torch.float32
    torch.testing.assert_close(weights.sum(-1), torch.ones(3))


def test_times_count_from_the_first_present_frame():
    mask = torch.tensor([[False, True, True, True]])
    positions = times_to_phase(torch.tensor([[9.0, 1.0, 1.5, 3.0]]), mask)
    torch.testing.assert_close(positions[:, 1:], times_to_phase(torch.tensor([[0.0, 0.5, 2.0]]), mask[:, 1:]))


def test_pooled_frames_use_the_frame_weights_of_the_frames_that_show_the_view():
    features = torch.randn(1, 3, 2, 4)
    mask = torch.tensor([[[True, True], [False, True], [True, False]]])
    per_view, present = pool_frames(features, mask, torch.tensor([[0.2, 0.5, 0.3]]))
    torch.testing.assert_close(per_view[0, 0], (0.2 * features[0, 0, 0] + 0.3 * features[0, 2, 0]) / 0.5)
    torch.testing.assert_close(per_view[0, 1], (0.2 * features[0, 0, 1] + 0.5 * features[0, 1, 1]) / 0.7)
    assert present.all()
    assert not pool_frames(features, torch.zeros_like(mask), torch.zeros(1, 3))[0].any()


def test_text_guided_fusion_equals_a_loop_over_samples_and_prompts(guided, views):
    fuse, module, prompts = guided
    features, mask, positions = views
    fused, weights = fuse(features, mask, positions)
    scores, values = module.score_and_value(features, positions)
    for b in range(3):
        present = mask[b].nonzero().flatten().tolist()
        mean = torch.nn.functional.normalize(features[b, present].mean(0), dim=0)
        shares = torch.stack([torch.exp(SCALE * mean @ prompt) for prompt in prompts])
        expected = torch.zeros(4, dtype=torch.float64)
        for share, prompt in zip(shares / shares.sum(), prompts, strict=True):
            asked = module.query.weight @ prompt
            attention = [scores[b, v] + asked @ module.key(module.norm(features[b, v])) / 6**0.5 for v in present]
            expected[present] += share * torch.softmax(torch.stack(attention), 0)
        torch.testing.assert_close(weights[b], expected)
        torch.testing.assert_close(fused[b], sum(expected[v] * values[b, v] for v in present))


def test_untrained_text_guided_fusion_is_the_mean_of_what_is_present(guided, views):
    features, mask, positions = views
    fresh = TextGuidedFusion(8, position_size=2, hidden_size=6, frequencies=3).double()
    fused, weights = fresh(features, mask, positions, guided[2], SCALE)
    mean, equal = MeanFusion()(features, mask, positions)
    torch.testing.assert_close(fused, mean)
    torch.testing.assert_close(weights, equal)


def test_the_maximum_is_taken_per_dimension_over_what_is_present(views):
    features, mask, positions = views
    fused, weights = MaxFusion()(features, mask, positions)
    for b in range(3):
        present = mask[b].nonzero().flatten().tolist()
        winners = [max(present, key=lambda v, d=d: float(features[b, v, d])) for d in range(8)]
        torch.testing.assert_close(fused[b], torch.stack([features[b, v, d] for d, v in enumerate(winners)]))
        torch.testing.assert_close(weights[b], torch.tensor([winners.count(v) / 8 for v in range(4)]).double())
    torch.testing.assert_close(fused[2], features[2, 2])


@pytest.mark.parametrize("kind", ["guided", "max"])
def test_other_fusions_ignore_order_and_masked_views_and_stand_nothing_present(guided, views, kind):
    fuse = guided[0] if kind == "guided" else MaxFusion()
    features, _, positions = views
    mask = torch.tensor([[True, False, True, True]] * 3)
    garbage, left = features.clone(), [3, 0, 2]
    garbage[:, 1] = 1e6
    fused, weights = fuse(garbage, mask, positions)
    expected, expected_weights = fuse(features[:, left], mask[:, left], positions[:, left])
    torch.testing.assert_close(fused, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(weights[:, left], expected_weights, rtol=1e-12, atol=1e-12)
    assert not weights[:, 1].any()
    features.requires_grad_()
    fused, weights = fuse(features, torch.zeros_like(mask), positions)
    fused.sum().backward()
    assert not fused.any() and not weights.any() and features.grad.isfinite().all()


@pytest.mark.parametrize("kind", ["guided", "max"])
def test_gradients_of_other_fusions_are_exact(guided, views, kind):
    fuse = guided[0] if kind == "guided" else lambda *args: MaxFusion()(*args)[0]
    features, mask, positions = views
    assert torch.autograd.gradcheck(lambda x: fuse(x, mask, positions), features.requires_grad_())
