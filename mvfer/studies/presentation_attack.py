"""Is it a head or a photo of one: `mvfer study presentation_attack --model runs/first --dataset data/anny --out report`.

In: a model and a data set of scans. Out: `presentation_attack.json`: a linear probe on frozen embeddings tells heads from
photos of their frontal view, flat and bent (`attacks.py`), which are rendered as the data was. Error rates are those of
ISO/IEC 30107-3: APCER, the share of a kind of attack that passes, and its largest over kinds; BPCER, the share of heads
that are refused; both at the threshold of equal errors on the validation subjects.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mvfer.data.schema import view_arrays
from mvfer.evaluation.embeddings import embed_split, embed_views
from mvfer.evaluation.evaluate import open_splits
from mvfer.evaluation.metrics import area_and_equal_error, bootstrap_counts
from mvfer.evaluation.probes import fit_linear_probe
from mvfer.reports.pictures import displayable
from mvfer.studies.attacks import KINDS, photo_mesh
from processing.rendering_mvfer import RenderSettings, render_mesh

MOST_SUBJECTS = 100  # per split, of each one scan and its photos


@dataclass(frozen=True)
class Presentations:
    """Embeddings `(n, D)`, their kinds ("head", "flat", "bent") and subjects, of heads and of photos of the same people."""

    embeds: np.ndarray
    kinds: np.ndarray
    subjects: list[str]


def evaluate_presentation_attack(model, processor, dataset_dir: str | Path, *, seed: int = 0) -> dict:
    """Fit the probe on training subjects, its threshold on validation subjects, and test.

    Returns:
        `dict`, ready for JSON: eer, auc, bpcer, apcer, apcer_flat, apcer_bent (each `{"mean", "low", "high"}`, subjects
        resampled), threshold, num_subjects per split.
    Raises:
        ValueError: if a split is missing, or the model reads dynamic images.
    """
    splits = open_splits(dataset_dir, "test", processor)
    settings = processor.image_processor.render_settings
    shown = {
        name: present(model, processor, split, settings, seed=(seed, index))
        for index, (name, split) in enumerate(splits.items())
    }
    train, validation = shown["train"], shown["validation"]
    probe, _ = fit_linear_probe(train.embeds, is_head(train), validation.embeds, is_head(validation))
    threshold = area_and_equal_error(probe.decision_function(validation.embeds), is_head(validation) > 0)["threshold"]
    test, scores = shown["test"], probe.decision_function(shown["test"].embeds)
    results = bootstrap_counts(test.subjects, lambda counts: error_rates(test, scores, threshold, counts), seed=seed)
    people = {name: len(set(data.subjects)) for name, data in shown.items()}
    return results | {"threshold": threshold, "num_subjects": people, "kinds_of_attack": list(KINDS), "seed": seed}


def error_rates(data: Presentations, scores: np.ndarray, threshold: float, counts: dict[str, int]) -> dict[str, float]:
    """The rates of ISO/IEC 30107-3 when subjects count `counts` times; heads score at least `threshold`."""
    weights = np.array([counts[subject] for subject in data.subjects], dtype=float)
    passed = scores >= threshold
    rates = {f"apcer_{kind}": _share(passed, weights * (data.kinds == kind)) for kind in KINDS}
    rates = {"apcer": max(rates.values()), **rates, "bpcer": _share(~passed, weights * (data.kinds == "head"))}
    kept = weights > 0
    found = area_and_equal_error(scores[kept], (is_head(data) > 0)[kept], weights[kept])
    return {"eer": found["eer"], "auc": found["auc"], **rates}


def present(model, processor, split, settings: RenderSettings, *, seed) -> Presentations:
    """One scan of each of the first `MOST_SUBJECTS` subjects, and the photos of its most frontal view."""
    _, first = np.unique(split["subject"], return_index=True)
    chosen = split.select(sorted(first.tolist())[:MOST_SUBJECTS])
    heads = embed_split(model, processor.image_processor, chosen, progress=False)
    rng = np.random.default_rng(seed)
    embeds, kinds, subjects = [heads.image_embeds], ["head"] * len(chosen), heads.subjects
    for row in chosen:
        front = int(np.linalg.norm(np.asarray(row["view_angles_deg"]), axis=1).argmin())
        photo = displayable(view_arrays(row)[0, front], processor.image_processor.channels)
        views = [render_mesh(photo_mesh(photo, kind, rng), settings)[0] for kind in KINDS]  # (V, H, W, 3) each
        embeds.append(embed_views(model, processor.image_processor, views, [settings.view_angles_deg] * len(KINDS)))
        kinds, subjects = kinds + list(KINDS), [*subjects, *[str(row["subject"])] * len(KINDS)]
    return Presentations(np.concatenate(embeds), np.array(kinds), subjects)


def is_head(data: Presentations) -> np.ndarray:
    """`(n,)`: 1 for heads, 0 for photos."""
    return (data.kinds == "head").astype(int)


def _share(chosen: np.ndarray, weights: np.ndarray) -> float:
    if not weights.any():
        raise ValueError("no presentation of one of the kinds")
    return float((chosen * weights).sum() / weights.sum())


def report(results: dict, out: Path) -> str:
    names = ("eer", "bpcer", "apcer", *(f"apcer_{kind}" for kind in KINDS))
    rows = [(name.upper().replace("_", " "), results[name]) for name in names]
    return "\n".join(f"{name:<12} {v['mean']:.3f}  [{v['low']:.3f}, {v['high']:.3f}]" for name, v in rows)
