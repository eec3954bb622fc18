"""Fewer views where fewer suffice: start at the front, and add views until the model is sure.

In: a classifier and a batch of views. Out: logits, and how many views each sample took. Sure means that the
entropy of the probabilities, as a share of the largest possible one, is below a threshold; `mvfer.studies.adaptive_views`
chooses the threshold on validation subjects, at the temperature of the pipelines. A view goes through the tower once at most;
only the fusion, which costs next to nothing, is computed again for every further view.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize


@dataclass
class AdaptiveOutput:
    """logits (`(B, K)`): divided by the temperature. image_embeds (`(B, D)`): unit length. views_used (`(B,)`): how many."""

    logits: Tensor
    image_embeds: Tensor
    views_used: Tensor


class ViewStages:
    """A batch whose views are read one at a time, the one nearest to the front first; absent views are passed over.

    Args:
        model (`MVFERModel` or `MVFERForFaceClassification`, in evaluation mode).
        batch (mapping): what `get_image_features` takes.
    Attributes:
        num_views (`(B,)`): how many views each sample has.
    """

    def __init__(self, model, batch: Mapping[str, Tensor]):
        names = ("pixel_values", "view_mask", "view_angles_deg", "frame_mask", "frame_times_s")
        self.model = model
        self.pixels, self.mask, self.angles, self.times = model._check_views(*[batch.get(name) for name in names])
        present = self.mask.any(dim=1)  # (B, V)
        distance = self.angles.norm(dim=-1).masked_fill(~present, math.inf)
        self.order, self.num_views = distance.argsort(dim=1, stable=True), present.sum(dim=1)
        self.seen = torch.zeros_like(self.mask)
        self.features: Tensor | None = None

    @torch.no_grad()
    def advance(self, stage: int, rows: Tensor) -> Tensor:
        """Read the view number `stage` (from 0) of some samples, which have read those before it.

        Args:
            rows (`(n,)` integers): samples that have more than `stage` views.
        Returns:
            `torch.Tensor` of shape `(n, D)`: their embedding from all views read so far, unit length.
        """
        view = self.order[rows, stage]
        mask = self.mask[rows, :, view]  # (n, T)
        found = self.model.get_image_features(
            self.pixels[rows, :, view].unsqueeze(2), view_mask=mask.unsqueeze(2), frame_times_s=self.times[rows]
        ).view_features[:, :, 0]  # (n, T, D)
        if self.features is None:
            self.features = found.new_zeros(*self.mask.shape, found.shape[-1])
        self.features[rows, :, view] = found
        self.seen[rows, :, view] = mask
        read = (self.features[rows], self.seen[rows], self.angles[rows], self.times[rows])
        return normalize(self.model.fuse_views(*read).pooler_output.float(), dim=-1)


@torch.no_grad()
def adaptive_logits(classifier, batch: Mapping[str, Tensor], *, threshold: float) -> AdaptiveOutput:
    """Classify with as few views as the model needs to be sure.

    Args:
        classifier ([`Classifier`]): with the model and the temperature.
        batch (mapping): what `get_image_features` takes.
        threshold (`float` in 0..1): no further view is read once the entropy is at most this; 0 reads all views.
    Returns:
        [`AdaptiveOutput`]
    Raises:
        ValueError: if the threshold is out of range, or the batch does not fit the model.
    """
    check_adaptive(threshold)
    stages = ViewStages(classifier.model, batch)
    used = torch.zeros_like(stages.num_views)
    rows = torch.arange(len(used), device=used.device)  # those that are not sure yet
    for stage in range(int(stages.num_views.max())):
        rows = rows[stages.num_views[rows] > stage]
        if not len(rows):
            break
        found = stages.advance(stage, rows)
        tempered = classifier.tempered(found)
        if stage == 0:  # every sample has a first view
            logits, embeds = tempered.clone(), found.clone()
        logits[rows], embeds[rows], used[rows] = tempered, found, stage + 1
        rows = rows[share_of_entropy(tempered) > threshold]
    return AdaptiveOutput(logits, embeds, used)


def share_of_entropy(logits: Tensor) -> Tensor:
    """Entropy of the softmax as a share of the largest possible one, log K: `(..., K)` to `(...)`, 0 sure to 1 clueless."""
    log_probabilities = logits.log_softmax(dim=-1)
    entropy = -(log_probabilities.exp() * log_probabilities).sum(dim=-1)
    return entropy / max(math.log(logits.shape[-1]), 1e-9)


def check_adaptive(adaptive_views: float | None = None, temperature: float | None = None) -> None:
    """Raise a ValueError if the threshold is not in 0..1 or the temperature is not positive."""
    if adaptive_views is not None and (isinstance(adaptive_views, bool) or not 0 <= adaptive_views <= 1):
        raise ValueError(f"adaptive_views is a share of the largest entropy, 0 to 1, got {adaptive_views!r}")
    if temperature is not None and not 0 < temperature < math.inf:
        raise ValueError(f"temperature must be positive, got {temperature!r}")
