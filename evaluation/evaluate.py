"""Test a model on held-out subjects, and on data sets it never saw.

In go a model, its processor and data set folders; out comes one dictionary, written as `results.json`, that holds every
number of the model card with its interval, seed, data, text supervision, prompts, command and environment.
"""

import argparse
import importlib.metadata
import json
import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from dataset_scripts.schema import dataset_info, load_splits
from evaluation.examples import example_predictions
from evaluation.features import SplitFeatures, embed_split
from evaluation.linear_probe import fit_linear_probe
from evaluation.metrics import METRICS, score
from evaluation.pictures import confusion_picture, predictions_picture
from evaluation.zero_shot import class_prompts, embed_classes, logit_scale, match_statistics, predict, present_classes

TRANSFER_TESTS = {
    "zero_shot": "zero-shot",
    "zero_shot_normalised": "zero-shot, normalised",
    "linear_probe": "linear probe",
    "classification": "fine-tuned",
}
PACKAGES = ("torch", "transformers", "datasets", "numpy", "scikit-learn")


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
    batch_size: int = 64,
    command: str = "",
    progress: bool = True,
) -> dict:
    """Zero-shot and linear-probe scores on one data set, and on others as transfer.

    Args:
        model (`MVFERModel`), processor (`MVFERProcessor`): what to test.
        dataset_dir: a folder of a `build_*` script; its training and validation rows fit the linear probe only.
        split (`str`, defaults to "test"): the rows that are scored.
        seed (`int`): of the bootstrap and of the covered halves.
        also (mapping of name to folder, *optional*): data sets of another origin; only their `split` is used.
        prompt_kinds: which prompts describe a class, as in `prompts_for`; "actions" never names an emotion. By default those
            that the model's configuration names.
        command (`str`): how these numbers were made, written beside them.
    Returns:
        `dict`, ready for JSON. Scores are `{"mean", "low", "high"}` (95 %, subjects resampled). Keys: zero_shot,
        linear_probe (`None` if the training rows are unlabelled), zero_shot_by_view, zero_shot_half_occluded (every view has
        its own half covered), zero_shot_same_half_occluded,
        confusion_matrix, transfer, and what made them: data, supervision, prompts, seed, command, environment.
    Raises:
        ValueError: if a split is missing, the tested one has no labelled rows, or the views' channels are not those
            that the model's processor renders.
    """
    splits = open_splits(dataset_dir, split, processor)
    options = {"batch_size": batch_size, "progress": progress}
    test = embed_split(model, processor.image_processor, splits[split], each_view=True, occlusion_seed=seed, **options)
    train = embed_split(model, processor.image_processor, splits["train"], **options)
    validation = embed_split(model, processor.image_processor, splits["validation"], **options)

    names = present_classes(*splits.values())
    every_name = splits[split].features["expression"].names
    classes = embed_classes(model, processor.tokenizer, names, kinds=prompt_kinds, language=language)
    scale = logit_scale(model)

    def zero_shot(features: SplitFeatures, embeds: np.ndarray) -> dict:
        rows = (features.labels >= 0) & np.isfinite(embeds).all(1)
        predictions = predict(embeds[rows], classes, scale=scale)
        return score_rows(features, rows, predictions, names, every_name, names, seed=seed)

    fused = zero_shot(test, test.image_embeds)
    results = {
        "zero_shot": {key: value for key, value in fused.items() if key not in ("confusion_matrix", "labels")},
        "linear_probe": None,
        "zero_shot_by_view": {name: brief(zero_shot(test, embeds)) for name, embeds in test.by_view.items()},
        "zero_shot_half_occluded": brief(zero_shot(test, test.half_occluded)),
        "zero_shot_same_half_occluded": brief(zero_shot(test, test.same_half_occluded)),
        "confusion_matrix": {"labels": fused["labels"], "counts": fused["confusion_matrix"]},
    }
    probe = None
    if len(set(train.labels[train.labels >= 0])) > 1 and (validation.labels >= 0).any():
        probe, strength = fit_linear_probe(train.image_embeds, train.labels, validation.image_embeds, validation.labels)
        rows = test.labels >= 0
        scored = score_rows(
            test, rows, probe.predict(test.image_embeds[rows]), every_name, every_name, names, seed=seed
        )
        results["linear_probe"] = {**brief(scored), "C": strength}

    results["transfer"] = {
        name: _transfer(
            model, processor, folder, split, train, probe, every_name, prompt_kinds, language, seed, options
        )
        for name, folder in (also or {}).items()
    }
    prompts = class_prompts(model.config, names, kinds=prompt_kinds, language=language)
    return results | {
        "split": split,
        "seed": seed,
        "chance": 1 / len(names),
        "data": {"name": Path(dataset_dir).name, "rows": {name: len(rows) for name, rows in splits.items()}},
        "supervision": sorted(set(splits["train"]["caption_source"])),
        "prompt_kinds": list(prompt_kinds or model.config.prompt_kinds),
        "language": language,
        "prompts": {label: list(texts) for label, texts in prompts.items()},
        "render_settings": dataset_info(dataset_dir).get("render_settings"),
        "command": command,
        "environment": environment(),
    }


def environment() -> dict[str, str]:
    """Versions of what made the numbers."""
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    return {"python": platform.python_version(), "platform": platform.platform(), "device": device, **versions}


def main(argv: list[str] | None = None) -> int:
    """`mvfer evaluate`: write `results.json`, `confusion_matrix.png` and `examples.png`, print a short table."""
    args = parser().parse_args(argv)
    from transformers.utils.logging import disable_progress_bar

    from modeling_mvfer.hub import load_run  # which imports this module

    disable_progress_bar()
    model, processor = load_run(args.model)
    options = {
        "split": args.split,
        "seed": args.seed,
        "also": {Path(folder).name: folder for folder in args.also},
        "batch_size": args.batch_size,
        "command": "mvfer evaluate " + shlex.join(sys.argv[2:] if argv is None else argv),
    }
    if hasattr(model, "head"):
        from evaluation.classification import evaluate_classifier  # which imports this module

        results = evaluate_classifier(model, processor, args.dataset, **options)
    else:
        results = evaluate_run(
            model, processor, args.dataset, prompt_kinds=args.prompts, language=args.language, **options
        )
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    (out / "results.json").write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    matrix = results["confusion_matrix"]
    confusion_picture(np.array(matrix["counts"]), matrix["labels"], out / "confusion_matrix.png")
    shown = example_predictions(
        model, processor, load_splits(args.dataset)[args.split], kinds=args.prompts, language=args.language
    )
    predictions_picture(shown, out / "examples.png")
    print(table(results))
    print(f"\nwrote results.json, confusion_matrix.png and examples.png to {out}")
    return 0


def parser(**options) -> argparse.ArgumentParser:
    """The flags of `mvfer evaluate`."""
    flags = argparse.ArgumentParser(
        prog="mvfer evaluate",
        description="Test a model on the held-out subjects of a data set, and on others as transfer.",
        epilog="example:\n  mvfer evaluate --model runs/first --dataset data/anny --also data/ict --out report",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        **options,
    )
    flags.add_argument("--model", required=True, metavar="DIR", help="folder of a run, or a repository on the Hub")
    flags.add_argument("--dataset", required=True, metavar="DIR", help="folder written by dataset_scripts.build_*")
    flags.add_argument("--also", nargs="+", default=[], metavar="DIR", help="data sets of another origin (transfer)")
    flags.add_argument("--out", required=True, metavar="DIR", help="folder for results.json and pictures")
    flags.add_argument("--split", default="test", help="rows that are scored (default: test)")
    flags.add_argument("--seed", type=int, default=0, help="of the bootstrap and the covered halves (default: 0)")
    flags.add_argument(
        "--prompts",
        nargs="+",
        choices=["actions", "names"],
        help="prompts that describe what the face does, that name the emotion, or both (default: the model's own)",
    )
    flags.add_argument("--language", default="en", choices=["en", "ja"], help="of the prompts (default: en)")
    flags.add_argument("--batch_size", type=int, default=64, help="scans at once (default: 64)")
    return flags


def table(results: dict) -> str:
    """The main numbers as lines of text, one per test."""
    lines = [f"{'accuracy on ' + results['data']['name']:<44}  mean   95 % interval"]
    for name, value in accuracies(results).items():
        lines.append(f"{name:<44} {value['mean']:6.3f}  [{value['low']:.3f}, {value['high']:.3f}]")
    lines.append(f"{'chance':<44} {results['chance']:6.3f}")
    return "\n".join(lines)


def accuracies(results: dict) -> dict[str, dict[str, float]]:
    """Every accuracy of the results under a readable name, in the order of the report."""
    test = "zero_shot" if "zero_shot" in results else "classification"
    words = TRANSFER_TESTS[test]
    found = {words: results[test]}
    if results.get("linear_probe"):
        found["linear probe"] = results["linear_probe"]
    if "wise_ft" in results:
        found["before fine-tuning (zero-shot)"] = results["wise_ft"]["zero_shot"]["classification"]
        found["after fine-tuning, not mixed"] = results["wise_ft"]["fine_tuned"]["classification"]
    found[f"{words}, half of each view covered"] = results[f"{test}_half_occluded"]
    found[f"{words}, the same half of all covered"] = results[f"{test}_same_half_occluded"]
    found |= {f"{words}, {view} view only": value for view, value in results[f"{test}_by_view"].items()}
    for data, tests in results["transfer"].items():
        found |= {f"{TRANSFER_TESTS[test]} on {data}": value for test, value in tests.items() if value}
    return {name: value["accuracy"] for name, value in found.items()}


def _transfer(model, processor, folder, split, train, probe, probe_names, kinds, language, seed, options) -> dict:
    """Scores on a data set of another origin: no row of it is trained on, and no label of it is used but to score."""
    splits = open_splits(folder, split, processor)
    every_name = splits[split].features["expression"].names
    names = present_classes(*splits.values())
    features = embed_split(model, processor.image_processor, splits[split], **options)
    classes = embed_classes(model, processor.tokenizer, names, kinds=kinds, language=language)
    rows = features.labels >= 0
    normalised = match_statistics(features.image_embeds, train.image_embeds)

    def scored(predictions: np.ndarray, predicted_names: Sequence[str]) -> dict:
        return score_rows(features, rows, predictions, predicted_names, every_name, names, seed=seed)

    scale = logit_scale(model)
    return {
        "zero_shot": scored(predict(features.image_embeds[rows], classes, scale=scale), names),
        "zero_shot_normalised": scored(predict(normalised[rows], classes, scale=scale), names),
        "linear_probe": scored(probe.predict(features.image_embeds[rows]), probe_names) if probe else None,
    }


def score_rows(features, rows, predictions, predicted_names, true_names, names, *, seed: int) -> dict:
    """Bring predictions and labels to one list of names (those of the test first), and score; `labels` says which they are."""
    names = list(dict.fromkeys([*names, *(predicted_names[p] for p in sorted(set(predictions)))]))
    truth = [names.index(true_names[label]) for label in features.labels[rows]]
    guess = [names.index(predicted_names[p]) for p in predictions]
    subjects = [subject for subject, keep in zip(features.subjects, rows, strict=True) if keep]
    return score(truth, guess, subjects, names, seed=seed) | {"labels": names}


def brief(scored: dict) -> dict:
    """The scores and counts alone."""
    return {key: scored[key] for key in (*METRICS, "num_scans", "num_subjects")}


def open_splits(folder: str | Path, split: str, processor):
    """The splits of a data set that fits the model and has labels to score with."""
    shown = dataset_info(folder).get("render_settings", {}).get("channels")
    expected = list(processor.image_processor.channels)
    if shown is not None and list(shown) != expected:
        raise ValueError(
            f"{folder}: its views show {shown}, the model expects {expected}; build it with these channels"
        )
    splits = load_splits(folder)
    for name in {"train", "validation", split} - set(splits):
        raise ValueError(f"{folder}: expected a split {name!r}, found {sorted(splits)}; build the data set again")
    if max(splits[split]["expression"], default=-1) < 0:
        raise ValueError(f"{folder}: split {split!r} has no labelled rows to score")
    return splits
