"""Towers in parts: the same losses and gradients, a few rows at a time."""

import pytest
import torch
from torch.nn.functional import pad

from modeling_mvfer import MVFERConfig, MVFERModel
from modeling_mvfer.in_parts_mvfer import in_parts
from tests.conftest import TEXT, VISION
from tests.modeling.test_distributed import whole_batch


@pytest.fixture
def model():
    torch.manual_seed(3)
    config = MVFERConfig(
        text_config=TEXT, vision_config=VISION, projection_dim=8, projector_size=12, cross_modal_weight=0.3
    )
    return MVFERModel(config).double().train()


def step(model, batch) -> tuple[dict, dict]:
    model.zero_grad()
    output = model(**batch, return_loss=True)
    output.loss.backward()
    return output, {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("size", [1, 4, 5])
def test_losses_and_gradients_are_those_of_the_whole_batch(model, size):
    batch = whole_batch("infonce")
    whole, expected = step(model, batch)
    model.tower_batch = size
    parts, found = step(model, batch)
    assert whole.vision_model_output.last_hidden_state is not None
    assert parts.vision_model_output.last_hidden_state is None  # not kept
    torch.testing.assert_close(parts.losses, whole.losses)
    torch.testing.assert_close(found, expected)


def test_towers_see_no_more_rows_than_that(model, monkeypatch):
    seen = {"vision": [], "text": []}
    for name, tower in (("vision", model.vision_model), ("text", model.text_model)):
        tower.register_forward_pre_hook(
            lambda _, args, kwargs, name=name: seen[name].append(len(next(iter([*args, *kwargs.values()])))),
            with_kwargs=True,
        )
    batch = whole_batch("infonce")
    count = int(batch["view_mask"].sum())
    model.tower_batch = 3
    step(model, batch)
    assert max(seen["vision"] + seen["text"]) == 3
    assert sum(seen["vision"]) == 2 * count  # once for the features, once for the backward
    model.eval()(**batch)
    assert seen["vision"][-1] == count  # nothing is remembered, so all at once
    with torch.no_grad():
        model.train()(**batch)
    assert seen["vision"][-1] == count


def test_what_is_cut_is_cut_alike():
    rows, mask = torch.randn(7, 3, requires_grad=True), torch.ones(7, 3)
    sizes = []

    def encode(part, mask_part, nothing):
        assert nothing is None
        sizes.append((len(part), len(mask_part)))
        return part * mask_part

    torch.testing.assert_close(in_parts(encode, rows, mask, None, size=3), rows)
    assert sizes == [(3, 3), (3, 3), (1, 1)]


def test_texts_of_any_length_are_encoded_in_parts(model):
    ids = torch.tensor([[0, 5, 6, 1], [0, 7, 1, 3], [0, 8, 9, 1]])
    whole = model.get_text_features(ids, attention_mask=(ids != 3).long()).pooler_output
    model.tower_batch = 2
    longer = pad(ids, (0, 2), value=3)
    parts = model.get_text_features(longer, attention_mask=(longer != 3).long()).pooler_output
    torch.testing.assert_close(parts, whole)
    model.tower_batch = 0
    assert model.get_text_features(ids, return_dict=False)[1].shape == (3, 8)
