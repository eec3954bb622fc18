"""What a protocol run says, as lines of text and as a page: our scores, and beside them what papers report.

In: results of `evaluate_protocol` or `evaluate_paper`. Out: text, or HTML that needs nothing else.
"""

from collections.abc import Mapping, Sequence

from mvfer.evaluation.results import scores_of, tables_of
from mvfer.reports.findings import findings
from mvfer.reports.pages import LEGAL, class_table, heading, interval, making, page, paragraph, picture, table, verdict

METRIC_NAMES = {"accuracy": "accuracy", "balanced_accuracy": "UAR", "macro_f1": "macro-F1", "uf1": "UF1", "uar": "UAR"}


def metrics_of(scores: Mapping) -> list[str]:
    """Which metrics a test was scored by."""
    return [metric for metric in METRIC_NAMES if metric in scores]


def protocol_text(results: Mapping) -> str:
    """The main numbers as lines of text, one block per protocol."""
    blocks = ["\n".join(_text(one)) for one in tables_of(results).values()]
    blocks += [f"{name}: not run; {reason}" for name, reason in results.get("not_run", {}).items()]
    return "\n\n".join(blocks)


def _text(results: Mapping) -> list[str]:
    protocol = results["protocol"]
    lines = [f"{protocol['name']}: {protocol['folds']} folds x {protocol['repetitions']}; {protocol['source']}"]
    lines.append(f"{'':<28}{'pooled, subjects resampled':<30}mean over folds")
    for name, scores in scores_of(results).items():
        for metric in metrics_of(scores):
            over = scores.get("over_folds", {}).get(metric)
            words = f"{name}, {METRIC_NAMES[metric]}"
            lines.append(f"{words:<28}{interval(scores[metric]):<30}{_over_folds(over)}".rstrip())
    if "chance" in results:
        lines.append(f"{'chance, accuracy':<28}{results['chance']:.3f}")
    for one in results["published"]:
        lines.append(f"published, not the same: {one['value']:.4g} {METRIC_NAMES[one['metric']]}, {one['method']}")
        lines.append(f"    {one['supervision']}; {one['source']}. {_sentence(one['differs'])}")
    return lines


def protocol_page(results: Mapping, *, confusions: Mapping[str, bytes]) -> str:
    """The whole report.

    Args:
        confusions: of each protocol that has one, the picture of its confusion matrix, a PNG file.
    Returns:
        `str`: a self-contained HTML document.
    """
    first, *others = findings(results) or ["No leak was found; checked: " + "; ".join(results["leakage"]["checked"])]
    tables = tables_of(results)
    parts = [
        verdict(" · ".join(tables), first),
        *(paragraph(line) for line in others),
        paragraph(f"A face does not tell what a person feels. {LEGAL}", muted=True),
    ]
    for name, one in tables.items():
        parts += _table(name, one, confusions.get(name))
    for name, reason in results.get("not_run", {}).items():
        parts += [heading(name), paragraph(f"Not run: {reason}")]
    if tuning := results.get("fine_tuning"):
        how = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in tuning.items())
        parts.append(paragraph(f"Fine-tuned anew in every fold, the step chosen on its validation subjects: {how}."))
    return page(f"{results['data']['name']}: published protocols", *parts, *making(results))


def _table(title: str, results: Mapping, confusion: bytes | None) -> list[str]:
    protocol, scores = results["protocol"], scores_of(results)
    test, first = next(iter(scores.items()))
    metrics = metrics_of(first)
    shown = [METRIC_NAMES[metric] for metric in metrics]
    rows = [(name, *(interval(one[metric]) for metric in metrics)) for name, one in scores.items()]
    over = [
        (name, *(_over_folds(one["over_folds"][metric]) for metric in metrics))
        for name, one in scores.items()
        if "over_folds" in one
    ]
    chance = f" Chance is {results['chance']:.3f}." if "chance" in results else ""
    parts = [
        heading(title),
        paragraph(
            f"{first['num_scans']} scans of {first['num_subjects']} people, {protocol['folds']} folds; intervals are 95 %, "
            f"people resampled.{chance}"
        ),
        table(("every fold's test people together", *shown), rows),
    ]
    if over:
        parts.append(table((f"mean over {protocol['folds']} folds x {protocol['repetitions']}", *shown), over))
    parts += _published(results["published"])
    parts.append(class_table(f"{test}, each class", first.get("per_class") or first["per_label"]))
    if confusion:
        parts.append(
            picture(confusion, f"Confusion matrix of {title}", "Zero-shot: what is taken for what (rows are true).")
        )
    if results.get("folds"):
        parts.append(_folds(results["folds"]))
    return [*parts, paragraph(f"Protocol: {protocol['source']}. Read as: {protocol['reading']}.", muted=True)]


def _published(figures: Sequence[Mapping]) -> list[str]:
    if not figures:
        return [paragraph("No published figure of this protocol could be confirmed.", muted=True)]
    rows = [(one["method"], f"{one['value']:.4g}", METRIC_NAMES[one["metric"]]) for one in figures]
    notes = [
        paragraph(
            f"{one['method']}: {one['source']}. Learnt from: {one['supervision']}. {_sentence(one['differs'])}",
            muted=True,
        )
        for one in figures
    ]
    return [table(("published, not measured here", "figure", "metric"), rows), *notes]


def _folds(folds: Sequence[Mapping]) -> str:
    tests = list(folds[0]["accuracy"])
    rows = [
        (
            number + 1,
            fold["subjects"],
            *(f"{fold['accuracy'][test]:.3f}" for test in tests),
            f"{fold['ece']:.3f}",
            f"{fold['ece_calibrated']:.3f}" if "ece_calibrated" in fold else "-",
        )
        for number, fold in enumerate(folds)
    ]
    return table(("fold", "people", *(test.replace("_", " ") for test in tests), "ECE", "ECE, calibrated"), rows)


def _over_folds(value: Mapping | None) -> str:
    if value is None:
        return ""
    return f"{value['mean']:.3f}" if value["low"] is None else interval(value)


def _sentence(text: str) -> str:
    return f"Not comparable as it stands: {text}."
