"""Results in the metadata of a model card, where the Hub and its tools read them: the card's `model-index`.

In: the results of an evaluation, and a model folder. Out: `EvalResult`s, or the folder's `README.md` with the scores merged
into its `model-index`. All else of the card stays as it is, byte for byte.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml
from huggingface_hub import EvalResult
from huggingface_hub.repocard import REGEX_YAML_BLOCK
from huggingface_hub.repocard_data import eval_results_to_model_index, model_index_to_eval_results
from huggingface_hub.utils import yaml_dump

from mvfer.evaluation.results import scores_by_test, scores_of, tables_of

METRICS = {  # of the results: metric of the Hub, readable name
    "accuracy": ("accuracy", "accuracy"),
    "balanced_accuracy": ("balanced_accuracy", "balanced accuracy (UAR)"),
    "macro_f1": ("f1", "macro-F1"),
    "uf1": ("f1", "UF1"),
    "uar": ("balanced_accuracy", "UAR"),
}


def eval_results(results: Mapping, task: str) -> list[EvalResult]:
    """Accuracy, balanced accuracy and macro-F1 of every test and data set, with 95 % intervals.

    Args:
        results: of `evaluate`, `evaluate_protocol` or `evaluate_paper`.
        task: the Hub's name of what the model does; in folds of a protocol, the protocol is the data set's configuration.
    """
    data = results["data"]["name"]
    if tables := tables_of(results):
        tested = [
            (test, data, {"dataset_config": protocol}, scores)
            for protocol, one in tables.items()
            for test, scores in scores_of(one).items()
        ]
    else:
        named = [(*name.partition(" on ")[::2], scores) for name, scores in scores_by_test(results).items()]
        tested = [(test, other or data, {"dataset_split": results["split"]}, scores) for test, other, scores in named]
    return [
        _eval_result(test, name, metric, scores[metric], task_type=task, task_name=_words(task), **where)
        for test, name, where, scores in tested
        for metric in METRICS
        if metric in scores
    ]


def _eval_result(test: str, data: str, metric: str, value: Mapping, **where) -> EvalResult:
    kind, words = METRICS[metric]
    return EvalResult(
        dataset_type=data,
        dataset_name=data,
        metric_type=kind,
        metric_name=f"{words}, {test}",
        metric_value=round(value["mean"], 4),
        metric_args={"interval_95": [round(value["low"], 4), round(value["high"], 4)]},
        **where,
    )


def _words(task: str) -> str:
    return task.replace("-", " ")


def update_card(folder: str | Path, results: Mapping) -> int:
    """Merge the scores of these results into the `model-index` of a model folder's card.

    A score replaces the one of the same task, data set, configuration, split and metric; others stay. A card without a
    `model-index` gets one.

    Args:
        folder: of a model on this computer; results: as for `eval_results`.
    Returns:
        `int`: how many scores were written.
    Raises:
        ValueError: if there is no card, or its metadata cannot be read.
    """
    path = Path(folder) / "README.md"
    if not path.is_file():
        raise ValueError(f"{folder}: no README.md there; expected a folder written by save_run")
    text = path.read_bytes().decode("utf-8")
    metadata, start, end = _metadata(path, text)
    new = eval_results(results, metadata.get("pipeline_tag") or "zero-shot-image-classification")
    name, old = _stored(path, metadata.get("model-index"))
    index = {"model-index": eval_results_to_model_index(name, merge(old, new))}
    block = _with_index(text[start:end], yaml_dump(index, sort_keys=False))
    if not _says(block, metadata | index) or ("model-index" in metadata) != _has_index(text[start:end]):
        raise ValueError(
            f"{path}: its model-index is written in a way that is not understood; remove it, and try again"
        )
    _replace(path, text[:start] + block + text[end:])
    return len(new)


def merge(old: Sequence[EvalResult], new: Sequence[EvalResult]) -> list[EvalResult]:
    """The old results, each replaced in its place by a new one of the same task, data set and metric; then the other new ones."""
    fresh = {_key(one): one for one in new}
    kept = [fresh.pop(_key(one), one) for one in old]
    return kept + list(fresh.values())


def _key(one: EvalResult) -> tuple:
    return (*one.unique_identifier, one.metric_type, one.metric_name)


def _metadata(path: Path, text: str) -> tuple[dict, int, int]:
    """The card's metadata, and where their text begins and ends."""
    found = REGEX_YAML_BLOCK.search(text)
    try:
        metadata = yaml.safe_load(found.group(2)) if found else None
    except yaml.YAMLError as error:
        raise ValueError(
            f"{path}: its metadata are no YAML ({error}); mend what stands between the lines of ---"
        ) from error
    if not isinstance(metadata, dict):
        raise ValueError(f"{path}: no metadata at its top; expected YAML between two lines of ---")
    return metadata, *found.span(2)


def _stored(path: Path, index: list | None) -> tuple[str, list[EvalResult]]:
    """The name of the card's model, and what the card says of it."""
    if not index:
        return "MVFER", []
    try:
        (_,) = index
        return model_index_to_eval_results(index)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(
            f"{path}: its model-index is not that of one model as the Hub has it ({error!r}); mend or remove it"
        ) from error


def _has_index(block: str) -> bool:
    return any(line.startswith("model-index:") for line in block.splitlines())


def _says(block: str, metadata: dict) -> bool:
    """Whether this text means just these metadata."""
    try:
        return yaml.safe_load(block) == metadata
    except yaml.YAMLError:
        return False


def _with_index(block: str, index: str) -> str:
    """The metadata's text with another `model-index`, its lines ending as the others do; the rest as it is."""
    line_break = "\r\n" if "\r\n" in block else "\n"
    index = index.replace("\n", line_break)
    lines = (block + line_break).splitlines(keepends=True)
    first = next((number for number, line in enumerate(lines) if line.startswith("model-index:")), len(lines))
    last = first
    for number in range(first + 1, len(lines)):
        if lines[number][0] not in " \t-#\r\n":  # the next key
            break
        if lines[number].strip() and lines[number][0] in " \t-":
            last = number  # comments and empty lines behind the last entry belong to what follows
    return "".join([*lines[:first], index, *lines[last + 1 :]]).removesuffix(line_break)


def _replace(path: Path, text: str) -> None:
    staged = path.with_name(f".{path.name}.new")
    staged.write_bytes(text.encode("utf-8"))
    os.replace(staged, path)
