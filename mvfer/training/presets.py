"""Starting points of training: recipes of SMILE-VLM's relatives (`train.py --preset`), and a model to train from scratch.

In: the name of a preset, or a tokenizer's size and ids. Out: settings of `train.py`, or an `MVFERConfig`. Whatever else is given
on the command line wins over a preset, and `train_config.json` holds what came of it. Each preset has the terms that its paper
names and no other, so the phrase term, which is ours, is off. The papers of M. Behzad could not be read in full: which terms
belong to them is known from their abstracts and public summaries, the weights are ours.
"""

import math
from dataclasses import asdict

from modeling_mvfer import MVFERConfig
from modeling_mvfer.objective_config_mvfer import ObjectiveConfig

# A student that sees fewer views than its teacher, which sees them whole; there are no captions, so no phrases either.
PSEUDO = {"view_dropout": 0.5, "occlusion": 0.0, "phrase_weight": 0.0}


def _preset(objective: dict, **settings) -> dict:
    """Flat settings of train.py: the vision-language contrast that all of them share, and what this one changes."""
    return asdict(ObjectiveConfig(**{"phrase_weight": 0.0, "cross_view_weight": 0.0} | objective)) | settings


PRESETS: dict[str, dict] = {
    # Cross-view decorrelation, vision-language contrast, cross-modal redundancy. arXiv:2506.01203
    "smile": _preset({"cross_view_weight": 0.5, "cross_modal_weight": 0.05}, fusion="attention"),
    # Views of one expression together, of others apart: margin contrast and triplets, one learnt margin. arXiv:2504.19739
    "affectvlm": _preset({"margin_contrast_weight": 0.5, "triplet_weight": 0.5}, fusion="mean"),
    # No captions: prompts that a teacher assigns, and views of scans with the same prompt together. arXiv:2505.09336
    "multiviewvlm": _preset({"margin_contrast_weight": 0.5}, **PSEUDO, supervision="pseudo", fusion="mean"),
    # Fusion that looks at prompts, views that agree. arXiv:2507.01673
    "facetvlm": _preset({"consistency_weight": 0.5}, fusion="text"),
    # View pooling by the maximum, one loss on what comes of it. arXiv:1505.00880 (there with labels, here with captions)
    "mvcnn": _preset({"view_contrastive_weight": 0.0}, fusion="max"),
    # Every view is an image of its own; several are averaged only in use. arXiv:2103.00020
    "clip": _preset({"contrastive_weight": 0.0}, fusion="mean"),
}


def small_config(
    vocab_size: int = 512,
    *,
    image_size: int = 64,
    bos_token_id: int = 0,
    eos_token_id: int = 1,
    pad_token_id: int = 2,
    max_text_length: int = 64,
    logit_scale_init: float = math.log(1 / 0.07),
    **kwargs,
) -> MVFERConfig:
    """A model to train from scratch on a CPU: about 2.3 million parameters, 16 tokens per 64-pixel view.

    Args:
        vocab_size (`int`): words of the tokenizer.
        image_size (`int`, defaults to 64): side of a view in pixels, a multiple of 16.
        bos_token_id, eos_token_id, pad_token_id (`int`): of the tokenizer. CLIP pools its text at `eos_token_id`,
            and treats the number 2 there in an old, different way; it is refused.
        max_text_length (`int`, defaults to 64): tokens of the longest text.
        logit_scale_init (`float`, defaults to log(1 / 0.07)): initial logarithm of the scale of the logits.
        **kwargs: any other field of [`MVFERConfig`].
    Raises:
        ValueError: if a value does not fit.
    """
    if eos_token_id == 2:
        raise ValueError("eos_token_id 2 has a special meaning in CLIP's text tower; choose another number")
    towers = {"num_hidden_layers": 2, "num_attention_heads": 3, "hidden_act": "relu", "projection_dim": 128}
    vision = {"hidden_size": 192, "intermediate_size": 768, "image_size": image_size, "patch_size": 16}
    text = {
        "vocab_size": vocab_size,
        "hidden_size": 96,
        "intermediate_size": 384,
        "max_position_embeddings": max_text_length,
        "bos_token_id": bos_token_id,
        "eos_token_id": eos_token_id,
        "pad_token_id": pad_token_id,
    }
    settings = {
        "vision_config": towers | vision,
        "text_config": towers | text,
        "projection_dim": 128,
        "logit_scale_init_value": logit_scale_init,
        "vision_stem": "convolution",
        "prompt_kinds": ["actions"],
        **kwargs,
    }
    config = MVFERConfig(**settings)
    config._attn_implementation = config._attn_implementation or "eager"  # for 17 tokens on a CPU the fastest
    return config
