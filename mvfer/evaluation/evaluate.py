"""Test a model on held-out subjects, and on data sets it never saw.

In: a model, its processor and data set folders. Out: one dictionary, written as `results.json`, that holds every
number of the model card with its interval, seed, data, text supervision, prompts, command and environment.
"""

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from modeling_mvfer.actions_mvfer import ActionReader
from modeling_mvfer.zeroshot_mvfer import prompt_language, prompts_key
from mvfer.data.schema import dataset_info, load_splits
from mvfer.evaluation.action_calibration import calibrate_units
from mvfer.evaluation.actions import score_units
from mvfer.evaluation.audits.leakage import MOST_ROWS, find_leaks, seen_scans, seen_subjects
from mvfer.evaluation.audits.registry import Tested, check_audits, run_audits, tested_meshes
from mvfer.evaluation.classifiers import Predictions, SplitClassifier
from mvfer.evaluation.embeddings import SplitFeatures, embed_split, match_statistics
from mvfer.evaluation.familiarity import Calibrator, Held, further_sets
from mvfer.evaluation.metrics import score
from mvfer.evaluation.probes import fit_knn, fit_linear_probe
from mvfer.evaluation.relative import check_counts, score_relative
from mvfer.evaluation.results import SCHEMA_VERSION, environment, summary

TARGET_ACCURACY = 0.95  # of the answers, when the model may abstain


def evaluate(
    model,
    processor,
    dataset_dir: str | Path,
    *,
    split: str = "test",
    seed: int = 0,
    prompt_kinds: Sequence[str] | None = None,
    language: str | None = None,
    also: Mapping[str, str | Path] | None = None,
    audits: Collection[str] = (),
    baselines: Sequence[str] = (),
    meshes: str | Path | None = None,
    target_accuracy: float = TARGET_ACCURACY,
    calibrate_on: Sequence[str | Path] = (),
    actions: bool = False,
    seen: Mapping[str, Sequence[str]] | None = None,
    statistic: bool = True,
    batch_size: int = 64,
    command: str = "",
    progress: bool = True,
) -> dict:
    """Scores on one data set, from all views, every single one and covered ones, with what lets them be trusted; and transfer.

    Args:
        model (`MVFERModel` or `MVFERForFaceClassification`), processor (`MVFERProcessor`): what to test.
        dataset_dir: a folder of a `build_*` script; its training and validation rows fit k-NN, probe and calibration only.
        split (`str`, defaults to "test"): the rows that are scored.
        seed (`int`): of the resamples, the covered halves and the corruptions.
        prompt_kinds (*optional*): which prompts describe a class, as in `prompts_for`; "actions" never names an emotion. By
            default those that the model's configuration names. language (*optional*): of the prompts; by default
            English, or what the model learnt.
        also (mapping of name to folder, *optional*): data sets of another origin; only their `split` is used.
        audits: names of those `AUDITS` that are made on request only.
        baselines: also score scans relative to this many of the same person's others, as in `score_relative`.
        meshes (*optional*): a folder of mesh files named by tested rows' ids: also make the audits that need them.
        target_accuracy (`float`): of the answers, where the threshold of abstention is chosen. It and the temperature are
            fitted on scans of classes that the model knows.
        calibrate_on: further data sets whose validation people take part in this; heads and scanners that the model never learnt
            from show it where to abstain.
        actions (`bool`): also score action units, of the model that reads prompts.
        seen (mapping, *optional*): from `load_subjects_seen`: whom the model was trained and chosen on.
        statistic (`bool`): may the calibration keep a statistic of the training scans' features? Not of people to whom
            differential privacy was promised.
        command (`str`): how these numbers were made, written beside them.
    Returns:
        `dict`, ready for JSON: [`Results`], and the findings of audits under their names in `AUDITS`.
    Raises:
        ValueError: if a split is missing or empty, the tested one has no rows to tell apart by what the model knows, the views'
            channels are not those that the model's processor renders, the model is a multi-label one, or an audit cannot be made.
    """
    splits = open_splits(dataset_dir, split, processor)
    options: dict[str, Any] = {"batch_size": batch_size, "progress": progress}
    build = partial(SplitClassifier.build, model, processor, kinds=prompt_kinds, language=language)
    classifier = build(splits.values())
    if why := classifier.cannot_score(splits[split]):
        raise ValueError(f"{dataset_dir}: split {split!r} shows {why}")
    check_counts(baselines, model)
    check_audits(audits, has_prompts=classifier.kind == "zero_shot", has_meshes=meshes is not None)
    files = tested_meshes(meshes, splits[split], processor.image_processor)
    embedded = embed_splits(model, processor, splits, split, seed=seed, **options)
    features, train, validation = embedded[split], embedded["train"], embedded["validation"]
    tested = Tested(model, processor, classifier, splits[split], features, validation, files, seed, **options)
    further = further_sets(model, processor, classifier, calibrate_on, seen, **options)
    held = [Held("", True, validation, classifier.known(classifier.predictions(validation, validation.image_embeds)))]
    calibrator = Calibrator(
        train.features if statistic else None, held + further, target_accuracy=target_accuracy, seed=seed
    )
    reader = ActionReader.build(model, processor, language=language) if classifier.kind == "zero_shot" else None
    fitted = fit_classifiers(train, validation) if classifier.kind == "zero_shot" else {}
    results = {
        **score_views(classifier, features, seed=seed),
        **score_fitted(fitted, features, classifier, seed=seed),
        "calibration": calibrator.calibrate(classifier.known(tested.predictions), features),
        **run_audits(tested, audits),
        "by_baseline": {},
        "leakage": find_leaks(dataset_info(dataset_dir), embedded, split, seen),
        "transfer": {},
    }
    if reader:
        reader = calibrate_units(reader, validation, splits["validation"], results["calibration"])
    answered = {"test": calibrator.answers(classifier, features, results["calibration"])}
    units = {"test": score_units(reader, features, splits[split], seed=seed)} if actions and reader else {}
    relative = partial(
        score_relative, model, processor.image_processor, counts=baselines, seed=seed, batch_size=batch_size
    )
    if baselines:
        results["by_baseline"][Path(dataset_dir).name] = relative(splits[split], classifier)
    for name, folder in (also or {}).items():
        other = open_splits(folder, split, processor)
        there = build(other.values())
        few = len(other[split]) <= MOST_ROWS
        scans = embed_split(model, processor.image_processor, other[split], thumbnails=few, **options)
        results["transfer"][name] = score_transfer(there, scans, classifier, train, fitted, seed=seed)
        if baselines:
            results["by_baseline"][name] = relative(other[split], there)
        results["leakage"]["found"] += transfer_leaks(name, folder, scans, seen)
        answered[name] = calibrator.answers(classifier, scans, results["calibration"])
        if units and reader:
            units[name] = score_units(reader, scans, other[split], seed=seed)
    return results | {
        "familiarity": calibrator.summary(answered),
        "actions": units,
        "chance": classifier.chance,
        **_texts(classifier, splits, results["calibration"], prompt_kinds, language),
        **provenance(dataset_dir, splits, split, seed=seed, command=command),
    }


def _texts(classifier: SplitClassifier, splits, calibration: dict, kinds, language: str | None) -> dict:
    """What the model learnt from, and the prompts that it read; the calibration, which holds for them alone, notes their key."""
    prompts = classifier.prompts
    if prompts is None:
        return {"supervision": ["labels"]}
    calibration["prompts_key"] = prompts_key(prompts)
    config = classifier.classifier.model.config
    return {
        "supervision": sorted(set(splits["train"]["caption_source"])),
        "prompt_kinds": list(kinds or config.prompt_kinds),
        "language": prompt_language(config, language),
        "prompts": {label: list(texts) for label, texts in prompts.items()},
    }


def embed_splits(model, processor, splits, split: str, *, seed: int, **options) -> dict[str, SplitFeatures]:
    """The tested split with its views alone and covered, training and validation; with thumbnails where scans are few enough."""
    few = max(len(rows) for rows in splits.values()) <= MOST_ROWS
    tests: dict[str, dict[str, Any]] = {split: {"each_view": True, "occlusion_seed": seed}}
    return {
        name: embed_split(
            model, processor.image_processor, splits[name], thumbnails=few, **tests.get(name, {}), **options
        )
        for name in dict.fromkeys([split, "train", "validation"])
    }


def score_views(classifier: SplitClassifier, features: SplitFeatures, *, seed: int) -> dict:
    """Scores from all views, from each alone, from covered ones; and the confusion matrix."""

    def scored(embeds) -> dict:
        return score_answers(classifier.predictions(features, embeds), classifier.names, seed=seed)

    fused = scored(features.image_embeds)
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": classifier.kind,
        "test": {key: value for key, value in fused.items() if key != "confusion_matrix"},
        "by_view": {name: summary(scored(embeds)) for name, embeds in features.by_view.items()},
        "half_occluded": summary(scored(features.half_occluded)),
        "same_half_occluded": summary(scored(features.same_half_occluded)),
        "confusion_matrix": {"labels": classifier.names, "counts": fused["confusion_matrix"]},
    }


def score_answers(predictions: Predictions, names: Sequence[str], *, seed: int) -> dict:
    """`score` of what a classifier of these names says."""
    return score(
        predictions.labels, predictions.predicted, predictions.subjects, names, seed=seed, scores=predictions.logits
    )


def transfer_leaks(name: str, folder: str | Path, scans: SplitFeatures, seen: Mapping | None) -> list[str]:
    """A sentence for every way in which the model has met people or scans of another data set's tested rows."""
    found = seen_subjects(dataset_info(folder), scans.subjects, seen or {}) + seen_scans(scans, seen or {})
    return [f"{name}: {sentence}" for sentence in found]


def provenance(dataset_dir: str | Path, splits, split: str, *, seed: int, command: str) -> dict:
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


def score_fitted(
    fitted: Mapping[str, tuple], features: SplitFeatures, classifier: SplitClassifier, *, seed: int
) -> dict[str, dict | None]:
    """Scores and settings of k-NN and probe under their names, `None` where there was nothing to fit; nothing for a head."""
    if classifier.kind != "zero_shot":
        return {}
    found = dict.fromkeys(("knn", "linear_probe"))
    for name, (one, setting) in fitted.items():
        found[name] = summary(_score_probe(one, features, classifier, classifier.label_names, seed)) | setting
    return found


def score_transfer(
    there: SplitClassifier,
    scans: SplitFeatures,
    classifier: SplitClassifier,
    train: SplitFeatures,
    fitted: Mapping[str, tuple],
    *,
    seed: int,
) -> dict[str, dict | None]:
    """Scores on a data set of another origin: no row of it is trained on, and no label of it is used but to score.

    Args:
        there, scans: the model's classifier of that data set, and its tested rows.
        classifier, train, fitted: of the data set that was trained on; from `fit_classifiers`.
    """
    if there.kind == "classification":
        return {"classification": score_fused(there, scans, seed=seed)}
    found: dict[str, dict | None] = {}
    for name, embeds in (
        ("zero_shot", scans.image_embeds),
        ("zero_shot_normalised", match_statistics(scans.image_embeds, train.image_embeds)),
    ):
        found[name] = score_answers(there.predictions(scans, embeds), there.names, seed=seed)
    probe = fitted.get("linear_probe", (None,))[0]
    found["linear_probe"] = _score_probe(probe, scans, there, classifier.label_names, seed) if probe else None
    return found


def score_fused(classifier: SplitClassifier, features: SplitFeatures, *, seed: int) -> dict:
    """Scores from all views together, with `labels` and `confusion_matrix`."""
    predictions = classifier.predictions(features, features.image_embeds)
    return score_answers(predictions, classifier.names, seed=seed) | {"labels": classifier.names}


def test_fused(model, processor, dataset_dir: str | Path, *, split: str = "test", seed: int = 0, **options) -> dict:
    """Scores on one data set from all views together, with `labels` and `confusion_matrix`; `options` are of `embed_split`."""
    splits = open_splits(dataset_dir, split, processor)
    classifier = SplitClassifier.build(model, processor, splits.values())
    return score_fused(classifier, embed_split(model, processor.image_processor, splits[split], **options), seed=seed)


def _score_probe(
    probe, features: SplitFeatures, classifier: SplitClassifier, known_names: Sequence[str], seed: int
) -> dict:
    """Score k-NN or probe, whose classes are indices into `known_names`, among the names of the test and those it gives."""
    predictions = classifier.predictions(features, features.image_embeds)
    guessed = [known_names[index] for index in probe.predict(features.image_embeds[predictions.rows])]
    names = list(dict.fromkeys([*classifier.names, *sorted(set(guessed))]))
    predicted = [names.index(name) for name in guessed]
    return score(predictions.labels, predicted, predictions.subjects, names, seed=seed)


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
    settings = dataset_info(folder).get("render_settings", {})
    shown, expected = settings.get("channels"), list(processor.image_processor.channels)
    if shown is not None and list(shown) != expected:
        raise ValueError(
            f"{folder}: its views show {shown}, the model expects {expected}; build it with these channels"
        )
    aim, expected_aim = settings.get("aim_y", 0.0), processor.image_processor.aim_y
    if shown is not None and aim != expected_aim:
        raise ValueError(
            f"{folder}: its cameras aim {aim:g} above the nose, the model's {expected_aim:g}; build with --aim_y {expected_aim:g}"
        )
