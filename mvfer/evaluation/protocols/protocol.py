"""A model under one of the field's protocols: every fold, and the mean over folds with its interval.

In: a model and a built data set. Out: one dict for `results.json`, of one protocol or of all published tables of the set. The
model stays as it is; k-NN, probe and temperature are fitted anew in every fold, and a fine-tuned copy if a tuner is given.
Scans are embedded once, whatever the number of folds and repetitions.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from datasets import Dataset, concatenate_datasets

from modeling_mvfer.zeroshot_mvfer import prompt_language
from mvfer.data.protocols import PROTOCOLS, Protocol, folds, keeps, name_of, protocols_of
from mvfer.data.schema import dataset_info, load_splits
from mvfer.evaluation.audits.calibration import calibration_scores, fit_temperature
from mvfer.evaluation.audits.leakage import seen_subjects
from mvfer.evaluation.classifiers import SplitClassifier
from mvfer.evaluation.embeddings import SplitFeatures, embed_split
from mvfer.evaluation.evaluate import check_channels, fit_classifiers
from mvfer.evaluation.metrics import METRICS, mean_over_runs, score
from mvfer.evaluation.protocols.multilabel import score_labels_in_folds
from mvfer.evaluation.protocols.published import published_for
from mvfer.evaluation.results import SCHEMA_VERSION, TESTS, environment

PAPER = "paper"  # the name that stands for all protocols of the given set


def evaluate_protocol(
    model,
    processor,
    dataset_dir: str | Path,
    name: str,
    *,
    seed: int = 0,
    repetitions: int = 1,
    prompt_kinds: Sequence[str] | None = None,
    language: str | None = None,
    seen: Mapping[str, Sequence[str]] | None = None,
    fine_tune: Callable[[Sequence[Mapping]], list[dict]] | None = None,
    batch_size: int = 64,
    command: str = "",
    progress: bool = True,
) -> dict:
    """Test a model in all folds.

    Args:
        name (`str`): one of `PROTOCOLS`; repetitions: draws of subjects and folds, with seeds seed, seed + 1, ...
        fine_tune (*optional*): such as a `FoldTuner`: takes the rows of every fold, trains in each, predicts.
        others: as in `evaluate`.
    Returns:
        `dict`: protocol (name, source, reading, folds, repetitions), for zero_shot, knn, linear_probe and fine_tuned (`None`
        where nothing is trained) the scores over all scans of the first repetition, each in the fold that tests its subject
        (subjects resampled) and `over_folds` (each metric's mean over folds and repetitions with Student's interval); folds
        (accuracy, ECE before and after the fold's own temperature), confusion_matrix, leakage, and what made them. Of a protocol
        with several labels per row, `multilabel_probe` and `every_label` instead (see `score_labels_in_folds`).
    Raises:
        ValueError: for an unknown protocol, another data set than it is for, too few subjects, or nothing to fine-tune on.
    """
    protocol = _checked(name, dataset_dir, processor, fine_tunes=fine_tune is not None)
    tested = _tested_rows(protocol, dataset_dir, name)
    keys = _keys(tested)
    drawn = [folds(protocol, keys, seed=seed + repetition) for repetition in range(repetitions)]
    features = embed_split(model, processor.image_processor, tested, batch_size=batch_size, progress=progress)
    if protocol.labels:
        scores = score_labels_in_folds(features, tested["task"], protocol.labels, drawn[0], seed=seed)
    else:
        zero_shot = SplitClassifier.build(model, processor, [tested], kinds=prompt_kinds, language=language)
        if why := zero_shot.cannot_score(tested):
            raise ValueError(f"{dataset_dir}: {name} finds {why}")
        runs = [[_fold(features, zero_shot, people) for people in repetition] for repetition in drawn]
        if fine_tune:
            _add_fine_tuned(runs, drawn, tested, zero_shot, fine_tune)
        scores = _scores(runs, zero_shot, seed)
    return {
        "schema_version": SCHEMA_VERSION,
        "protocol": _described(name, protocol, drawn),
        **scores,
        "published": [asdict(figure) for figure in published_for(name)],
        "leakage": _leakage(drawn, dataset_info(dataset_dir), seen),
        "seed": seed,
        "data": {"name": Path(dataset_dir).name, "rows": {"tested": len(tested)}},
        "language": prompt_language(model.config, language),
        "command": command,
        "environment": environment(),
    }


def evaluate_paper(
    model,
    processor,
    dataset_dir: str | Path,
    *,
    seed: int = 0,
    language: str | None = None,
    command: str = "",
    **options,
) -> dict:
    """Test a model under every protocol of the set.

    Args:
        options and others: of `evaluate_protocol`.
    Returns:
        `dict`: tables (protocol name to its results), not_run (name to the reason: one protocol may ask for more subjects than
        were built), leakage of all of them, and what made them.
    Raises:
        ValueError: if no protocol tests this set, or none of them could be run, with the reasons.
    """
    tables, not_run = {}, {}
    options |= {"seed": seed, "language": language, "command": command}
    for name in protocols_of(name_of(dataset_info(dataset_dir))):
        try:
            tables[name] = evaluate_protocol(model, processor, dataset_dir, name, **options)
        except ValueError as error:
            not_run[name] = str(error)
    if not tables:
        raise ValueError("; ".join(not_run.values()))
    return {
        "schema_version": SCHEMA_VERSION,
        "tables": tables,
        "not_run": not_run,
        "leakage": {
            "checked": sorted({what for one in tables.values() for what in one["leakage"]["checked"]}),
            "found": [f"{name}: {what}" for name, one in tables.items() for what in one["leakage"]["found"]],
        },
        "seed": seed,
        "data": {"name": Path(dataset_dir).name},
        "language": prompt_language(model.config, language),
        "command": command,
        "environment": environment(),
    }


def _checked(name: str, dataset_dir: str | Path, processor, *, fine_tunes: bool) -> Protocol:
    """The protocol of this name, which fits the data set, which fits the model."""
    if name not in PROTOCOLS:
        raise ValueError(f"unknown protocol {name!r}; known are {', '.join(PROTOCOLS)}")
    protocol, built = PROTOCOLS[name], name_of(dataset_info(dataset_dir))
    if built != protocol.data_set:
        raise ValueError(f"{dataset_dir}: {name} tests {protocol.data_set}, this is {built}; name a folder of that set")
    if fine_tunes and (protocol.labels or protocol.folds == 1):
        why = "rows have several labels" if protocol.labels else "it trains on no subject of this set"
        raise ValueError(f"{name}: {why}, so there is no classifier to train in its folds; leave out --finetune")
    check_channels(dataset_dir, processor)
    return protocol


def _leakage(drawn: list, info: Mapping, seen: Mapping[str, Sequence[str]] | None) -> dict:
    """Folds hold no subject twice by their making; whether the model has met a tested one is looked up."""
    people = sorted({subject for repetition in drawn for fold in repetition for subject in fold["test"]})
    return {
        "checked": ["subjects in two splits of a fold", *(["subjects the model has seen"] if seen else [])],
        "found": seen_subjects(info, people, seen or {}),
    }


def _tested_rows(protocol: Protocol, dataset_dir: str | Path, name: str) -> Dataset:
    """The labelled rows of all splits that are part of the protocol."""
    rows = concatenate_datasets(list(load_splits(dataset_dir).values()))
    labelled = [bool(task) for task in rows["task"]] if protocol.labels else [e >= 0 for e in rows["expression"]]
    kept = [number for number, key in enumerate(_keys(rows)) if labelled[number] and keeps(protocol, key)]
    if not kept:
        raise ValueError(
            f"{dataset_dir}: no labelled row is part of {name}; build the set with its expressions and levels"
        )
    return rows.select(kept)


def _keys(rows: Dataset) -> list[dict]:
    """What decides of every row whether it is part of a protocol, and of which fold."""
    columns = {key: rows[key] for key in ("subject", "expression", "intensity")}
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _scores(runs: list, zero_shot: SplitClassifier, seed: int) -> dict:
    """Of every test, and what is known of every fold."""
    results = {test: _pooled(test, runs, zero_shot, seed) for test in TESTS}
    counts = results["zero_shot"].pop("confusion_matrix")  # type: ignore[union-attr]  # every fold has this test
    return {
        **results,
        "folds": [fold["summary"] for run in runs for fold in run],
        "confusion_matrix": {"labels": zero_shot.names, "counts": counts},
        "chance": 1 / len(zero_shot.names),
        "prompts": zero_shot.prompts,
    }


def _add_fine_tuned(runs: list, drawn: list, tested: Dataset, zero_shot: SplitClassifier, fine_tune: Callable) -> None:
    """Put what a copy predicts that was fine-tuned in each fold beside the others."""
    subjects = np.asarray(tested["subject"])
    every = [people for repetition in drawn for people in repetition]
    rows = [{split: tested.select(np.flatnonzero(np.isin(subjects, p[split]))) for split in p} for p in every]
    for fold, tuned in zip((fold for run in runs for fold in run), fine_tune(rows), strict=True):
        predicted = np.array([zero_shot.names.index(guess) for guess in tuned["predicted"]])
        fold["found"]["fine_tuned"] = predicted
        fold["summary"]["accuracy"]["fine_tuned"] = float((predicted == fold["answers"].labels).mean())
        fold["summary"]["fine_tuned"] = {key: tuned[key] for key in ("best_step", "validation_accuracy")}


def _described(name: str, protocol: Protocol, drawn: list) -> dict:
    described = {"name": name, "source": protocol.source, "reading": protocol.reading}
    return described | {"folds": len(drawn[0]), "repetitions": len(drawn)}


def _fold(features: SplitFeatures, zero_shot: SplitClassifier, people: Mapping[str, Sequence[str]]) -> dict:
    """What every test predicts in one fold: test name -> (positions in the set, truth, predicted)."""
    subjects = np.asarray(features.subjects)
    parts = {name: features.select(np.flatnonzero(np.isin(subjects, names))) for name, names in people.items()}
    test = parts["test"]
    predictions = zero_shot.predictions(test, test.image_embeds)
    found = {"zero_shot": predictions.predicted}
    if people["train"]:
        for name, (classifier, _) in fit_classifiers(parts["train"], parts["validation"]).items():
            guessed = classifier.predict(test.image_embeds[predictions.rows])
            found[name] = zero_shot.classes_of(guessed)
    summary = {
        "subjects": len(people["test"]),
        "accuracy": {name: float((predicted == predictions.labels).mean()) for name, predicted in found.items()},
        "ece": calibration_scores(predictions.logits, predictions.labels)["ece"],
    }
    if people["validation"]:
        held_out = zero_shot.predictions(parts["validation"], parts["validation"].image_embeds)
        if len(np.unique(held_out.labels)) > 1:
            temperature = fit_temperature(
                held_out.logits, held_out.labels, held_out.subjects, tested_subjects=predictions.subjects
            )
            calibrated = calibration_scores(predictions.logits, predictions.labels, temperature=temperature)
            summary |= {"temperature": temperature, "ece_calibrated": calibrated["ece"]}
    return {"answers": predictions, "found": found, "summary": summary}


def _pooled(test: str, runs: list, zero_shot: SplitClassifier, seed: int) -> dict | None:
    """Scores over the scans of all folds of the first repetition, and means over all folds."""
    if any(test not in fold["found"] for run in runs for fold in run):
        return None
    first = runs[0]
    labels = np.concatenate([fold["answers"].labels for fold in first])
    subjects = [subject for fold in first for subject in fold["answers"].subjects]
    logits = np.concatenate([fold["answers"].logits for fold in first]) if test == "zero_shot" else None
    predicted = np.concatenate([fold["found"][test] for fold in first])
    pooled = score(labels, predicted, subjects, zero_shot.names, seed=seed, scores=logits)
    if test != "zero_shot":
        pooled.pop("confusion_matrix")
    confusions = [_confusion(fold, test, len(zero_shot.names)) for run in runs for fold in run]
    over = {name: mean_over_runs([float(metric(one)) for one in confusions]) for name, metric in METRICS.items()}
    return pooled | {"over_folds": over}


def _confusion(fold: dict, test: str, size: int) -> np.ndarray:
    counts = np.zeros((size, size), dtype=int)
    np.add.at(counts, (fold["answers"].labels, fold["found"][test]), 1)
    return counts
