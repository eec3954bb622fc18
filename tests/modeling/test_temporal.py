import math

import pytest
import torch

from modeling_mvfer.fusion_mvfer import ZeroInitLinear, fourier_features, times_to_phase
from modeling_mvfer.temporal_mvfer import TemporalTransformer


@pytest.fixture
def trained():
    torch.manual_seed(0)
    module = TemporalTransformer(8, layers=2, heads=2, frequencies=3).double()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return module


@pytest.fixture
def sequence():
    generator = torch.Generator().manual_seed(1)
    frames = torch.randn(3, 5, 8, generator=generator, dtype=torch.float64)
    mask = torch.tensor([[1, 1, 1, 1, 1], [0, 1, 0, 1, 1], [0, 0, 0, 1, 0]]).bool()
    times = torch.rand(3, 5, generator=generator, dtype=torch.float64).cumsum(1)
    return frames, mask, times


def test_a_layer_equals_a_loop_over_samples_heads_and_frames(trained, sequence):
    frames, mask, times = sequence
    positions = times_to_phase(times, mask)
    layer, waves = trained.layers[0], fourier_features(positions, 3)
    contextual = layer(frames, mask, waves)
    for b in range(3):
        present = mask[b].nonzero().flatten().tolist()
        inputs = {t: layer.attention_norm(frames[b, t]) + layer.place(waves[b, t]) for t in present}
        query, key, value = ({t: p[i : i + 8] for t, p in map_layer(layer, inputs)} for i in (0, 8, 16))
        for t in present:
            heads = []
            for half in (slice(0, 4), slice(4, 8)):
                scores = torch.stack([query[t][half] @ key[s][half] / math.sqrt(4) for s in present])
                heads.append(sum(w * value[s][half] for w, s in zip(scores.softmax(0), present, strict=True)))
            expected = frames[b, t] + layer.mix.weight @ torch.cat(heads)
            expected = expected + layer.change.weight @ torch.relu(layer.hidden(layer.mlp_norm(expected)))
            torch.testing.assert_close(contextual[b, t], expected)


def map_layer(layer, inputs):
    return [(t, layer.query_key_value(x)) for t, x in inputs.items()]


def test_untrained_layers_return_the_frames_bit_for_bit(sequence):
    frames, mask, times = sequence
    module = TemporalTransformer(8, layers=3, heads=4, frequencies=2).double()
    assert torch.equal(module(frames, mask, times_to_phase(times, mask)), frames)


def test_masked_frames_equal_absent_ones(trained, sequence):
    frames, _, times = sequence
    mask = torch.tensor([[False, True, True, False, True]] * 3)
    dirty, left = frames.clone(), [1, 2, 4]
    dirty[:, [0, 3]] = 1e6
    full = trained(dirty, mask, times_to_phase(times, mask))
    small = trained(frames[:, left], mask[:, left], times_to_phase(times[:, left], mask[:, left]))
    torch.testing.assert_close(full[:, left], small, rtol=1e-12, atol=1e-12)


def test_times_order_the_frames_and_their_places_do_not(trained, sequence):
    frames, mask, times = sequence
    positions, order = times_to_phase(times, mask), [3, 0, 4, 1, 2]
    contextual = trained(frames, mask, positions)
    torch.testing.assert_close(
        trained(frames[:, order], mask[:, order], positions[:, order])[mask[:, order]],
        contextual[:, order][mask[:, order]],
    )
    assert not torch.allclose(trained(frames, mask, positions.flip(1))[0], contextual[0])


def test_nothing_present_stays_finite_with_finite_gradients(trained, sequence):
    frames, mask, times = sequence
    frames.requires_grad_()
    trained(frames, torch.zeros_like(mask), times_to_phase(times, mask)).sum().backward()
    assert frames.grad.isfinite().all()


def test_gradients_are_exact(trained, sequence):
    frames, mask, times = sequence
    positions = times_to_phase(times, mask)
    assert torch.autograd.gradcheck(lambda x: trained(x, mask, positions)[mask], frames.requires_grad_())


def test_a_fresh_model_with_temporal_layers_equals_one_without_bit_for_bit(tiny_model, tiny_batch):
    plain, layered = tiny_model(), tiny_model(temporal_layers=2)
    layered.load_state_dict(plain.state_dict(), strict=False)
    pixels = tiny_batch(frames=3)["pixel_values"]
    times = torch.tensor([[0.0, 0.1, 0.7]]).expand(4, 3)
    ours, theirs = (m.get_image_features(pixels, frame_times_s=times) for m in (layered, plain))
    assert torch.equal(ours.pooler_output, theirs.pooler_output)
    assert torch.equal(ours.frame_weights, theirs.frame_weights)


def test_gradients_reach_every_temporal_parameter_after_the_first_step(tiny_model, tiny_batch):
    model, batch = tiny_model(temporal_layers=2).train(), tiny_batch(frames=3)
    assert any(isinstance(part, ZeroInitLinear) for part in model.temporal_transformer.modules())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):  # the zero ends move first, then what stands before them
        optimizer.zero_grad()
        model(**batch, return_loss=True).loss.backward()
        optimizer.step()
    untouched = [n for n, p in model.temporal_transformer.named_parameters() if p.grad is None or not p.grad.any()]
    assert untouched == []


@pytest.mark.parametrize("length", [1, 300])
def test_sequences_of_one_and_of_300_frames_and_their_padding(tiny_model, tiny_batch, length):
    model = tiny_model(trained=True, temporal_layers=1)
    pixels = tiny_batch(samples=2, frames=length, views=1)["pixel_values"]
    times = (torch.arange(length) / 25.0).expand(2, -1)
    alone = model.get_image_features(pixels, frame_times_s=times)
    padded = model.get_image_features(
        torch.nn.functional.pad(pixels, (0, 0) * 4 + (0, 3), value=float("nan")),
        frame_mask=torch.arange(length + 3).expand(2, -1) < length,
        frame_times_s=torch.nn.functional.pad(times, (0, 3)),
    )
    torch.testing.assert_close(padded.pooler_output, alone.pooler_output, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(padded.frame_weights[:, :length], alone.frame_weights)
    assert alone.frame_weights.shape == (2, length) and alone.frame_features.shape == (2, length, 8)
    torch.testing.assert_close(alone.frame_weights.sum(1), torch.ones(2))


def test_order_of_frames_does_not_matter_to_the_model_but_their_times_do(tiny_model, tiny_batch):
    model, pixels = tiny_model(trained=True, temporal_layers=1), tiny_batch(frames=4)["pixel_values"]
    times, order = torch.tensor([[0.0, 0.3, 0.4, 1.1]]).expand(4, -1), [2, 0, 3, 1]
    plain = model.get_image_features(pixels, frame_times_s=times)
    moved = model.get_image_features(pixels[:, order], frame_times_s=times[:, order])
    torch.testing.assert_close(plain.pooler_output, moved.pooler_output)
    torch.testing.assert_close(plain.frame_weights[:, order], moved.frame_weights)
    swapped = model.get_image_features(pixels[:, order], frame_times_s=times)
    assert not torch.allclose(plain.pooler_output, swapped.pooler_output)


def test_a_saved_model_with_temporal_layers_returns_the_same(tiny_model, tiny_batch, tmp_path):
    model, pixels = (
        tiny_model(trained=True, temporal_layers=1, frame_fusion="mean"),
        tiny_batch(frames=3)["pixel_values"],
    )
    model.save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path)
    assert torch.equal(loaded.get_image_features(pixels).pooler_output, model.get_image_features(pixels).pooler_output)


def test_frames_may_be_fused_by_their_mean_while_views_are_not(tiny_model, tiny_batch):
    model = tiny_model(trained=True, frame_fusion="mean")
    output = model.get_image_features(tiny_batch(frames=3)["pixel_values"])
    torch.testing.assert_close(output.pooler_output, output.frame_features.mean(1))
    assert output.view_weights.std() > 0


def test_a_width_that_the_heads_do_not_divide_is_refused(tiny_config):
    with pytest.raises(ValueError, match="temporal_heads"):
        tiny_config(temporal_layers=1, temporal_heads=3)
