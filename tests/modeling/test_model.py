import pytest
import torch
from transformers import AutoModel, AutoModelForZeroShotImageClassification

from modeling_mvfer import MVFERModel
from mvfer.training.presets import small_config

GUIDED = {"fusion": "text", "fusion_prompt_ids": [[0, 5, 6, 1], [0, 7, 1]]}


def test_plain_clip_folder_loads_whole_and_starts_neutral(tiny_clip, tiny_batch):
    clip, folder = tiny_clip
    model, report = MVFERModel.from_pretrained(folder, output_loading_info=True)
    assert model.config.model_type == "mvfer"
    assert not report["unexpected_keys"]
    assert all("fusion" in key or key.startswith("objective.") for key in report["missing_keys"])
    for name, tensor in clip.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name
    batch = tiny_batch()
    views = batch["pixel_values"]
    image = model.eval().get_image_features(views).pooler_output
    mean = clip.get_image_features(views.flatten(0, 2)).pooler_output.view(4, 3, 8).mean(1)
    torch.testing.assert_close(image, mean)


def test_text_guided_fusion_starts_as_the_mean_and_reads_its_prompts_through_the_text_tower(
    tiny_clip, tiny_model, tiny_batch
):
    views = tiny_batch()["pixel_values"]
    fresh = MVFERModel.from_pretrained(tiny_clip[1], **GUIDED).eval()
    mean = MVFERModel.from_pretrained(tiny_clip[1], fusion="mean").eval()
    torch.testing.assert_close(
        fresh.get_image_features(views).pooler_output, mean.get_image_features(views).pooler_output
    )
    model = tiny_model(trained=True, **GUIDED)
    before = model.get_image_features(views).view_weights
    prompts, scale = model._fusion_prompts()
    one = model.get_text_features(torch.tensor([GUIDED["fusion_prompt_ids"][1]])).pooler_output  # without padding
    torch.testing.assert_close(prompts[1:], torch.nn.functional.normalize(one, dim=-1))
    model.config.fusion_prompt_ids = [[0, 9, 10, 11, 1]]
    assert not torch.allclose(model.get_image_features(views).view_weights, before)


def test_one_view_equals_clip_exactly(tiny_clip, tiny_batch):
    clip, folder = tiny_clip
    model = MVFERModel.from_pretrained(folder).eval()
    batch = tiny_batch()
    photos, ids = batch["pixel_values"][:, 0, 0], batch["input_ids"]
    assert torch.equal(model.get_image_features(photos).pooler_output, clip.get_image_features(photos).pooler_output)
    ours, theirs = (m(input_ids=ids, pixel_values=photos) for m in (model, clip))
    torch.testing.assert_close(ours.logits_per_image, theirs.logits_per_image)
    torch.testing.assert_close(ours.text_embeds, theirs.text_embeds)
    assert ours.view_weights.shape == (4, 1, 1) and ours.view_weights.eq(1).all()


def test_new_parts_are_the_same_for_the_same_seed(tiny_clip):
    states = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        states.append(MVFERModel.from_pretrained(tiny_clip[1]).state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert any(not torch.equal(states[0][name], states[2][name]) for name in states[0])
    assert all(tensor.isfinite().all() for tensor in states[0].values())


@pytest.mark.parametrize(
    "fields", [{}, {"fusion": "mean"}, {"contrastive_form": "sigmoid", "triplet_weight": 1}, GUIDED]
)
def test_saved_model_returns_the_same(tiny_model, tiny_batch, tmp_path, fields):
    model, batch = tiny_model(trained=True, **fields), tiny_batch()
    model.save_pretrained(tmp_path)
    for auto in (AutoModel, AutoModelForZeroShotImageClassification):
        loaded = auto.from_pretrained(tmp_path)
        assert type(loaded) is MVFERModel
        ours, theirs = (m(**batch, return_loss=True) for m in (model, loaded))
        assert torch.equal(ours.logits_per_image, theirs.logits_per_image)
        assert torch.equal(ours.loss, theirs.loss)


def test_absent_views_never_reach_the_tower(tiny_model, tiny_batch):
    model, batch = tiny_model(), tiny_batch(frames=2)
    mask = torch.rand(4, 2, 3) > 0.4
    mask[:, 0, 0] = True
    seen = []
    model.vision_model.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(len(kwargs["pixel_values"])), with_kwargs=True
    )
    model(**batch, view_mask=mask)
    assert seen == [int(mask.sum())]


def test_masked_views_and_frames_equal_absent_ones(tiny_model, tiny_batch):
    model, batch = tiny_model(trained=True), tiny_batch(frames=3)
    pixels = batch["pixel_values"]
    angles, times = torch.randn(4, 3, 2) * 30, torch.rand(4, 3).cumsum(1)
    view_mask = torch.tensor([True, False, True]).expand(4, 3, 3)
    frame_mask = torch.tensor([False, True, True]).expand(4, 3)
    dirty = pixels.clone()
    dirty[:, 0], dirty[:, :, 1] = float("nan"), float("nan")
    full = model.get_image_features(dirty, view_mask, angles, frame_mask, times)
    small = model.get_image_features(pixels[:, 1:][:, :, [0, 2]], None, angles[:, [0, 2]], None, times[:, 1:])
    torch.testing.assert_close(full.pooler_output, small.pooler_output)
    torch.testing.assert_close(full.view_weights[:, 1:][:, :, [0, 2]], small.view_weights)
    torch.testing.assert_close(full.frame_weights[:, 1:], small.frame_weights)
    assert not full.view_weights[:, 0].any() and not full.view_features[:, :, 1].any()


def test_order_of_views_does_not_matter(tiny_model, tiny_batch):
    model, pixels = tiny_model(trained=True), tiny_batch()["pixel_values"]
    angles, order = torch.randn(4, 3, 2) * 30, [2, 0, 1]
    plain = model.get_image_features(pixels, view_angles_deg=angles)
    permuted = model.get_image_features(pixels[:, :, order], view_angles_deg=angles[:, order])
    torch.testing.assert_close(plain.pooler_output, permuted.pooler_output)
    torch.testing.assert_close(plain.view_weights[:, :, order], permuted.view_weights)


def test_angles_and_times_have_the_stated_defaults(tiny_model, tiny_batch):
    model, pixels = tiny_model(trained=True), tiny_batch(frames=2)["pixel_values"]
    default = model.get_image_features(pixels).pooler_output
    angles, times = torch.tensor(model.config.view_angles_deg), torch.tensor([[0, 1 / 25]]).expand(4, 2)
    stated = model.get_image_features(pixels, view_angles_deg=angles, frame_times_s=times).pooler_output
    torch.testing.assert_close(default, stated)
    two = pixels[:, :, :2]
    front = model.get_image_features(two, view_angles_deg=torch.zeros(2, 2)).pooler_output
    torch.testing.assert_close(model.get_image_features(two).pooler_output, front)
    assert not torch.allclose(default, model.get_image_features(pixels, view_angles_deg=-angles).pooler_output)


def test_equal_captions_count_as_one(tiny_model, tiny_batch):
    model, batch = tiny_model(), tiny_batch(samples=4, texts=2)
    pixels, ids = batch["pixel_values"], batch["input_ids"]
    padded = torch.nn.functional.pad(ids[[0, 1, 0, 1]], (0, 2), value=3)  # one per sample, as without `text_targets`
    unique = model(**batch, return_loss=True)
    repeated = model(input_ids=padded, pixel_values=pixels, return_loss=True)
    torch.testing.assert_close(unique.loss, repeated.loss)


def test_training_step_reaches_every_parameter(tiny_model, tiny_batch):
    between = {"margin_contrast_weight": 0.1, "triplet_weight": 0.1, "consistency_weight": 0.1}
    model = tiny_model(trained=True, cross_modal_weight=0.05, **between, **GUIDED).train()
    batch = tiny_batch(frames=2)
    phrases = {"phrase_input_ids": batch["input_ids"][:, 1:], "phrase_targets": torch.rand(4, 3) > 0.5}
    output = model(**batch, **phrases, return_loss=True)
    output.loss.backward()
    assert set(output.losses) == {
        "contrastive", "view_contrastive", "phrase", "cross_view", "cross_modal", "margin_contrast", "triplet", "consistency"
    }  # fmt: skip
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []
    assert output.view_embeds.shape == (4, 2, 3, 8)
    torch.testing.assert_close(output.view_embeds.norm(dim=-1), torch.ones(4, 2, 3))


def test_small_model_learns_to_tell_four_images_apart():
    torch.manual_seed(0)
    model = MVFERModel(small_config(vocab_size=20, image_size=32, stem_channels=(8, 8, 16, 16)))
    batch = {
        "pixel_values": torch.randn(8, 3, 3, 32, 32),
        "input_ids": torch.tensor([[0, 5 + k, 1] for k in range(4)]),
        "text_targets": torch.eye(4).bool().repeat(2, 1),
    }
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(25):
        output = model(**batch, return_loss=True)
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
    assert output.logits_per_image.argmax(1).tolist() == [0, 1, 2, 3] * 2
    assert output.losses["contrastive"] < 0.9


def test_sixteen_bit_autocast_keeps_similarities_and_losses_in_full_precision(tiny_model, tiny_batch):
    model, batch = tiny_model(cross_modal_weight=0.05, cross_modal_form="full"), tiny_batch(samples=6)
    mask = torch.ones(6, 3, dtype=torch.bool)
    mask[0, 1:], mask[3, 0] = False, False
    with torch.autocast("cpu", torch.bfloat16):
        output = model(**batch, view_mask=mask, return_loss=True)
    output.loss.backward()
    assert output.logits_per_image.dtype == output.image_embeds.dtype == torch.float32
    exact = output.image_embeds @ output.text_embeds.T * model.logit_scale.exp()
    torch.testing.assert_close(output.logits_per_image, exact)
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters() if parameter.grad is not None)
    half = tiny_model().bfloat16()(**{**batch, "pixel_values": batch["pixel_values"].bfloat16()}, view_mask=mask)
    assert half.logits_per_image.dtype == torch.float32 and half.logits_per_image.isfinite().all()


@pytest.mark.parametrize("layers", [0, 1])
def test_model_exports_with_any_number_of_samples(tiny_model, tiny_batch, layers):
    model, batch = tiny_model(trained=True, temporal_layers=layers), tiny_batch(frames=1 + layers)
    pixels, ids = batch["pixel_values"], batch["input_ids"]
    size = torch.export.Dim("samples", min=2, max=64)
    program = torch.export.export(
        model,
        (),
        {"input_ids": ids, "pixel_values": pixels},
        dynamic_shapes={"input_ids": None, "pixel_values": {0: size}},
        strict=False,
    )
    exported = program.module()(input_ids=ids, pixel_values=pixels[:3])
    torch.testing.assert_close(exported.logits_per_image, model(ids, pixels[:3]).logits_per_image)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pixel_values": torch.zeros(3, 16, 16)}, "axes"),
        ({"view_mask": torch.ones(4, 2)}, "view_mask"),
        ({"view_mask": torch.tensor([[1, 1, 1], [0, 0, 0], [1, 1, 1], [1, 1, 1]])}, r"samples \[1\]"),
        ({"frame_mask": torch.ones(4, 2)}, "frame_mask"),
        ({"view_angles_deg": torch.zeros(4, 3)}, "view_angles_deg"),
        ({"frame_times_s": torch.zeros(4, 5)}, "frame_times_s"),
        ({"text_targets": torch.ones(4, 5)}, "text_targets"),
        ({"text_targets": None}, "text_targets"),
        ({"text_assignments": torch.ones(4, 5)}, "text_assignments"),
        ({"input_ids": torch.tensor([[0, 5, 6]] * 3)}, "end token"),
        ({"input_ids": torch.tensor([0, 5, 1])}, "token ids"),
        ({"input_ids": None}, "both"),
        ({"phrase_input_ids": torch.tensor([[0, 5, 1]])}, "phrase_targets"),
    ],
)
def test_wrong_inputs_are_refused(tiny_model, tiny_batch, change, message):
    with pytest.raises(ValueError, match=message):
        tiny_model()(**{**tiny_batch(), **change}, return_loss=True)
