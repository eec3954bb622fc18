"""The two pages of a proof of concept. In: what `proof_of_concept` found. Out: HTML for people who decide."""

from matplotlib.figure import Figure

from mvfer.reports.pages import code, heading, interval, page, paragraph, picture, table, verdict
from mvfer.reports.pictures import ACCENT, INK, MUTED, QUIET, new_figure

WORDS = {"go": "Go ahead", "collect more": "Collect more data first", "stop": "Do not go ahead"}


def poc_page(found: dict) -> str:
    """The report of a proof of concept, one self-contained HTML document."""
    recommendation, plan, data = found["recommendation"], found["plan"], found["data"]
    return page(
        f"Proof of concept: {data['name']}",
        verdict(WORDS[recommendation["verdict"]], recommendation["reason"]),
        paragraph(found["legal"]),
        heading("What is saved"),
        paragraph(
            f"Prices: {plan['prices']['error']:g} per unnoticed error, {plan['prices']['review']:g} per case that a person "
            f"decides. The model decides where it is at least {found['benefit']['threshold']:.2f} sure, a person decides the "
            f"rest; the threshold was chosen on validation subjects, the numbers are of {data['test_subjects']} test subjects."
        ),
        _benefit(found["benefit"], plan["prices"]["review_error_rate"]),
        heading("How many labelled people are needed"),
        paragraph(_need(found["learning_curve"]["subjects_needed"], data["training_subjects"], plan["target"])),
        picture(_curve(found), "Accuracy against labelled subjects, measured and extrapolated", "Dots: probes fitted on "
                "different people. Band: 95 % interval of what will be measured on these test subjects."),
        heading("What it costs to run"),
        _costs(found["cost"]),
        heading("How this was made"),
        paragraph(
            "A linear probe on the model's frozen embeddings; its strength was chosen on validation subjects; no subject is in "
            "two splits. Intervals resample test subjects: they tell of people like those, seen by the same cameras.",
            muted=True,
        ),
        code(found.get("command", "")),
    )  # fmt: skip


def _benefit(benefit: dict, review_error_rate: float) -> str:
    costs = benefit["per_1000_cases"]
    rows = [
        ("people decide all", "all_by_people", f"{1000 * review_error_rate:.0f}", "1000"),
        ("the model decides all", "all_automatic", f"{1000 * (1 - benefit['accuracy_without_people']):.0f}", "0"),
        (
            "the model, people where it is unsure",
            "with_threshold",
            interval(costs["errors"], digits=0),
            interval(costs["reviews"], digits=0),
        ),
    ]
    shown = [(name, interval(costs[policy], digits=0), errors, reviews) for name, policy, errors, reviews in rows]
    saved = paragraph(
        f"Saving per 1,000 cases: {interval(costs['saving'], digits=0)}. Errors that the threshold avoids per 1,000 cases: "
        f"{interval(costs['errors_avoided'], digits=1)}."
    )
    return table(("who decides, per 1,000 cases", "cost", "errors", "reviews"), shown) + saved


def _need(needed: dict, have: int, target: float) -> str:
    if needed["mean"] is None:
        best = "" if needed["low"] is None else f" (in the best case of the interval with {needed['low']:,})"
        return (
            f"By the curve's own law, {target:.0%} is not reached with any number of people{best}: change the views or the "
            f"model rather than the amount of data. There are {have} labelled people now."
        )
    edges = [f"{needed[edge]:,}" if needed[edge] is not None else "no number" for edge in ("low", "high")]
    people = f"about {needed['mean']:,} labelled people ({edges[0]} to {edges[1]}, 95 %)"
    return f"{target:.0%} accuracy needs {people}; there are {have} now."


def _costs(cost: dict) -> str:
    names = {
        "training": "training",
        "training_at_target_size": f"training with {cost['training_at_target_size']['subjects']:,} subjects (projected)",
        "per_1000_predictions": "1,000 predictions from rendered views",
        "reading_and_rendering_1000_meshes": "reading and rendering 1,000 meshes",
    }
    rows = [
        (name, f"{value['seconds']:.1f}", f"{value['memory_mib']:.0f}", f"{value['joules'] / 3600:.2f}")
        for key, name in names.items()
        if (value := cost[key])
    ]
    return table(("on this machine", "seconds", "memory, MiB", "energy, Wh"), rows) + paragraph(
        f"Energy: {cost['training']['energy_source']}.", muted=True
    )


def _curve(found: dict) -> Figure:
    curve, target = found["learning_curve"], found["plan"]["target"]
    figure = new_figure(7.2, 3.4)
    axes = figure.add_subplot()
    low, high, mean = ([value[key] for value in curve["foretold"]] for key in ("low", "high", "mean"))
    axes.fill_between(curve["foretold_subjects"], low, high, color=QUIET, alpha=0.6, linewidth=0)
    axes.plot(curve["foretold_subjects"], mean, color=ACCENT, linewidth=1.6)
    for size, draws in zip(curve["subjects"], curve["single_draws"], strict=True):
        axes.plot([size] * len(draws), draws, "o", color=INK, markersize=3.2, alpha=0.7)
    axes.axhline(target, color=MUTED, linestyle="--", linewidth=1)
    axes.text(curve["foretold_subjects"][0], target, f" target {target:.0%}", va="bottom", color=MUTED, fontsize=9)
    axes.axvline(curve["subjects"][-1], color=MUTED, linestyle=":", linewidth=1)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("labelled training subjects", color=MUTED)
    axes.set_ylabel("accuracy", color=MUTED)
    axes.spines[["top", "right"]].set_visible(False)
    return figure
