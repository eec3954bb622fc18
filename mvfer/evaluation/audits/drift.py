"""Do recent data still look like those on which a model was tested? `mvfer check`, for a scheduler.

In: the `results.json` of a tested model and a data set of recent scans. Out: what has moved: where the embeddings lie,
how sure the model is, and, where there are labels, how often it is right. A statistic raises the alarm when it exceeds
what the baseline's own people, split at random into two groups, show in one of a hundred splits. The baseline holds means
and deviations over people, no embedding of any person.
"""

from collections.abc import Sequence

import numpy as np
from scipy.special import softmax

from mvfer.evaluation.classifiers import SplitClassifier
from mvfer.evaluation.embeddings import SplitFeatures

LEVEL = 0.99
BINS = 10
RANDOM_SPLITS = 400
FEWEST_SUBJECTS = 6
STATISTICS = ("embedding_shift", "confidence_shift", "accuracy_drop")


def describe(embeds: np.ndarray, confidence: np.ndarray, right: np.ndarray, subjects: Sequence[str], *, seed: int = 0):
    """The baseline of a tested split, or `None` with fewer than six subjects.

    Args:
        embeds (`(n, D)`), confidence (`(n,)`): the highest class probability; right (`(n,)`: 1, 0, or NaN without a label).
        subjects (`n` strings): who each scan shows.
    Returns:
        `dict` for JSON: over people, the mean and deviation of the embeddings per dimension and of the accuracy; the edges of
        the confidence's bins and the share of each; the limit of each statistic.
    """
    edges = np.quantile(confidence, np.linspace(0, 1, BINS + 1)[1:-1])
    people = _by_person(embeds, confidence, right, subjects, edges)
    count = len(people["accuracy"])
    if count < FEWEST_SUBJECTS:
        return None
    rng = np.random.default_rng(seed)
    chance = {name: [] for name in STATISTICS}
    for _ in range(RANDOM_SPLITS):
        first = rng.permutation(count) < count // 2
        halves = [_summary({name: values[side] for name, values in people.items()}) for side in (first, ~first)]
        for name, value in _statistics(*halves).items():
            chance[name].append(value)
    limits = {name: _number(np.quantile(values, LEVEL)) for name, values in chance.items()}
    summary = {k: v.tolist() if isinstance(v, np.ndarray) else _number(v) for k, v in _summary(people).items()}
    return {"level": LEVEL, "confidence_edges": edges.tolist(), **summary, "limits": limits}


def compare(baseline: dict, embeds, confidence, right, subjects: Sequence[str]) -> dict:
    """Recent scans against a baseline; arguments as in `describe`.

    Returns:
        `dict`: drifted (bool), people, and per statistic value, limit and drifted (`None` where it cannot be told).
    Raises:
        ValueError: if the embeddings have another width than the baseline's, or there are fewer than two subjects.
    """
    if np.shape(embeds)[1] != len(baseline["mean"]):
        raise ValueError(
            f"the baseline is of {len(baseline['mean'])} dimensions, the model gives {np.shape(embeds)[1]}: another model?"
        )
    people = _by_person(embeds, confidence, right, subjects, np.array(baseline["confidence_edges"]))
    if len(people["accuracy"]) < 2:
        raise ValueError("drift shows over people: expected two subjects or more, got one")
    known = {
        name: np.array(np.nan if baseline[name] is None else baseline[name], dtype=float) for name in _summary(people)
    }
    tests = {}
    for name, value in _statistics(known, _summary(people)).items():
        value, limit = _number(value), baseline["limits"][name]
        told = value is not None and limit is not None
        tests[name] = {"value": value, "limit": limit, "drifted": value > limit if told else None}
    drifted = any(test["drifted"] for test in tests.values())
    return {"drifted": drifted, "people": len(people["accuracy"]), "tests": tests}


def observe(features: SplitFeatures, classifier: SplitClassifier) -> dict:
    """What `describe` and `compare` take, from a split's embeddings and a classifier."""
    logits = classifier.logits(features.image_embeds)
    predicted = [classifier.names[k] for k in logits.argmax(1)]
    truth = [classifier.label_names[label] if label >= 0 else None for label in features.labels]
    right = [float(t == g) if t in classifier.names else np.nan for t, g in zip(truth, predicted, strict=True)]
    confidence = softmax(logits, axis=1).max(1)
    return {"embeds": features.image_embeds, "confidence": confidence, "right": right, "subjects": features.subjects}


def _statistics(baseline: dict, recent: dict) -> dict[str, float]:
    """Each, under chance alone, is spread alike whatever the number of people, so that one limit serves all sizes."""
    people = 1 / (1 / baseline["people"] + 1 / recent["people"])
    shift = (baseline["mean"] - recent["mean"]) / baseline["deviation"]
    p, q = baseline["shares"] + 0.01, recent["shares"] + 0.01
    drop = (baseline["accuracy"] - recent["accuracy"]) / np.maximum(baseline["accuracy_deviation"], 0.02)
    return {
        "embedding_shift": float(people * (shift**2).mean()),
        "confidence_shift": float(people * ((p - q) * np.log(p / q)).sum()),  # the population stability index
        "accuracy_drop": float(np.sqrt(people) * drop),
    }


def _by_person(embeds, confidence, right, subjects: Sequence[str], edges: np.ndarray) -> dict[str, np.ndarray]:
    """Each person's mean embedding, shares of confidence and accuracy (NaN without labels): people count the same."""
    names, found = np.unique(np.asarray(subjects), return_inverse=True)
    scans = np.bincount(found).astype(float)
    means = np.zeros((len(names), np.shape(embeds)[1]))
    np.add.at(means, found, embeds)
    shares = np.zeros((len(names), BINS))
    np.add.at(shares, (found, np.searchsorted(edges, confidence)), 1)
    right = np.asarray(right, dtype=float)
    known = np.isfinite(right)
    labelled = np.bincount(found, weights=known, minlength=len(names))
    hits = np.bincount(found, weights=np.where(known, right, 0), minlength=len(names))
    accuracy = np.where(labelled > 0, hits / np.maximum(labelled, 1), np.nan)
    return {"embeds": means / scans[:, None], "shares": shares / scans[:, None], "accuracy": accuracy}


def _summary(people: dict[str, np.ndarray]) -> dict:
    known = people["accuracy"][np.isfinite(people["accuracy"])]
    return {
        "people": len(people["accuracy"]),
        "mean": people["embeds"].mean(0),
        "deviation": np.maximum(people["embeds"].std(0), 1e-6),
        "shares": people["shares"].mean(0),
        "accuracy": known.mean() if len(known) > 1 else np.nan,
        "accuracy_deviation": known.std() if len(known) > 1 else np.nan,
    }


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
