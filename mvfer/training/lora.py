"""Low-rank adapters through `peft`, an optional library. In: a classifier. Out: the same, with little of it left to train.

Hu et al. 2021, "LoRA", arXiv:2106.09685. The adapters lie on every linear layer of the vision tower and start at zero; the
head is trained as it is. Once merged, nothing of `peft` is left in the model.
"""

try:
    import peft
except ImportError:
    peft = None  # type: ignore[assignment]  # stands for its absence

LINEAR_LAYERS = r"vision_model\..*\.(q_proj|k_proj|v_proj|out_proj|fc1|fc2)|visual_projection"


def add_adapters(classifier, *, rank: int):
    """Freeze a classifier but for its head, and add adapters of this rank.

    Returns:
        `peft.PeftModel`: its `merge_and_unload()` gives the classifier back, adapters merged.
    Raises:
        ValueError: if peft is not installed.
    """
    if peft is None:
        raise ValueError("--method lora needs peft; install it: pip install 'mvfer[lora]' (or pip install peft)")
    settings = peft.LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=LINEAR_LAYERS)
    adapted = peft.get_peft_model(classifier, settings)
    classifier.head.requires_grad_(True)
    return adapted
