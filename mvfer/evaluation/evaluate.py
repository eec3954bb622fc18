"""Test a model on held-out subjects, and on data sets it never saw.

In go a model, its processor and data set folders; out comes one dictionary, written as `results.json`, that holds every
number of the model card with its interval, seed, data, text supervision, prompts, command and environment.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from modeling_mvfer.zeroshot_mvfer import prompts_key
from mvfer.data.schema import dataset_info, load_splits
from mvfer.evaluation.audits.decisions import calibrate
from mvfer.evaluation.audits.drift import describe, observe
from mvfer.evaluation.audits.fairness import ATTRIBUTES, fairness_audit
from mvfer.evaluation.audits.leakage import MOST_ROWS, find_leaks, seen_subjects
from mvfer.evaluation.audits.prompts import audit_prompts
from mvfer.evaluation.audits.robustness import choose_rows, find_meshes, mesh_robustness, view_robustness
from mvfer.evaluation.audits.weights import mean_weights
from mvfer.evaluation.classifiers import worst_mistakes
from mvfer.evaluation.embeddings import SplitFeatures, embed_split
from mvfer.evaluation.knn import fit_knn
from mvfer.evaluation.metrics import score
from mvfer.evaluation.probes import fit_linear_probe
from mvfer.evaluation.results import SCHEMA_VERSION, brief, environment
from mvfer.evaluation.zero_shot import Answers, SplitClassifier, ZeroShot, match_statistics

TARGET_ACCURACY = 0.95  # of the answers, when the model may abstain


def evaluate_run(
    model,
    processor,
    dataset_dir: str | Path,
    *,
    split: str = "test",
    seed: int = 0,
    also: Mapping[str, str | Path] | None = None,
    prompt_kinds: Sequence[str] | None = None,
    language: str = "en",
    target_accuracy: float = TARGET_ACCURACY,
    seen: Mapping[str, Sequence[str]] | None = None,
    prompt_audit: bool = False,
    robustness: bool = False,
    meshes: str | Path | None = None,
    batch_size: int = 64,
    command: str = "",
    progress: bool = True,
) -> dict:
    """Zero-shot, nearest-neighbour and linear-probe scores on one data set, with what lets them be trusted; and transfer.

    Args:
        model (`MVFERModel`), processor (`MVFERProcessor`): what to test.
        dataset_dir: a folder of a `build_*` script; its training and validation rows fit k-NN, probe and calibration only.
        split (`str`, defaults to "test"): the rows that are scored.
        seed (`int`): of the resamples, the covered halves and the corruptions.
        also (mapping of name to folder, *optional*): data sets of another origin; only their `split` is used.
        prompt_kinds: which prompts describe a class, as in `prompts_for`; "actions" never names an emotion. By default those
            that the model's configuration names.
        target_accuracy (`float`): of the answers, where the threshold of abstention is chosen.
        seen (mapping, *optional*): from `load_subjects_seen`: whom the model was trained and chosen on.
        prompt_audit, robustness (`bool`): also audit the prompts; also corrupt the views, of up to 300 scans.
        meshes (*optional*): a folder of mesh files named by tested rows' ids: also corrupt these scans before rendering.
        command (`str`): how these numbers were made, written beside them.
    Returns:
        `dict`, ready for JSON. Scores are `{"mean", "low", "high"}` (95 %, subjects resampled). Keys: schema_version; zero_shot,
        knn and linear_probe (`None` if the training rows are unlabelled), zero_shot_by_view, zero_shot_half_occluded
        (every view has its own half covered), zero_shot_same_half_occluded, confusion_matrix, calibration, fairness,
        leakage (checked and found, in sentences), drift_baseline, weights (of views and frames), mistakes (of which it was
        surest: rows of the tested split), transfer; if asked for prompt_audit, robustness, mesh_robustness; and what made
        them: data, supervision, prompts, seed, command, environment.
    Raises:
        ValueError: if a split is missing or empty, the tested one shows fewer than two expressions, or the views' channels
            are not those that the model's processor renders.
    """
    splits, info = open_splits(dataset_dir, split, processor), dataset_info(dataset_dir)
    if len(splits[split].unique("expression")) - (-1 in splits[split].unique("expression")) < 2:
        raise ValueError(
            f"{dataset_dir}: split {split!r} shows one expression only; a test needs two or more to tell apart"
        )
    files = tested_meshes(meshes, splits[split])
    options = {"batch_size": batch_size, "progress": progress}
    embedded = embed_splits(model, processor, splits, split, seed=seed, **options)
    test, train, validation = embedded[split], embedded["train"], embedded["validation"]
    zero_shot = ZeroShot.build(model, processor.tokenizer, splits.values(), kinds=prompt_kinds, language=language)
    answers = zero_shot.answers(test, test.image_embeds)
    classifiers = fit_classifiers(train, validation)
    calibration = calibrate(
        zero_shot.answers(validation, validation.image_embeds), answers, target_accuracy=target_accuracy, seed=seed
    )
    results = {
        **score_views("zero_shot", zero_shot, test, seed=seed),
        "knn": None,
        "linear_probe": None,
        "calibration": calibration | {"prompts_key": prompts_key(zero_shot.prompts)},
        **audit(zero_shot, splits[split], test, seed=seed),
        "leakage": find_leaks(info, embedded, split, seen),
    }
    for name, (classifier, setting) in classifiers.items():
        results[name] = {
            **brief(_score_classifier(classifier, test, zero_shot, zero_shot.every_name, seed)),
            **setting,
        }
    if prompt_audit:
        results["prompt_audit"] = audit_prompts(model, processor.tokenizer, zero_shot, validation, test, seed=seed)
    results |= corrupt(
        model, processor, splits[split], test, zero_shot, views=robustness, files=files, seed=seed, **options
    )

    probe = classifiers.get("linear_probe", (None,))[0]
    results["transfer"] = {}
    for name, folder in (also or {}).items():
        there = open_splits(folder, split, processor)
        results["transfer"][name] = _transfer(
            model, processor, there, split, train, probe, zero_shot.every_name, prompt_kinds, language, seed, options
        )
        results["leakage"]["found"] += transfer_leaks(name, folder, there[split], seen)
    return results | {
        "chance": 1 / len(zero_shot.names),
        "supervision": sorted(set(splits["train"]["caption_source"])),
        "prompt_kinds": list(prompt_kinds or model.config.prompt_kinds),
        "language": language,
        "prompts": {label: list(texts) for label, texts in zero_shot.prompts.items()},
        **circumstances(dataset_dir, splits, split, seed=seed, command=command),
    }


def embed_splits(model, processor, splits, split: str, *, seed: int, **options) -> dict[str, SplitFeatures]:
    """The tested split with its views alone and covered, training and validation; with thumbnails where scans are few enough."""
    few = max(len(rows) for rows in splits.values()) <= MOST_ROWS
    tests = {split: {"each_view": True, "occlusion_seed": seed}}
    return {
        name: embed_split(
            model, processor.image_processor, splits[name], thumbnails=few, **tests.get(name, {}), **options
        )
        for name in dict.fromkeys([split, "train", "validation"])
    }


def score_views(test: str, classifier: SplitClassifier, features: SplitFeatures, *, seed: int) -> dict:
    """Scores under the name of the test: from all views, from each alone, from covered ones; and the confusion matrix."""

    def scored(embeds: np.ndarray) -> dict:
        return score_answers(classifier.answers(features, embeds), classifier.names, seed=seed)

    fused = scored(features.image_embeds)
    return {
        "schema_version": SCHEMA_VERSION,
        test: {key: value for key, value in fused.items() if key != "confusion_matrix"},
        f"{test}_by_view": {name: brief(scored(embeds)) for name, embeds in features.by_view.items()},
        f"{test}_half_occluded": brief(scored(features.half_occluded)),
        f"{test}_same_half_occluded": brief(scored(features.same_half_occluded)),
        "confusion_matrix": {"labels": classifier.names, "counts": fused["confusion_matrix"]},
    }


def score_answers(answers: Answers, names: Sequence[str], *, seed: int) -> dict:
    """`score` of what a classifier of these names says."""
    return score(answers.labels, answers.guesses, answers.subjects, names, seed=seed, scores=answers.logits)


def audit(classifier: SplitClassifier, rows, features: SplitFeatures, *, seed: int) -> dict:
    """Of the tested rows (`datasets.Dataset`): who is classified worse, what later data are compared with, which views and
    frames counted, and the mistakes of which the model was surest."""
    answers = classifier.answers(features, features.image_embeds)
    groups = {name: [rows[name][row] for row in answers.rows] for name in ATTRIBUTES}
    return {
        "fairness": fairness_audit(answers.guesses == answers.labels, answers.subjects, groups, seed=seed),
        "drift_baseline": describe(**observe(features, classifier), seed=seed),
        "weights": mean_weights(features, classifier.every_name, seed=seed),
        "mistakes": worst_mistakes(answers),
    }


def tested_meshes(meshes: str | Path | None, rows) -> dict | None:
    """The mesh files of the labelled rows, found before anything is computed; `None` if no folder is given."""
    if meshes is None:
        return None
    return find_meshes(meshes, [name for name, label in zip(rows["id"], rows["expression"], strict=True) if label >= 0])


def corrupt(
    model,
    processor,
    rows,
    features: SplitFeatures,
    classifier: SplitClassifier,
    *,
    views: bool,
    files: Mapping[str, Path] | None,
    seed: int,
    **options,
) -> dict:
    """The tests of robustness that were asked for: by corrupted views of the tested rows, by their corrupted meshes."""
    found = {}
    if views:
        chosen = rows.select(choose_rows(features, seed=seed))
        found["robustness"] = view_robustness(
            model, processor.image_processor, chosen, classifier, seed=seed, **options
        )
    if files is not None:
        found["mesh_robustness"] = mesh_robustness(
            model, processor, files, features, classifier, seed=seed, progress=options["progress"]
        )
    return found


def transfer_leaks(name: str, folder: str | Path, rows, seen: Mapping[str, Sequence[str]] | None) -> list[str]:
    """A sentence for every way in which the model has met people of another data set's tested rows."""
    return [f"{name}: {sentence}" for sentence in seen_subjects(dataset_info(folder), rows["subject"], seen or {})]


def circumstances(dataset_dir: str | Path, splits, split: str, *, seed: int, command: str) -> dict:
    """What made the numbers, whatever was tested."""
    return {
        "split": split,
        "seed": seed,
        "data": {"name": Path(dataset_dir).name, "rows": {name: len(rows) for name, rows in splits.items()}},
        "render_settings": dataset_info(dataset_dir).get("render_settings"),
        "command": command,
        "environment": environment(),
    }


def fit_classifiers(train: SplitFeatures, validation: SplitFeatures) -> dict[str, tuple]:
    """Nearest neighbours and linear probe with their settings; none if training or validation has no labels to fit them with."""
    if len(set(train.labels[train.labels >= 0])) < 2 or not (validation.labels >= 0).any():
        return {}
    data = (train.image_embeds, train.labels, validation.image_embeds, validation.labels)
    knn, k = fit_knn(*data)
    probe, strength = fit_linear_probe(*data)
    return {"knn": (knn, {"k": k}), "linear_probe": (probe, {"C": strength})}


def _transfer(model, processor, splits, split, train, probe, probe_names, kinds, language, seed, options) -> dict:
    """Scores on a data set of another origin: no row of it is trained on, and no label of it is used but to score."""
    there = ZeroShot.build(model, processor.tokenizer, splits.values(), kinds=kinds, language=language)
    features = embed_split(model, processor.image_processor, splits[split], **options)
    found = {}
    for name, embeds in (
        ("zero_shot", features.image_embeds),
        ("zero_shot_normalised", match_statistics(features.image_embeds, train.image_embeds)),
    ):
        found[name] = score_answers(there.answers(features, embeds), there.names, seed=seed)
    found["linear_probe"] = _score_classifier(probe, features, there, probe_names, seed) if probe else None
    return found


def _score_classifier(
    classifier, features: SplitFeatures, zero_shot: ZeroShot, known_names: Sequence[str], seed: int
) -> dict:
    """Score a fitted classifier, whose classes are indices into `known_names`, among the names of the test and those it gives."""
    answers = zero_shot.answers(features, features.image_embeds)
    guessed = [known_names[index] for index in classifier.predict(features.image_embeds[answers.rows])]
    names = list(dict.fromkeys([*zero_shot.names, *sorted(set(guessed))]))
    guesses = [names.index(name) for name in guessed]
    return score(answers.labels, guesses, answers.subjects, names, seed=seed)


def open_splits(folder: str | Path, split: str, processor):
    """The splits of a data set that fits the model and has labels to score with.

    Raises:
        ValueError: if its channels are not the model's, or a split is missing or empty or, if tested, without labels.
    """
    check_channels(folder, processor)
    splits = load_splits(folder)
    for name in {"train", "validation", split} - set(splits):
        raise ValueError(f"{folder}: expected a split {name!r}, found {sorted(splits)}; build the data set again")
    if max(splits[split]["expression"]) < 0:
        raise ValueError(f"{folder}: split {split!r} has no labelled rows to score")
    return splits


def check_channels(folder: str | Path, processor) -> None:
    """Raise a ValueError if the data set's views do not show what the model reads."""
    shown = dataset_info(folder).get("render_settings", {}).get("channels")
    expected = list(processor.image_processor.channels)
    if shown is not None and list(shown) != expected:
        raise ValueError(
            f"{folder}: its views show {shown}, the model expects {expected}; build it with these channels"
        )
