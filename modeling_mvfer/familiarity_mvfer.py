"""Whether a scan is like those that the model was calibrated on: other heads and scanners lie elsewhere in feature space.

In: features as the model makes them, not of unit length. Out: a distance per scan. Training leaves most directions of feature
space nearly empty; there, heads of another kind stand out, whatever their expression. So only these directions are looked at,
and no class.
"""

import base64
from collections.abc import Sequence

import torch
from torch import Tensor

from .configuration_mvfer import Familiarity

DIRECTIONS = 32
# of the features' length: below this standard deviation, differences are noise of rendering and arithmetic
FLOOR = 1e-3


def fit_familiarity(features: Tensor, *, directions: int = DIRECTIONS) -> Familiarity:
    """What features of known scans have in common: the directions of least variance. No threshold is known yet.

    Args:
        features (`torch.Tensor` of shape `(n, D)`): `pooler_output` of scans, n > 1.
        directions (`int`, defaults to 32): how many, at most D.
    Raises:
        ValueError: if there are fewer than two scans.
    Source:
        The minor components of Mahalanobis' distance, as in Kamoi & Kobayashi 2020, "Why is the Mahalanobis Distance
        Effective for Anomaly Detection?", arXiv:2003.00402. Differs: no classes, a floor under the variances, and distances
        are relative to those of known scans with features of the same length.
    """
    if features.ndim != 2 or len(features) < 2:
        raise ValueError(f"expected features (n, D) of at least two scans, got {tuple(features.shape)}")
    features = features.double()
    mean = features.mean(0)
    variances, axes = torch.linalg.eigh((features - mean).T.cov())  # rising
    floor = (FLOOR * features.norm(dim=-1).mean()).square()
    scaled = (axes / (variances.clamp_min(0) + floor).sqrt()).T[:directions].half()
    centre = scaled.double() @ mean
    squares = (features @ scaled.double().T - centre).square().mean(-1)
    return Familiarity(
        directions=base64.b64encode(scaled.numpy().tobytes()).decode("ascii"),
        centre=[round(value, 6) for value in centre.tolist()],
        spread=_line(features.square().sum(-1), squares),
    )


def distances(features: Tensor, familiarity: Familiarity) -> Tensor:
    """How far scans are from the known ones: about 1 for these.

    Args:
        features (`torch.Tensor` of shape `(B, D)`): `pooler_output`.
    Returns:
        `torch.Tensor` of shape `(B,)`: root mean square over the directions, relative to known scans of the same length.
    Raises:
        ValueError: if the directions are of another width.
    """
    centre = torch.tensor(familiarity.centre, device=features.device)
    flat = torch.frombuffer(bytearray(base64.b64decode(familiarity.directions)), dtype=torch.float16)
    if flat.numel() != len(centre) * features.shape[-1]:
        raise ValueError(
            f"calibration.familiarity was found for features of {flat.numel() / max(len(centre), 1):g} dimensions, these have "
            f"{features.shape[-1]}; calibrate the model again"
        )
    directions = flat.view(len(centre), -1).to(features.device, torch.float32)
    features, (offset, slope) = features.float(), familiarity.spread
    expected = offset + slope * features.square().sum(-1)
    return ((features @ directions.T - centre).square().mean(-1) / expected.clamp_min(1e-12)).sqrt()


def _line(x: Tensor, y: Tensor) -> list[float]:
    """Offset and slope of the line nearest to the points `(n,)`, neither below 0."""
    slope = ((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum().clamp_min(1e-12)
    offset = y.mean() - slope * x.mean()
    if slope < 0:
        slope, offset = torch.zeros_like(slope), y.mean()
    elif offset < 0:
        slope, offset = (x * y).sum() / x.square().sum(), torch.zeros_like(offset)
    return [float(f"{value:.6g}") for value in (offset.item(), slope.item())]


def unlike(features: Tensor, familiarity: Familiarity | None) -> list[bool | None]:
    """Of each of `B` scans, whether it is unlike the known ones; `None` where no threshold is known."""
    if familiarity is None or familiarity.unlike_above is None:
        return [None] * len(features)
    return (distances(features, familiarity) > familiarity.unlike_above).tolist()


def reason(labels: Sequence[str], probabilities: Sequence[float]) -> str:
    """Why a scan that could be either of two things is left to people: `K` labels and what is said of them."""
    ranked = sorted(zip(probabilities, labels, strict=True), key=lambda pair: -pair[0])
    return f"unsure between {ranked[0][1]} and {ranked[1][1]}" if len(ranked) > 1 else f"unsure of {ranked[0][1]}"
