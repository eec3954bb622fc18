"""The model as transformers and torch use it: traced graphs, devices without values, outputs of towers, gradient checkpoints."""

import copy

import pytest
import torch
from torch._subclasses import FakeTensorMode

from modeling_mvfer import MVFERForFaceClassification, MVFERModel
from modeling_mvfer.modeling_mvfer import ACTIONS_ONLY
from modeling_mvfer.modeling_mvfer import logger as model_logger
from mvfer.training.presets import small_config

MASK = torch.tensor([[True, False, True], [True, True, True], [False, False, True], [True, True, False]])


def with_absent_views(batch) -> dict:
    """Views `(B, V, C, H, W)` and texts; absent views hold NaN."""
    pixels = batch["pixel_values"][:, 0].clone()
    pixels[~MASK] = torch.nan
    return {"input_ids": batch["input_ids"], "pixel_values": pixels, "view_mask": MASK}


@torch.no_grad()
def test_a_compiled_and_an_exported_graph_give_absent_views_zeros_as_eager_does(tiny_model, tiny_batch):
    model, inputs = tiny_model(trained=True), with_absent_views(tiny_batch())
    eager = model(**inputs)
    compiled = torch.compile(model, backend="eager", fullgraph=True)(**inputs)
    exported = torch.export.export(model, (), inputs, strict=False).module()(**inputs)
    for graph in (compiled, exported):
        for name in ("logits_per_image", "view_embeds", "view_weights"):
            torch.testing.assert_close(graph[name], eager[name])
        assert graph.view_embeds[:, 0][~MASK].eq(0).all()


def test_compiled_training_counts_present_views_alone_in_batch_statistics():
    torch.manual_seed(0)
    model = MVFERModel(small_config(vocab_size=40, image_size=32)).train()
    twin, pixels = copy.deepcopy(model), torch.randn(4, 3, 3, 32, 32)
    expected = model.get_image_features(pixels, MASK).pooler_output
    found = torch.compile(twin, backend="eager").get_image_features(pixels, MASK).pooler_output
    torch.testing.assert_close(found, expected)
    norms = [m.vision_model.post_layernorm.running_mean for m in (model, twin)]
    torch.testing.assert_close(*norms)


def test_shapes_are_known_where_there_are_no_values(tiny_model, tiny_batch):
    inputs, model = with_absent_views(tiny_batch()), tiny_model()
    meta = copy.deepcopy(model).to("meta")
    output = meta(**{name: value.to("meta") for name, value in inputs.items()})
    assert output.logits_per_image.shape == (4, 3) and output.logits_per_image.is_meta
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        fake = {name: mode.from_tensor(value) for name, value in inputs.items()}
        assert model(**fake).view_embeds.shape == (4, 1, 3, 8)


@torch.no_grad()
def test_hidden_states_and_attentions_are_returned_as_clip_returns_them(tiny_clip, tiny_batch):
    clip, folder = tiny_clip
    model = MVFERModel.from_pretrained(folder, attn_implementation="eager").eval()
    clip.set_attn_implementation("eager")
    photos, ids = tiny_batch()["pixel_values"][:, 0, 0], tiny_batch()["input_ids"]
    options = {"output_attentions": True, "output_hidden_states": True}
    ours, theirs = (m(input_ids=ids, pixel_values=photos, **options) for m in (model, clip))
    for tower in ("vision_model_output", "text_model_output"):
        for name in ("hidden_states", "attentions"):
            torch.testing.assert_close(ours[tower][name], theirs[tower][name])
    vision = model(input_ids=ids, pixel_values=photos, return_dict=False, **options)[-1]
    for found, expected in zip(vision, ours.vision_model_output.to_tuple(), strict=True):
        torch.testing.assert_close(found, expected)
    tuned = MVFERForFaceClassification.from_pretrained(folder, attn_implementation="eager").eval()
    torch.testing.assert_close(tuned(photos, **options).attentions, theirs.vision_model_output.attentions)


@torch.no_grad()
def test_without_texts_there_are_embeddings_and_mesh_features_pass_texts_over(tiny_model, tiny_batch):
    model, inputs = tiny_model(trained=True), with_absent_views(tiny_batch())
    both = model(**inputs)
    faces = model(pixel_values=inputs["pixel_values"], view_mask=MASK)
    assert faces.logits_per_image is None and torch.equal(faces.image_embeds, both.image_embeds)
    features = model.get_mesh_features(**inputs).pooler_output
    torch.testing.assert_close(torch.nn.functional.normalize(features, dim=-1), both.image_embeds)


def test_a_model_that_knows_actions_only_says_so_once_where_texts_are_its_callers(tiny_model, tiny_batch, monkeypatch):
    said = []
    monkeypatch.setattr(model_logger, "warning_once", said.append)
    batch = tiny_batch()
    tiny_model(prompt_kinds=["actions"])(**batch, return_loss=True)  # training
    tiny_model()(**batch)
    assert said == []
    tiny_model(prompt_kinds=["actions"])(**batch)
    assert said == [ACTIONS_ONLY] and "zero-shot-mesh-classification" in ACTIONS_ONLY


@pytest.mark.parametrize("use_reentrant", [True, False])
def test_checkpoints_of_the_stem_change_no_gradient(use_reentrant):
    torch.manual_seed(0)
    model = MVFERModel(small_config(vocab_size=40, image_size=32)).train()
    twin, pixels = copy.deepcopy(model), torch.randn(2, 3, 32, 32)
    twin.gradient_checkpointing_enable({"use_reentrant": use_reentrant})
    stem = twin.vision_model.embeddings.patch_embedding
    assert [stage.gradient_checkpointing for stage in stem.stages[::2]] == [True] * 4
    gradients = []
    for one in (model, twin):
        one.get_image_features(pixels).pooler_output.square().sum().backward()
        gradients.append({n: p.grad for n, p in one.vision_model.named_parameters()})
    assert all(gradient is not None for gradient in gradients[1].values())
    torch.testing.assert_close(gradients[1], gradients[0])
