"""Is it a head or a photo of one: `mvfer study presentation_attack --model runs/first --dataset data/anny --out report`.

In: a model and a data set of scans. Out: `presentation_attack.json`: a linear probe on frozen embeddings tells heads from
photos of their frontal view, on a flat or bent sheet of paper, which are rendered as the data was. Error rates are those of
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
from mvfer.reports.pages import interval
from mvfer.reports.pictures import displayable
from processing.meshes_mvfer import Mesh
from processing.rendering_mvfer import RenderSettings, render_mesh

MOST_SUBJECTS = 100  # per split, of each one scan and its photos
KINDS = ("flat", "bent")  # the species of attack, in the words of ISO/IEC 30107-3
HEIGHT_M, WIDTH_M = 0.24, 0.18
RADIUS_M = (0.07, 0.30)  # from wrapped around a head to hardly bent
TILT_DEG, STEPS = 15.0, 40


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


def photo_mesh(photo: np.ndarray, kind: str, rng: np.random.Generator) -> Mesh:
    """A held sheet: tilted by up to 15 degrees about each axis; bent around an upright or a lying cylinder.

    Args:
        photo (`(h, w, 3)` uint8): what is printed on it.
        kind: "flat" or "bent".
    Raises:
        ValueError: for another kind.
    """
    if kind not in KINDS:
        raise ValueError(f"expected a kind of {KINDS}, got {kind!r}")
    across, down = np.meshgrid(np.linspace(-0.5, 0.5, STEPS + 1), np.linspace(0.5, -0.5, STEPS + 1))
    x, y, z = across * WIDTH_M, down * HEIGHT_M, np.zeros_like(across)
    if kind == "bent":
        radius = rng.uniform(*RADIUS_M)
        if rng.random() < 0.5:
            x, z = radius * np.sin(x / radius), radius * (np.cos(x / radius) - 1)
        else:
            y, z = radius * np.sin(y / radius), radius * (np.cos(y / radius) - 1)
    vertices = np.stack([x, y, z], axis=-1).reshape(-1, 3) @ _tilt(rng).T
    index = np.arange((STEPS + 1) ** 2).reshape(STEPS + 1, STEPS + 1)
    a, b, c, d = (part.reshape(-1) for part in (index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]))
    rows, columns = ((0.5 - down) * (photo.shape[0] - 1)), ((across + 0.5) * (photo.shape[1] - 1))
    colors = photo[rows.round().astype(int), columns.round().astype(int)].reshape(-1, 3)
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    return Mesh(vertices.astype(np.float32), faces.astype(np.int64), vertex_colors=colors, source=f"{kind} photo")


def _tilt(rng: np.random.Generator) -> np.ndarray:
    """A rotation by up to `TILT_DEG` about each axis."""
    turned = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(rng.uniform(-TILT_DEG, TILT_DEG, size=3))):
        i, j = [k for k in range(3) if k != axis]
        one = np.eye(3)
        one[[i, i, j, j], [i, j, i, j]] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
        turned = one @ turned
    return turned


def report(results: dict, out: Path) -> str:
    names = ("eer", "bpcer", "apcer", *(f"apcer_{kind}" for kind in KINDS))
    rows = [(name.upper().replace("_", " "), results[name]) for name in names]
    return "\n".join(f"{name:<12} {interval(value)}" for name, value in rows)
