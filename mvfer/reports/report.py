"""The report of an evaluation as one page. In: the results of `evaluate`, and pictures. Out: HTML that needs nothing else.

Every section appears only if it was tested. The first lines are those that a reader must not miss (`findings`).
"""

from collections.abc import Iterable, Mapping, Sequence

from matplotlib.figure import Figure

from mvfer.evaluation.results import UNITS, accuracies
from mvfer.reports.findings import findings
from mvfer.reports.pages import LEGAL, class_table, heading, interval, making, page, paragraph, picture, table, verdict
from mvfer.reports.pictures import ACCENT, INK, MUTED, QUIET, new_figure

SHOWN_WORDS = 8
FEWEST_IN_BIN = 10  # scans of a point in the reliability diagram; of fewer, it is chance


def report_page(results: Mapping, *, pictures: Sequence[tuple[bytes, str]] = ()) -> str:
    """The whole report.

    Args:
        results: of `evaluate`.
        pictures: PNG files with a caption each; leave out those of faces where these must not be shown.
    Returns:
        `str`: a self-contained HTML document.
    """
    first, *others = findings(results) or ["No finding."]
    title = f"{results['data']['name']}: can these scores be trusted?"
    if results["kind"] == UNITS:
        counted = results["test"]
        parts = [
            verdict(f"Mean AUC over units {interval(counted['auc'])}", first),
            *(paragraph(line) for line in others),
            paragraph(f"A face does not tell what a person feels. {LEGAL}", muted=True),
            paragraph(f"{counted['num_scans']} coded scans of {counted['num_subjects']} people.", muted=True),
            *_actions(results["actions"]),
        ]
        return page(title, *parts, *making(results))
    parts = [
        verdict(f"Accuracy {interval(results['test']['accuracy'])}", first),
        *(paragraph(line) for line in others),
        paragraph(f"A face does not tell what a person feels. {LEGAL}", muted=True),
        heading("Accuracy"),
        paragraph(_setting(results), muted=True),
        table(("test", "accuracy, 95 %"), [(name, interval(value)) for name, value in accuracies(results).items()]),
        heading("Each class"),
        class_table("class", results["test"]["per_class"]),
    ]
    for name, section in SECTIONS.items():
        if results.get(name):
            parts += section(results[name])
    parts += [picture(data, caption, caption) for data, caption in pictures]
    prompts = results.get("prompts", {})  # a fine-tuned classifier reads none
    listed = [paragraph(f"Prompts of {label}: {'; '.join(texts)}", muted=True) for label, texts in prompts.items()]
    return page(title, *parts, *making(results), *listed)


def _setting(results: Mapping) -> str:
    subjects, scans = results["test"]["num_subjects"], results["test"]["num_scans"]
    text = ", ".join(source.replace("_", " ") for source in results["supervision"])
    return (
        f"{scans} scans of {subjects} people, split {results['split']!r}; intervals resample people. Chance is "
        f"{results['chance']:.3f}. Text supervision: {text}."
    )


def _calibration(found: Mapping) -> list[str]:
    if "not_calibrated" in found:
        return [heading("Calibration"), paragraph(f"Not calibrated: {found['not_calibrated']}")]
    before, after, sets = found["uncalibrated"], found["calibrated"], found["conformal"]
    names = {"ece": "ECE", "ece_adaptive": "ECE, equally filled bins", "brier": "Brier score", "log_loss": "log loss"}
    rows = [(names[key], f"{before[key]:.4f}", f"{after[key]:.4f}") for key in names]
    fitted = found["fitted_on"]
    return [
        heading("Calibration and abstention"),
        paragraph(
            f"Temperature {found['temperature']:.3f} and thresholds come from {fitted['num_subjects']} validation people; the "
            "numbers are of the tested ones."
        ),
        table(("lower is better", "as it was", "calibrated"), rows),
        paragraph(
            f"Sets of classes that shall miss the truth in {sets['error_rate']:.0%} of cases hold it in "
            f"{interval(sets['coverage'])}, with {interval(sets['size'], digits=2)} classes each."
        ),
        picture(
            _calibration_figure(found),
            "Reliability, and risk against coverage",
            f"Left: how often it is right, of answers that are so sure ({FEWEST_IN_BIN} scans or more). Right: share of wrong "
            "answers if it answers only so many.",
        ),
    ]


def _calibration_figure(found: Mapping) -> Figure:
    figure = new_figure(7.2, 3.2)
    left, right = figure.subplots(1, 2)
    rows = [row for row in found["reliability"] if row["count"] >= FEWEST_IN_BIN]
    left.plot([0, 1], [0, 1], color=QUIET, linewidth=1)
    left.plot([row["confidence"] for row in rows], [row["accuracy"] for row in rows], "o-", color=ACCENT, markersize=4)
    left.set(xlim=(0, 1), ylim=(0, 1), xlabel="how sure", ylabel="how often right")
    curve = found["risk_coverage"]
    right.plot(curve["coverage"], curve["risk"], color=ACCENT)
    right.set(xlim=(0, 1), ylim=(0, None), xlabel="share answered", ylabel="share wrong")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.xaxis.label.set_color(MUTED)
        axes.yaxis.label.set_color(MUTED)
    return figure


def _fairness(audit: Mapping) -> list[str]:
    rows = [
        (
            f"{attribute.replace('_', ' ')}: {group}" + (" (worse beyond chance)" if group in found["flagged"] else ""),
            interval(values["accuracy"]),
            interval(values["gap"]),
            values["num_subjects"],
        )
        for attribute, found in audit.items()
        for group, values in found.get("groups", {}).items()
    ]
    if not rows:
        return []
    note = (
        "The gap is to the best group of the same kind. A group is marked if random regroupings of the people rarely (1 in 20) "
        "show a deficit like its own in any group."
    )
    return [
        heading("Groups of people"),
        table(("group", "accuracy", "gap", "people"), rows),
        paragraph(note, muted=True),
    ]


def _weights(found: Mapping) -> list[str]:
    return [*_views_counted(found["views"]), *(_moments_counted(found["frames"]) if found["frames"] else [])]


def _views_counted(views: Mapping) -> list[str]:
    names, means = list(views["overall"]), [value["mean"] for value in views["overall"].values()]
    if len(names) < 2:
        return []
    rows = [("all scans", *(f"{mean:.3f}" for mean in means))]
    rows += [
        (label, *(f"{mine[name]:.3f}" if name in mine else "-" for name in names))
        for label, mine in views["per_class"].items()
    ]
    everywhere = abs(sum(means) - 1) < 1e-3  # every scan has every view
    equal = f"; equal weights are {1 / len(names):.3f}" if everywhere else ", of scans that have it"
    note = f"Mean weight of each view in what the model compares with texts{equal}. {_reach(views['overall'].values())}"
    header = ("scans", *(name.replace("_", " ") for name in names))
    return [heading("Which views counted"), table(header, rows), paragraph(note, muted=True)]


def _moments_counted(frames: Mapping) -> list[str]:
    rows = [("all sequences", *(f"{value['mean']:.2f}" for value in frames["overall"]))]
    rows += [(label, *(f"{value:.2f}" for value in mine)) for label, mine in frames["per_class"].items()]
    header = ("sequences", "first frame", *(f"{moment:.0%}" for moment in frames["moments"][1:-1]), "last frame")
    note = "How much frames counted by when in the sequence they were taken; 1 is as much as with equal weights."
    note = f"{note} {_reach(frames['overall'])}"
    return [heading("Which moments counted"), table(header, rows), paragraph(note, muted=True)]


def _reach(values: Iterable[Mapping]) -> str:
    widest = max(max(value["high"] - value["mean"], value["mean"] - value["low"]) for value in values)
    return f"In the first line, 95 % intervals reach {widest:.3f} to either side at most."


def _robustness(found: Mapping) -> list[str]:
    rows = [
        (
            name.replace("_", " "),
            *(f"{grade['mean']:.2f}" for grade in values["accuracy"]),
            interval(values["accuracy_kept"], digits=2),
        )
        for name, values in found["corruptions"].items()
    ]
    grades = max(len(values["accuracy"]) for values in found["corruptions"].values())
    parts = [
        heading("Robustness"),
        paragraph(
            f"{found['num_scans']} scans; undisturbed {interval(found['clean'])}. Accuracy by grade of the disturbance, and how "
            f"much of the undisturbed accuracy is kept over all grades; all in all {interval(found['accuracy_kept'], digits=2)}."
        ),
        table(("disturbance", *map(str, range(1, grades + 1)), "kept"), rows),
        picture(robustness_figure(found), "Accuracy against the grade of each disturbance"),
        *(paragraph(f"Not tested: {name}; {why}.", muted=True) for name, why in found["not_applicable"].items()),
    ]
    if subsets := found.get("view_subsets"):
        rows = [(name.replace("_", " "), interval(value)) for name, value in subsets.items()]
        parts.append(table(("these views alone", "accuracy"), rows))
    return parts


def robustness_figure(found: Mapping) -> Figure:
    """A small curve per disturbance: accuracy against its grade, beside the undisturbed accuracy."""
    names = list(found["corruptions"])
    columns = 4
    figure = new_figure(7.2, 1.7 * -(-len(names) // columns))
    grid = list(figure.subplots(-(-len(names) // columns), columns, squeeze=False, sharey=True).flat)
    for axes in grid:
        axes.set_axis_off()
    for axes, name in zip(grid, names, strict=False):
        axes.set_axis_on()
        curve = found["corruptions"][name]["accuracy"]
        low, high = ([grade[edge] for grade in curve] for edge in ("low", "high"))
        grades = range(1, len(curve) + 1)
        axes.axhline(found["clean"]["mean"], color=QUIET, linewidth=1)
        axes.fill_between(grades, low, high, color=QUIET, alpha=0.6, linewidth=0)
        axes.plot(grades, [grade["mean"] for grade in curve], color=ACCENT, linewidth=1.4)
        axes.set_title(name.replace("_", " "), fontsize=8.5, color=INK)
        axes.set(ylim=(0, 1), xticks=list(grades))
        axes.tick_params(labelsize=7, colors=MUTED)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _prompts(audit: Mapping) -> list[str]:
    rows = [(name, interval(value)) for name, value in audit["sets"].items()]
    prompts = [
        (
            f"{row['class']}: {row['prompt']}" + (f" (harmful: fits {row['nearest']})" if row["harmful"] else ""),
            f"{row['changed']:.1%}",
            f"{row['accuracy_without']:+.3f}",
            f"{row['log_loss_without']:+.4f}",
        )
        for place, row in enumerate(audit["prompts"])
        if row["harmful"] or place < SHOWN_WORDS
    ]
    words = [
        (row["word"], row["prompts"], f"{row['changed']:.1%}", f"{row['accuracy_without']:+.3f}")
        for row in audit["words"][:SHOWN_WORDS]
    ]
    parts = [
        heading("Prompts"),
        paragraph(f"Best and worst set differ by {interval(audit['spread'])}."),
        table(("set of prompts", "accuracy"), rows),
    ]
    for name, other in audit["misplaced"].items():
        text = f"The prompts of {name} fit scans of {other['nearest']} better than its own, by {interval(other['by'], digits=1)}"
        parts.append(paragraph(f"{text} logits: none of them may be right."))
    if prompts:
        note = (
            "A prompt is marked if it fits scans of another class better than its own, and the log loss of validation people "
            "falls without it by more than chance shows in 1 of 20 sets."
        )
        parts.append(table(("without this prompt", "answers changed", "accuracy", "log loss"), prompts))
        parts.append(paragraph(note, muted=True))
    if words:
        parts.append(table(("without this word", "prompts", "answers changed", "accuracy"), words))
    return parts


def _wordings(audit: Mapping) -> list[str]:
    rows = [
        (language, *(interval(found[name]) for name in ("known", "held_out", "difference", "from_default")))
        for language, found in audit.items()
    ]
    note = "Held-out wordings occur in no caption and in no default prompt: what is lost by them, the model had learnt by heart."
    header = ("language", "known wordings", "held-out wordings", "difference", "known less the default prompts")
    return [heading("Wordings"), table(header, rows), paragraph(note, muted=True)]


def _familiarity(found: Mapping) -> list[str]:
    rows = [
        (
            "tested people" if name == "test" else name,
            *(interval(one[key]) for key in ("unlike", "answered", "accuracy", "resting_misnamed")),
            "-" if one["told_apart"] is None else f"{one['told_apart']:.3f}",
        )
        for name, one in found["sets"].items()
    ]
    header = ("scans of", "unlike known ones", "answered", "accuracy of answers", "at rest, misnamed", "told apart")
    note = (
        "Unlike: farther from the training scans, in feature space, than known people's are. Misnamed: resting faces that "
        "are called something else without abstaining. Told apart: area under the ROC curve of the distance, against the "
        "tested people."
    )
    others = ", ".join(found["calibrated_on"])
    more = f" Limits were also chosen on the validation people of {others}." if others else ""
    return [heading("Known and unknown faces"), table(header, rows), paragraph(note + more, muted=True)]


def _actions(found: Mapping) -> list[str]:
    tested = {name: one for name, one in found.items() if one}
    if not tested:
        return []
    names = {"auc": "AUC", "f1": "F1", "balanced_accuracy": "balanced accuracy", "icc": "ICC of intensity"}
    rows = [
        (
            "tested people" if name == "test" else name,
            *(interval(one["mean"][key]) for key in names),
            interval(one["side_right"]),
            one["num_scans"],
        )
        for name, one in tested.items()
    ]
    parts = [
        heading("Facial actions"),
        table(("mean over units", *names.values(), "side right", "scans"), rows),
        picture(
            actions_figure(tested), "AUC of every action unit", "Area under the ROC curve of every unit; 0.5 is chance."
        ),
    ]
    first = next(iter(tested.values()))
    units = [
        (
            f"{unit} {one['phrase']}",
            interval(one["auc"]),
            *("-" if one[key] is None else f"{one[key]:.3f}" for key in list(names)[1:]),
            f"{first['sides'][unit]['side_right']:.2f}" if unit in first["sides"] else "-",
            one["count"],
        )
        for unit, one in first["per_unit"].items()
    ]
    parts.append(table(("unit", *names.values(), "side right", "scans"), units))
    note = "F1 and balanced accuracy are of the units called seen. ICC(3,1) compares intensities with those of the data set."
    if not first["calibrated"]:
        note += " Nothing was calibrated on validation people."
    if first["not_judged"]:
        note += f" Not shown, so not judged: {', '.join(first['not_judged'])}."
    return [*parts, paragraph(note, muted=True)]


def actions_figure(tested: Mapping[str, Mapping]) -> Figure:
    """A row per unit, and a dot with its interval per set of scans."""
    units = list(dict.fromkeys(unit for one in tested.values() for unit in one["per_unit"]))
    phrases = {unit: row["phrase"] for one in tested.values() for unit, row in one["per_unit"].items()}
    figure = new_figure(7.2, 1.2 + 0.24 * len(units))
    axes = figure.subplots()
    for place, (name, one) in enumerate(tested.items()):
        shown = [unit for unit in units if unit in one["per_unit"]]
        heights = [units.index(unit) + 0.18 * place for unit in shown]
        values = [one["per_unit"][unit]["auc"] for unit in shown]
        colour = (ACCENT, MUTED, INK, QUIET)[place % 4]
        axes.hlines(heights, [v["low"] for v in values], [v["high"] for v in values], color=colour, linewidth=1)
        label = "tested people" if name == "test" else name
        axes.plot([v["mean"] for v in values], heights, "o", color=colour, markersize=3.5, label=label)
    axes.axvline(0.5, color=QUIET, linewidth=1)
    axes.set_yticks(range(len(units)), [f"{unit} {phrases[unit]}" for unit in units])
    axes.invert_yaxis()
    axes.set(xlim=(min(0.4, axes.get_xlim()[0]), 1.01), xlabel="AUC")
    axes.tick_params(labelsize=8, colors=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8, frameon=False, loc="lower left")
    return figure


SECTIONS = {
    "calibration": _calibration,
    "familiarity": _familiarity,
    "actions": _actions,
    "fairness": _fairness,
    "weights": _weights,
    "robustness": _robustness,
    "mesh_robustness": _robustness,
    "prompt_audit": _prompts,
    "wordings": _wordings,
}
