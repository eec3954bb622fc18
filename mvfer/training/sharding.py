"""Weights that no process holds whole: FSDP, for CLIPs that do not fit otherwise.

In: a model that `accelerate launch --config_file accelerate_configs/fsdp2.yaml` is to shard. Out: one that can be, and whole
tensors of its shards. Every weight, with its gradient, its optimizer's state and its moving average, is cut into as many pieces as
there are processes. A whole copy scores and exports: what is asked of a finished model is more than the one forward that FSDP
gathers weights for.
"""

import copy
from collections.abc import Mapping

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from mvfer.training.config import TrainConfig

CONFIG = "accelerate_configs/ddp_bf16.yaml"


def check_sharding(config: TrainConfig, accelerator: Accelerator) -> None:
    """Refuse what is not trained in shards.

    Raises:
        ValueError: with the remedy.
    """
    kind = accelerator.distributed_type
    if kind not in (DistributedType.FSDP, DistributedType.DEEPSPEED):
        return
    if kind == DistributedType.FSDP and not accelerator.is_fsdp2:
        raise ValueError("FSDP of version 1: set fsdp_version: 2, as accelerate_configs/fsdp2.yaml does")
    refused = {
        "a small model: Muon steps whole matrices": config.model == "small",
        "--stage finetune": config.stage == "finetune",
        "--supervision pseudo: the teacher is a whole model": config.supervision == "pseudo",
        "--tower_batch": bool(config.tower_batch),
    }
    for what, asked in refused.items():
        if asked:
            raise ValueError(f"{kind.value} does not go with {what}; launch with --config_file {CONFIG} instead")


def ready_to_shard(model: nn.Module) -> nn.Module:
    """Make of a model one that `fully_shard` takes, in place; returns a whole copy, as it was.

    A weight without axes has nothing to be cut along, so it gets one: `()` to `(1,)`. Embeddings of words stay where they are used.
    """
    whole = copy.deepcopy(model)
    for module in model.modules():
        for name, weight in list(module.named_parameters(recurse=False)):
            if weight.ndim == 0:
                setattr(module, name, nn.Parameter(weight.detach().reshape(1), requires_grad=weight.requires_grad))
    model.get_input_embeddings = lambda: None  # type: ignore[method-assign]  # accelerate would shard them by themselves
    return whole


def whole_tensors(weights: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of which every rank may have a shard, whole and in the shapes of `like`. All ranks ask."""
    return {name: _whole(value).reshape(like[name].shape) for name, value in weights.items()}


def _whole(value: Tensor) -> Tensor:
    return value.full_tensor() if isinstance(value, DTensor) else value


@torch.no_grad()
def assign(target: Tensor, value: Tensor) -> None:
    """Write a whole tensor into one of which this rank may have a shard. All ranks do."""
    if isinstance(target, DTensor):
        value = value.to(target.device).reshape(target.shape)
        target.copy_(distribute_tensor(value, target.device_mesh, target.placements))
    else:
        target.copy_(value)
