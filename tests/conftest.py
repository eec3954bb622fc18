"""Tiny models and batches that every room's tests may use."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
import torch
from transformers import CLIPConfig, CLIPModel

from modeling_mvfer import MVFERConfig, MVFERModel

BOS, EOS, PAD = 0, 1, 3
TEXT = {
    "vocab_size": 40,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 12,
    "bos_token_id": BOS,
    "eos_token_id": EOS,
    "pad_token_id": PAD,
    "projection_dim": 8,
}
VISION = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 16,
    "patch_size": 8,
    "projection_dim": 8,
}


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def tiny_config():
    """`tiny_config(**fields)`: an `MVFERConfig` of 16-pixel views and 8 dimensions."""

    def build(**fields) -> MVFERConfig:
        settings = {"projection_dim": 8, "projector_size": 12, "fusion_hidden_size": 6, **fields}
        return MVFERConfig(text_config=dict(TEXT), vision_config=dict(VISION), **settings)

    return build


@pytest.fixture
def tiny_model(tiny_config):
    """`tiny_model(seed=0, trained=False, **fields)`; `trained` moves the neutral parts away from their start."""

    def build(seed: int = 0, trained: bool = False, **fields) -> MVFERModel:
        torch.manual_seed(seed)
        model = MVFERModel(tiny_config(**fields)).eval()
        if trained:
            with torch.no_grad():
                for name, parameter in model.named_parameters():
                    if "fusion" in name or "temporal" in name:
                        parameter.add_(0.3 * torch.randn_like(parameter))
        return model

    return build


@pytest.fixture
def tiny_clip(tmp_path):
    """A plain, random `CLIPModel` and the folder it is saved in."""
    torch.manual_seed(1)
    config = CLIPConfig(text_config=dict(TEXT), vision_config=dict(VISION), projection_dim=8)
    model = CLIPModel(config).eval()
    model.save_pretrained(tmp_path / "clip")
    return model, tmp_path / "clip"


@pytest.fixture
def tiny_batch():
    """`tiny_batch(samples, frames, views, texts)`: random views, and captions of two words with their targets."""

    def build(samples: int = 4, frames: int = 1, views: int = 3, texts: int = 3, seed: int = 0) -> dict:
        generator = torch.Generator().manual_seed(seed)
        words = torch.randperm(30, generator=generator)[: 2 * texts].view(texts, 2) + 5
        owner = torch.arange(samples) % texts
        return {
            "pixel_values": torch.randn(samples, frames, views, 3, 16, 16, generator=generator),
            "input_ids": torch.cat([torch.full((texts, 1), BOS), words, torch.full((texts, 1), EOS)], dim=1),
            "text_targets": torch.nn.functional.one_hot(owner, texts).bool(),
        }

    return build
