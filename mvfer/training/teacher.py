"""The teacher of label-free training: it sees all views of unlabelled scans and says which prompts they fit, softly.

In: a batch without texts. Out: the student's batch: some of the views, the prompts of the bank, and each scan's shares of them,
balanced over the batch of all ranks; and numbers that tell a collapse.
The teacher is the moving average of the student, the same that is evaluated and kept, so it adds no state of its own but its
temperature. It must start from a model that knows texts: what it cannot tell apart at the start, it cannot teach.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from modeling_mvfer import MVFERModel
from modeling_mvfer.distributed_mvfer import all_reduce_sum, max_over_ranks
from mvfer.training.config import TrainConfig
from processing.prompts_mvfer import prompts_for


def prompt_bank(expressions: list[str]) -> list[str]:
    """The distinct prompts of these expressions: each variant of their facial actions once, in its canonical wording."""
    prompts = prompts_for(expressions, kinds=["actions"], wordings=1)
    return list(dict.fromkeys(prompt for variants in prompts.values() for prompt in variants))


class Assigned(NamedTuple):
    """What a teacher said of a batch, for the log."""

    image_embeds: torch.Tensor  # (B, D), unit length
    logits: torch.Tensor  # (B, K)
    is_sure: torch.Tensor  # (B, 1)


class Teacher:
    """Assigns the scans of a batch to prompts.

    Args:
        student (`MVFERModel`): as it starts; its scale of the cosines stays the teacher's temperature, so that the
            assignments cannot sharpen themselves.
        weights (`dict`): the moving average's tensors; the teacher's model shares them, and moves with them.
        tokenizer: the model's.
        config (`TrainConfig`): the recipe: `prompt_bank`; `confidence`, below which a scan's largest share teaches nothing;
            `view_dropout`, the chance that the student does not see a view (one always stays); `batch_size` and `seed`.
    Raises:
        ValueError: if a global batch has fewer scans than there are prompts.
    Source:
        Assignments as in SwAV (arXiv:2006.09882), a weight-averaged teacher as in Tarvainen & Valpola 2017 (arXiv:1703.01780),
        the threshold as in FixMatch (arXiv:2001.07685). Prompts as pseudo-labels of multi-view faces are MultiviewVLM's idea
        (arXiv:2505.09336); how they are assigned there could not be read in full, this way is ours.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        student: MVFERModel,
        weights: dict[str, torch.Tensor],
        tokenizer,
        config: TrainConfig,
    ):
        bank, world = prompt_bank(config.prompt_bank), accelerator.num_processes
        if config.batch_size * world < len(bank):
            raise ValueError(
                f"{len(bank)} prompts cannot share {config.batch_size} x {world} scans; pass a larger --batch_size, "
                "or fewer expressions in --prompt_bank"
            )
        self.accelerator, self.config = accelerator, config
        self.model = MVFERModel(student.config).to(accelerator.device).eval().requires_grad_(False)
        self.model.load_state_dict(weights, assign=True)
        tokens = tokenizer(bank, padding=True, truncation=True, return_tensors="pt").to(accelerator.device)
        self.prompts = {name: tokens[name] for name in ("input_ids", "attention_mask")}
        self.scale = float(student.logit_scale.detach().exp())
        self.batches, self.first_rank = 0, 0.0

    @torch.no_grad()
    def __call__(self, batch: dict[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], Assigned]:
        """Turn a batch of views into the student's: `text_assignments (B, K)` and fewer views in `view_mask`."""
        with self.accelerator.autocast():
            images = self.model.get_image_features(**batch, return_dict=True).pooler_output
            prompts = self.model.get_text_features(**self.prompts, return_dict=True).pooler_output
        images, prompts = (torch.nn.functional.normalize(rows.float(), dim=-1) for rows in (images, prompts))
        logits = self.scale * images @ prompts.T
        shares = balanced_assignments(logits)
        is_sure = shares.amax(dim=1, keepdim=True) >= self.config.confidence
        student = batch | self.prompts | {"text_assignments": (shares * is_sure).float()}
        student["view_mask"] = self._leave_out(batch["view_mask"])
        self.batches += 1
        return student, Assigned(images, logits, is_sure)

    def metrics(self, assigned: Assigned) -> dict[str, float]:
        """The share of scans that taught, the effective number of prompts that the teacher would use if nothing balanced it,
        and the effective rank of its embeddings. Signs of collapse are printed. All ranks must ask."""
        found = {
            "pseudo_confident": float(global_mean(assigned.is_sure.float())),
            "pseudo_prompts_used": effective_number(global_mean(assigned.logits.double().softmax(dim=1))),
            "embedding_rank": effective_rank(assigned.image_embeds),
        }
        self.first_rank = self.first_rank or found["embedding_rank"]
        for sign in collapse_signs(found, first_rank=self.first_rank):
            self.accelerator.print(f"\nwarning: {sign}")
        return found

    def _leave_out(self, mask: torch.Tensor) -> torch.Tensor:
        """Drop views of `(B, V)` or `(B, T, V)`, in all frames alike; the draw does not depend on the number of ranks."""
        present = (mask.any(dim=1) if mask.ndim == 3 else mask).cpu()  # (B, V)
        rank, world, (size, views) = self.accelerator.process_index, self.accelerator.num_processes, present.shape
        draws = np.random.default_rng((self.config.seed, self.batches)).random((world * size, views))
        draws = torch.from_numpy(draws[rank * size : (rank + 1) * size]).masked_fill(~present, -1)
        kept = (draws >= self.config.view_dropout) | (draws == draws.amax(dim=1, keepdim=True))
        kept = (kept & present).to(mask.device)
        return mask & (kept.unsqueeze(1) if mask.ndim == 3 else kept)

    def state_dict(self) -> dict:
        return {"scale": self.scale, "batches": self.batches, "first_rank": self.first_rank}

    def load_state_dict(self, state: dict) -> None:
        self.scale, self.batches, self.first_rank = state["scale"], state["batches"], state["first_rank"]


def collapse_signs(found: dict[str, float], *, first_rank: float) -> list[str]:
    """What is wrong with what the teacher found, in words and with a remedy; nothing if all is well."""
    signs = []
    if found["pseudo_prompts_used"] < 2:
        signs.append(
            "assignments have collapsed: the teacher would give nearly all scans the same prompt; "
            "lower --learning_rate, or start from a model that tells these faces apart"
        )
    if found["embedding_rank"] < max(2, first_rank / 4):
        signs.append(
            f"embeddings have collapsed: they fill {found['embedding_rank']:.1f} dimensions, {first_rank:.1f} at first; "
            "lower --learning_rate, or raise --cross_view_weight"
        )
    if found["pseudo_confident"] == 0:
        signs.append("no scan is assigned with confidence, so none teaches; lower --confidence")
    return signs


@torch.no_grad()
def balanced_assignments(logits: Tensor, *, iterations: int = 3) -> Tensor:
    """Share every scan out to the prompts so that all prompts get about the same over the global batch.

    Args:
        logits (`torch.Tensor` of shape `(B, K)`): similarities divided by a temperature; this rank's rows.
        iterations (`int`, defaults to 3): of Sinkhorn and Knopp's normalisation.
    Returns:
        `torch.Tensor` of shape `(B, K)`, float64: every row sums to 1.
    Source:
        Caron et al. 2020, "SwAV", eq. 3 to 5 and Alg. 1, arXiv:2006.09882. Differs: 64 bits, and the largest logit is
        taken away first, so that nothing overflows.
    """
    largest = max_over_ranks(math.ceil(logits.max()), logits.device)
    shares = (logits.double() - largest).exp()
    for _ in range(iterations):
        shares = shares / all_reduce_sum(shares.sum(dim=0))  # every prompt the same
        shares = shares / shares.sum(dim=1, keepdim=True)  # every scan the same
    return shares


def effective_number(weights: Tensor) -> float:
    """How many of the entries count: exp of the entropy of `(K,)` weights >= 0; K if they are equal, 1 if one has it all."""
    shares = weights / weights.sum().clamp_min(torch.finfo(weights.dtype).tiny)
    return float(torch.special.entr(shares).sum().exp())


@torch.no_grad()
def effective_rank(embeds: Tensor) -> float:
    """How many dimensions the embeddings `(B, D)`, of this rank alone, fill.

    Source:
        Garrido et al. 2023, "RankMe", eq. 1, arXiv:2210.02885: exp of the entropy of the singular values. Differs: of the
        centred embeddings, as faces share one large mean.
    """
    return effective_number(torch.linalg.svdvals(embeds.double() - embeds.double().mean(dim=0)))


def global_mean(rows: Tensor) -> Tensor:
    """Mean `(K,)` over the rows `(B, K)` of all ranks."""
    count = all_reduce_sum(torch.tensor(float(len(rows)), device=rows.device, dtype=rows.dtype))
    return all_reduce_sum(rows.sum(dim=0)) / count
