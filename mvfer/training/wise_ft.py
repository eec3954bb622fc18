"""WiSE-FT: the straight line between the weights before and after fine-tuning.

In: two state dicts of one model. Out: their mixture. What is gained on the labelled data is often kept, and what the zero-shot
model knew of other data is lost less, somewhere between the two.
"""

from collections.abc import Callable, Mapping

from torch import Tensor

ALPHAS = tuple(step / 10 for step in range(11))


def interpolate(start: Mapping[str, Tensor], tuned: Mapping[str, Tensor], alpha: float) -> dict[str, Tensor]:
    """`(1 - alpha) * start + alpha * tuned`, tensor by tensor; counters, which are whole numbers, are the tuned ones.

    Raises:
        ValueError: if the two have different names, or alpha is not in 0..1.
    Source:
        Wortsman et al. 2022, "Robust fine-tuning of zero-shot models", eq. 1, arXiv:2109.01903.
    """
    if start.keys() != tuned.keys() or not 0 <= alpha <= 1:
        different = sorted(start.keys() ^ tuned.keys())
        raise ValueError(f"expected one model's weights and alpha in 0..1, got alpha {alpha}; not in both: {different}")
    return {
        name: start[name].to(value.device).lerp(value, alpha) if value.is_floating_point() else value.clone()
        for name, value in tuned.items()
    }


def choose_alpha(
    model, start: Mapping[str, Tensor], tuned: Mapping[str, Tensor], score: Callable[..., float]
) -> tuple[float, dict[str, float]]:
    """Try `ALPHAS`; the model is left with the weights of the best, of equal ones the smallest, which is nearest the start.

    Args:
        model: whose weights they are.
        score: the model's validation score.
    Returns:
        the chosen alpha, and the score of every alpha by its name ("0.3").
    """
    scores = {}
    for alpha in ALPHAS:
        model.load_state_dict(interpolate(start, tuned, alpha))
        scores[f"{alpha:g}"] = score(model)
    best = max(ALPHAS, key=lambda alpha: scores[f"{alpha:g}"])
    model.load_state_dict(interpolate(start, tuned, best))
    return best, scores
