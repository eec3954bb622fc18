"""A person's own baseline: features relative to what is usual for whom a scan shows.

In: features of views, and the mean features of further scans of the same person, or of the same scanner. Out: the features with
that mean moved to where training has it. What a face looks like at rest, and what a scanner makes of any face, is the same in
both, so it goes; what the face does stays. Without a baseline nothing changes.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .distributed_mvfer import all_reduce_sum

LOG_PRIOR_COUNT = -0.7  # at first the training mean is worth half a scan
NO_BASELINE = (
    "this model has not learnt to see scans relative to a baseline; leave the baseline out, or train one with: "
    "train.py --baseline 0.5"
)


class Baseline(NamedTuple):
    """What is usual for `B` samples; of one, for all samples alike.

    mean (`(B, D)`): mean of `MVFERImageOutput.scan_means` of their own scans.
    count (`(B,)`): how many scans that is the mean of; 0 where none are known, whose features stay as they are.
    at_rest (`(B,)`, bool): whether all of these scans are known to show the face at rest.
    """

    mean: Tensor
    count: Tensor
    at_rest: Tensor

    @classmethod
    def of(cls, scan_means: Tensor, *, at_rest: bool = False) -> Baseline:
        """One person's, from `(n, D)` means of their scans, n >= 1.

        Raises:
            ValueError: if there is no scan.
        """
        if scan_means.ndim != 2 or not len(scan_means):
            raise ValueError(f"a baseline needs means (n, D) of at least one scan, got {tuple(scan_means.shape)}")
        device = scan_means.device
        count, rest = torch.tensor([float(len(scan_means))]), torch.tensor([at_rest])
        return cls(scan_means.mean(0, keepdim=True), count.to(device), rest.to(device))

    @classmethod
    def within(cls, scan_means: Tensor, weights: Tensor, at_rest: Tensor) -> Baseline:
        """Of every sample of a batch, from other samples of it.

        Args:
            scan_means (`(B, D)`), at_rest (`(B,)`, bool).
            weights (`(B, B)`): row i is 1 where a scan belongs to the baseline of sample i, else 0.
        """
        count = weights.sum(dim=1)
        return cls(weights.to(scan_means) @ scan_means / count.clamp_min(1).unsqueeze(1).to(scan_means), count, at_rest)


class RelativeFeatures(nn.Module):
    """f' = f - n / (n + n0) * (b - m): a baseline b, the mean of n scans, counts against the mean m of all training scans.

    n0, how many scans the training mean is worth, is learnt; so one scan, which is noisy, moves less than many. Scans at rest
    have an n0 and an m of their own: the mean of all training scans at rest.

    Args:
        width (`int`): D of the features. momentum (`float`, defaults to 0.1): share of the newest batch in the running means.
    Source:
        Norm-referenced encoding, arXiv:2304.02309; the shrinkage is the empirical Bayes estimate of a person's mean
        (Efron & Morris 1973). Differs: in feature space, and the scans need not be at rest.
    """

    def __init__(self, width: int, *, momentum: float = 0.1):
        super().__init__()
        self.momentum = momentum
        self.log_prior_count = nn.Parameter(torch.full((2,), LOG_PRIOR_COUNT))  # of any scans, of scans at rest
        self.register_buffer("training_means", torch.zeros(2, width))  # of any scans, of scans at rest
        self.register_buffer("batches_seen", torch.zeros(2))

    def forward(self, features: Tensor, mask: Tensor, baseline: Baseline) -> Tensor:
        """Move the features of views.

        Args:
            features (`torch.Tensor` of shape `(B, T, V, D)`), mask (`(B, T, V)`, bool): zeros where absent stay zeros.
        Returns:
            `(B, T, V, D)`, of the features' dtype.
        """
        kind = baseline.at_rest.long()
        count = baseline.count.to(self.training_means)
        share = count / (count + self.log_prior_count.exp()[kind])  # (B,)
        moved = share.unsqueeze(1) * (baseline.mean.to(self.training_means) - self.training_means[kind])  # (B, D)
        return features - (moved[:, None, None] * mask.unsqueeze(-1)).to(features.dtype)

    @torch.no_grad()
    def on_scanner(self, own: Baseline, scanner: Baseline) -> Baseline:
        """Baselines of people, some of whose own scans are known (or none), on a scanner of which other people's are.

        What own scans leave open is then expected to be as other people's scans on the scanner are, not as those of training:
        f' = f - s (b - m) - (1 - s) s' (c - m'), where s = n / (n + n0), c is the mean of the n' scans of others, and s' and m'
        are as for any scans. Given is the baseline of `own.count` that moves features so far.

        Args:
            own, scanner: of the same `B` samples, or scanner of one, for all.
        """
        n0, m = self.log_prior_count.exp(), self.training_means
        own, scanner = (Baseline(*(part.to(m.device) for part in parts)) for parts in (own, scanner))
        weight = scanner.count / (scanner.count + n0[0]) * n0[own.at_rest.long()]  # s' times (1 - s) / s, times n
        others = (weight / own.count.clamp_min(1)).unsqueeze(1) * (scanner.mean.to(m) - m[0])
        known = own.count > 0
        return Baseline(
            torch.where(known.unsqueeze(1), own.mean.to(m) + others, scanner.mean.to(m)),
            torch.where(known, own.count, scanner.count),
            own.at_rest & known,
        )

    @torch.no_grad()
    def observe(self, scan_means: Tensor, at_rest: Tensor) -> None:
        """Take a batch of all ranks into the running means: `(B, D)`, and which of them are at rest, `(B,)`."""
        rows = scan_means.detach().to(self.training_means)
        kinds = torch.stack([torch.ones_like(at_rest), at_rest]).to(rows)  # (2, B)
        count = all_reduce_sum(kinds.sum(dim=1))
        mean = all_reduce_sum(kinds @ rows) / count.clamp_min(1).unsqueeze(1)
        self.batches_seen += count > 0
        share = (1 / self.batches_seen.clamp_min(1)).clamp_min(self.momentum) * (count > 0)
        self.training_means.lerp_(mean, share.unsqueeze(1))


class RunningBaseline:
    """A film's own baseline: the median of its frames' means, one frame kept per second, of the last ten minutes.

    A median forgets blinks and short expressions, and one that is held as long as it is held for less than half of that time.

    Source:
        The running median of Baltrusaitis et al. 2018, "OpenFace 2.0", there of action units.
    """

    def __init__(self, *, every_s: float = 1.0, frames: int = 600):
        self.every_s = every_s
        self._times_s: deque[float] = deque(maxlen=frames)
        self._means: deque[Tensor] = deque(maxlen=frames)
        self._found: Baseline | None = None

    def observe(self, scan_mean: Tensor, time_s: float) -> Baseline:
        """Take a frame's mean `(D,)`, unless one of the same second is kept; the baseline that the kept frames give."""
        if not self._times_s or time_s - self._times_s[-1] >= self.every_s:
            self._times_s.append(time_s)
            self._means.append(scan_mean)
            self._found = None
        if self._found is None:
            means = torch.stack(list(self._means))
            self._found = Baseline.of(means)._replace(mean=means.median(dim=0, keepdim=True).values)
        return self._found


def scan_means(view_features: Tensor, view_mask: Tensor) -> Tensor:
    """The mean of all views and frames that a sample has: `(B, T, V, D)` and `(B, T, V)` to `(B, D)`, in 32 bits at least."""
    precise = view_features.to(torch.promote_types(view_features.dtype, torch.float32))
    weights = view_mask.to(precise).unsqueeze(-1)
    return (precise * weights).sum(dim=(1, 2)) / weights.sum(dim=(1, 2)).clamp_min(1)
