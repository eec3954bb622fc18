"""How many labelled people are needed: accuracy against the number of labelled subjects, and its continuation.

In: frozen embeddings of labelled scans. Out: the accuracies of linear probes fitted on ever more subjects, a power law
through their errors, and how it goes on for more subjects than there are, with intervals.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mvfer.evaluation.probes import fit_linear_probe

EXPONENTS = np.linspace(0.05, 2.0, 79)  # the candidates for c in error = a + b n^-c
MOST_SUBJECTS = 1_000_000


@dataclass(frozen=True)
class LearningCurve:
    """Errors of probes fitted on ever more subjects.

    Attributes:
        sizes (`(P,)` integers): labelled training subjects, rising.
        wrong (`P` arrays `(draws_p, S)`): wrong answers on each of the S test subjects, a row per draw of training subjects.
        scans (`(S,)`): scans of each test subject.
    """

    sizes: np.ndarray
    wrong: list[np.ndarray]
    scans: np.ndarray

    def errors(self) -> np.ndarray:
        """Mean error at every size, `(P,)`."""
        return np.array([wrong.sum(1).mean() for wrong in self.wrong]) / self.scans.sum()


def measure_learning_curve(
    train: tuple[np.ndarray, np.ndarray, Sequence[str]],
    validation: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray, Sequence[str]],
    *,
    sizes: Sequence[int] | None = None,
    draws: int = 6,
    seed: int = 0,
    progress=iter,
) -> LearningCurve:
    """Fit a probe on the scans of n subjects, for several n and several draws of them.

    Args:
        train, test: embeddings `(n, D)`, classes `(n,)` and subjects (`n` strings); rows with a negative class are left out.
        validation: embeddings and classes, on which each probe's regularisation is chosen.
        sizes: numbers of training subjects; default doubling from the fewest that show every class, and all.
        draws (`int`, defaults to 6): random choices of the subjects per size; all of them are one choice.
        progress: wraps the list of fits, such as `tqdm`.
    Raises:
        ValueError: if there are fewer than 8 labelled training subjects, or no labelled test scan.
    """
    embeds, labels, subjects = _labelled(*train)
    test_embeds, test_labels, test_subjects = _labelled(*test)
    people, found = np.unique(subjects), np.unique(test_subjects, return_inverse=True)
    if len(people) < 8 or not len(test_labels):
        raise ValueError(
            f"a learning curve needs 8 labelled training subjects or more and labelled test scans; got {len(people)} "
            f"subjects and {len(test_labels)} scans: label more of them"
        )
    rng = np.random.default_rng(seed)
    sizes = np.array(sorted(set(sizes or _doubling(len(people)))))
    fits = [(p, draw) for p, size in enumerate(sizes) for draw in range(draws if size < len(people) else 1)]
    wrong: list[list[np.ndarray]] = [[] for _ in sizes]
    for p, _ in progress(fits):
        rows = np.isin(subjects, _choose(rng, people, subjects, labels, sizes[p]))
        probe, _ = fit_linear_probe(embeds[rows], labels[rows], *validation)
        missed = probe.predict(test_embeds) != test_labels
        wrong[p].append(np.bincount(found[1], weights=missed, minlength=len(found[0])))
    return LearningCurve(sizes, [np.stack(rows) for rows in wrong], np.bincount(found[1]))


def fit_power_law(sizes: np.ndarray, errors: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Least squares of `error(n) = a + b n^-c` with a, b >= 0, for many curves at once.

    Args:
        sizes (`(P,)`), errors (`(R, P)`): R curves.
    Returns:
        a, b, c, each `(R,)`.
    Source:
        The form is that of Hestness et al. 2017, "Deep Learning Scaling is Predictable, Empirically", eq. 1,
        arXiv:1712.00409. For every c of `EXPONENTS` a and b have a closed form; the best c is taken.
    """
    errors = np.atleast_2d(errors)
    best = np.full(len(errors), np.inf)
    a, b, c = np.zeros((3, len(errors)))
    for exponent in EXPONENTS:
        decay = sizes**-exponent
        centred = decay - decay.mean()
        slope = np.maximum(errors @ centred / (centred @ centred), 0)
        floor = errors.mean(1) - slope * decay.mean()
        below = floor < 0
        slope = np.where(below, np.maximum(errors @ decay / (decay @ decay), 0), slope)
        floor = np.where(below, 0, floor)
        rest = ((floor[:, None] + slope[:, None] * decay - errors) ** 2).sum(1)
        better = rest < best
        best = np.where(better, rest, best)
        a, b, c = (np.where(better, new, old) for new, old in ((floor, a), (slope, b), (exponent, c)))
    return a, b, c


def extrapolate(curve: LearningCurve, sizes: Sequence[int], *, seed: int = 0, resamples: int = 1000) -> list[dict]:
    """The accuracy to expect at each number of subjects: `{"mean", "low", "high"}`, 95 %.

    The interval resamples the test subjects and the draws of training subjects, fits again, and adds the spread of
    single draws around the fit: it is about the accuracy that will be measured on these test subjects.
    """
    a, b, c = _resampled_fits(curve, seed=seed, resamples=resamples)
    spread = _scatter(curve)
    noise = np.random.default_rng(seed + 1).normal(0, spread, len(a) - 1)
    expected = []
    for size in sizes:
        accuracy = 1 - (a + b * float(size) ** -c)
        low, high = np.clip(np.percentile(accuracy[1:] + noise, [2.5, 97.5]), 0, 1)
        expected.append({"mean": float(accuracy[0]), "low": float(low), "high": float(high)})
    return expected


def subjects_needed(curve: LearningCurve, accuracy: float, *, seed: int = 0, resamples: int = 1000) -> dict:
    """How many labelled subjects reach an accuracy: `{"mean", "low", "high"}`; `None` where the law never reaches it."""
    a, b, c = _resampled_fits(curve, seed=seed, resamples=resamples)
    room = (1 - accuracy) - a
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        needed = np.where(room > 0, (b / np.maximum(room, 1e-12)) ** (1 / c), np.inf)
    needed = np.where(needed > MOST_SUBJECTS, np.inf, needed)
    low, high = np.quantile(needed[1:], [0.025, 0.975], method="inverted_cdf")
    values = {"mean": needed[0], "low": low, "high": high}
    return {name: int(np.ceil(value)) if np.isfinite(value) else None for name, value in values.items()}


def _resampled_fits(curve: LearningCurve, *, seed: int, resamples: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The fit to the curve itself, followed by those to resampled ones."""
    if len(curve.sizes) < 3:
        raise ValueError(f"a power law needs three numbers of subjects or more, got {curve.sizes.tolist()}")
    rng, people = np.random.default_rng(seed), len(curve.scans)
    weights = rng.multinomial(people, np.full(people, 1 / people), size=resamples)  # (R, S), the same for every size
    columns = []
    for wrong in curve.wrong:
        chosen = wrong[rng.integers(len(wrong), size=(resamples, len(wrong)))].mean(1)  # (R, S)
        columns.append((weights * chosen).sum(1) / (weights * curve.scans).sum(1))
    return fit_power_law(curve.sizes, np.concatenate([curve.errors()[None], np.stack(columns, 1)]))


def _scatter(curve: LearningCurve) -> float:
    """Standard deviation of one draw's error at the largest size that was drawn more than once."""
    several = [wrong.sum(1) / curve.scans.sum() for wrong in curve.wrong if len(wrong) > 1]
    return float(several[-1].std(ddof=1)) if several else 0.0


def _choose(rng, people: np.ndarray, subjects: np.ndarray, labels: np.ndarray, size: int) -> np.ndarray:
    """So many people who together show two classes or more."""
    for _ in range(100):
        chosen = rng.choice(people, size, replace=False)
        if len(np.unique(labels[np.isin(subjects, chosen)])) > 1:
            return chosen
    raise ValueError(f"{size} subjects never show two classes; ask for larger sizes")


def _doubling(total: int) -> list[int]:
    return [size for size in (2 ** np.arange(1, 20)).tolist() if size <= 0.75 * total] + [total]


def _labelled(embeds: np.ndarray, labels: np.ndarray, subjects: Sequence[str]):
    known = np.asarray(labels) >= 0
    return np.asarray(embeds)[known], np.asarray(labels)[known], np.asarray(subjects)[known]
