"""What reading fewer views saves: `mvfer study adaptive_views --model runs/first --dataset data/anny --out report`.

In: a model (zero-shot or fine-tuned) and a data set. Out: `adaptive_views.json` with the threshold for `adaptive_views` in the
pipelines, chosen on validation subjects, and the temperature that belongs to it: that of a calibrated model, else one that is
fitted on these subjects and to be passed along; accuracy and mean number of views on the test subjects,
and the curve of the one against the other over all thresholds, which `adaptive_views.png` shows.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from modeling_mvfer.adaptive_views_mvfer import ViewStages, share_of_entropy
from modeling_mvfer.classifier_mvfer import Classifier
from mvfer.data.split_reader import SplitReader
from mvfer.evaluation.audits.calibration import fit_temperature
from mvfer.evaluation.classifiers import present_classes, single_label
from mvfer.evaluation.evaluate import open_splits
from mvfer.evaluation.metrics import score
from mvfer.reports.pages import interval
from mvfer.reports.pictures import curve_picture

THRESHOLDS = np.concatenate([[0.0], np.geomspace(1e-4, 1.0, 80)])
TOLERANCE = 0.005  # share of the validation scans that fewer views may spoil


@dataclass(frozen=True)
class StagedLogits:
    """Of `n` labelled scans: logits after 1 .. V views (`(n, V, K)`; past a scan's last view they stay), num_views `(n,)`,
    labels `(n,)` (indices into the model's labels, -1 for one it does not know) and `n` subjects."""

    logits: torch.Tensor
    num_views: np.ndarray
    labels: np.ndarray
    subjects: list[str]


def evaluate_adaptive_views(model, processor, dataset_dir: str | Path, *, seed: int = 0, batch_size: int = 64) -> dict:
    """Choose the threshold on validation subjects, and measure on test subjects.

    Args:
        model (`MVFERModel` or `MVFERForFaceClassification`), processor (`MVFERProcessor`).
    Returns:
        `dict`, ready for JSON: temperature, calibrated (whether it is the model's own), threshold, tolerance; validation
        and test, each with `all_views` and `adaptive`
        (`score` of `mvfer.evaluation.metrics`), mean_views and share_of_views; curve, a list of threshold, accuracy, mean_views.
    Raises:
        ValueError: if a split is missing or has no labels, or every scan has one view.
    """
    splits = open_splits(dataset_dir, "test", processor)
    names = present_classes(*splits.values())
    classifier = single_label(Classifier.of(model, processor, names))
    asked = classifier.labels
    model.eval()
    staged = {
        name: staged_logits(processor, classifier, splits[name], batch_size=batch_size)
        for name in ("validation", "test")
    }
    if max(data.num_views.max() for data in staged.values()) < 2:
        raise ValueError(f"{dataset_dir}: every scan has one view, there is nothing to leave out")
    calibration = classifier.calibration
    temperature = calibration.temperature if calibration is not None else fit_over_stages(staged["validation"])
    threshold = choose_threshold_for_views(staged["validation"], temperature)
    results: dict[str, Any] = {
        "temperature": temperature,
        "calibrated": calibration is not None,
        "threshold": threshold,
    }
    results |= {"tolerance": TOLERANCE, "seed": seed}
    for name, data in staged.items():
        scored = {}
        for key, value in (("all_views", 0.0), ("adaptive", threshold)):
            predictions, used = stop_early(data, value, temperature)
            known = data.labels >= 0
            subjects = [subject for subject, keep in zip(data.subjects, known, strict=True) if keep]
            scored[key] = score(data.labels[known], predictions[known], subjects, asked, seed=seed)
        results[name] = scored | {"mean_views": used.mean(), "share_of_views": used.sum() / data.num_views.sum()}
    results["curve"] = curve(staged["test"], temperature)
    return results


@torch.no_grad()
def staged_logits(processor, classifier: Classifier, split, *, batch_size: int) -> StagedLogits:
    """Logits after every further view, each view through the tower once. See `StagedLogits`."""
    labels, model, asked = np.array(split["expression"]), classifier.model, classifier.labels
    split = split.select(np.flatnonzero(labels >= 0))
    reader = SplitReader(model, processor.image_processor, split, batch_size=batch_size, progress="views")
    logits, counts = [], []
    for rows, _, inputs in reader:
        stages, found = ViewStages(model, inputs), []
        for stage in range(reader.num_views):
            have = torch.nonzero(stages.num_views > stage).flatten()
            after = found[-1].clone() if found else torch.zeros(len(rows), len(asked), device=model.device)
            if len(have):
                after[have] = classifier.logits(stages.advance(stage, have)).float()
            found.append(after)
        logits.append(torch.stack(found, dim=1).cpu())
        counts.append(stages.num_views.cpu().numpy())
    label_names = split.features["expression"].names
    known = [asked.index(label_names[k]) if label_names[k] in asked else -1 for k in split["expression"]]
    return StagedLogits(
        torch.cat(logits), np.concatenate(counts), np.array(known), [str(subject) for subject in split["subject"]]
    )


def fit_over_stages(data: StagedLogits) -> float:
    """The likeliest temperature over all numbers of views."""
    known = np.flatnonzero(data.labels >= 0)
    stages = data.logits.shape[1]
    subjects = [data.subjects[row] for row in known for _ in range(stages)]
    logits = data.logits[torch.from_numpy(known)].flatten(0, 1).numpy()
    return fit_temperature(logits, data.labels[known].repeat(stages), subjects)


def stop_early(data: StagedLogits, threshold: float, temperature: float) -> tuple[np.ndarray, np.ndarray]:
    """What `adaptive_logits` would do: predictions `(n,)` and how many views each took `(n,)`."""
    sure = (share_of_entropy(data.logits / temperature) <= threshold).numpy()  # (n, V)
    last = data.num_views - 1
    stage = np.where(sure.any(1), np.minimum(sure.argmax(1), last), last)
    rows = np.arange(len(stage))
    return data.logits.argmax(-1).numpy()[rows, stage], stage + 1


def choose_threshold_for_views(data: StagedLogits, temperature: float, *, tolerance: float = TOLERANCE) -> float:
    """The largest threshold at which at most this share of the scans is right with all views and wrong with fewer.

    Scans that fewer views happen to set right are not counted against these: on few validation subjects the difference of two
    accuracies is mostly luck.
    """
    right = stop_early(data, 0.0, temperature)[0] == data.labels
    chosen = 0.0
    for threshold in THRESHOLDS:
        spoilt = right & (stop_early(data, threshold, temperature)[0] != data.labels)
        if spoilt.mean() > tolerance:
            break
        chosen = float(threshold)
    return chosen


def curve(data: StagedLogits, temperature: float) -> list[dict[str, float]]:
    """Accuracy against mean views at every threshold that changes something."""
    points = []
    for threshold in THRESHOLDS:
        predictions, used = stop_early(data, threshold, temperature)
        views, accuracy = float(used.mean()), float((predictions == data.labels).mean())
        if not points or points[-1]["mean_views"] != views:
            points.append({"threshold": float(threshold), "accuracy": accuracy, "mean_views": views})
    return points


def report(results: dict, out: Path) -> str:
    """Draw the curve; the numbers as lines of text."""
    points = [(point["mean_views"], point["accuracy"]) for point in results["curve"]]
    test = results["test"]
    chosen = (test["mean_views"], test["adaptive"]["accuracy"]["mean"])
    curve_picture(points, out / "adaptive_views.png", x="mean number of views", y="accuracy", marked=chosen)
    lines = [
        f"{name:<12} {interval(test[key]['accuracy'])}"
        for name, key in (("all views", "all_views"), ("adaptive", "adaptive"))
    ]
    lines.append(f"views        {test['mean_views']:.2f} on average, {test['share_of_views']:.0%} of all")
    own = "" if results["calibrated"] else f", temperature={results['temperature']:.3g}"
    lines.append(f"use          adaptive_views={results['threshold']:.4g}{own}")
    return "\n".join(lines)
