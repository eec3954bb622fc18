"""Weights and what belongs to them, shared out between processes: FSDP and DeepSpeed, for CLIPs that do not fit otherwise.

In: a model that a configuration of `accelerate_configs/` is to shard. Out: one that can be, and whole tensors of its shards. FSDP
cuts every weight, its gradient, its optimizer's state and its moving average into as many pieces as there are processes;
DeepSpeed's ZeRO 2 cuts gradients and the optimizer's state. A whole copy scores and exports, as what is asked of a finished model
is more than the one forward that FSDP gathers weights for.
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


def is_sharded(accelerator: Accelerator) -> bool:
    """Whether processes share out the weights, or what belongs to these."""
    return accelerator.distributed_type in (DistributedType.FSDP, DistributedType.DEEPSPEED)


def check_sharding(config: TrainConfig, accelerator: Accelerator) -> None:
    """Refuse what is not trained in shards.

    Raises:
        ValueError: with the remedy.
    """
    if not is_sharded(accelerator):
        return
    kind = accelerator.distributed_type
    if kind == DistributedType.FSDP and not accelerator.is_fsdp2:
        raise ValueError("FSDP of version 1: set fsdp_version: 2, as accelerate_configs/fsdp2.yaml does")
    if kind == DistributedType.DEEPSPEED and accelerator.state.deepspeed_plugin.zero_stage > 2:
        raise ValueError(
            "ZeRO 3 of DeepSpeed: FSDP does the same; launch with --config_file accelerate_configs/fsdp2.yaml"
        )
    refused = {
        "a small model: Muon steps whole matrices": config.model == "small",
        "--stage finetune": config.stage == "finetune",
        "--supervision pseudo: the teacher is a whole model": config.supervision == "pseudo",
        "--tower_batch": bool(config.tower_batch),
    }
    for what, asked in refused.items():
        if asked:
            raise ValueError(f"{kind.value} does not go with {what}; launch with --config_file {CONFIG} instead")


def tell_deepspeed(config: TrainConfig, accelerator: Accelerator) -> None:
    """The recipe's numbers, which DeepSpeed wants in its own configuration and accelerate knows of loaders of its own alone."""
    if plugin := accelerator.state.deepspeed_plugin:
        plugin.deepspeed_config |= {
            "train_micro_batch_size_per_gpu": config.batch_size,
            "gradient_accumulation_steps": config.gradient_accumulation,
            "gradient_clipping": config.clip_norm,
        }


def ready_to_shard(model: nn.Module) -> nn.Module:
    """Make of a model one that `fully_shard` takes, in place; returns a whole copy, as it was.

    A weight without axes has nothing to be cut along, so it gets one: `()` to `(1,)`.
    """
    whole = copy.deepcopy(model)
    for module in model.modules():
        for name, weight in list(module.named_parameters(recurse=False)):
            if weight.ndim == 0:
                setattr(module, name, nn.Parameter(weight.detach().reshape(1), requires_grad=weight.requires_grad))
    model.get_input_embeddings = lambda: None  # which accelerate would shard by themselves; CLIP has two towers
    return whole


def whole_tensors(weights: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of which every rank may have a shard, whole and in the shapes of `like`. All ranks ask."""
    return {name: _whole(value).reshape(like[name].shape) for name, value in weights.items()}


def _whole(value: Tensor) -> Tensor:
    return value.full_tensor().cpu() if isinstance(value, DTensor) else value


@torch.no_grad()
def assign(target: Tensor, value: Tensor) -> None:
    """Write a whole tensor into one of which this rank may have a shard. All ranks do."""
    if isinstance(target, DTensor):
        value = value.to(target.device).reshape(target.shape)
        target.copy_(distribute_tensor(value, target.device_mesh, target.placements))
    else:
        target.copy_(value)
