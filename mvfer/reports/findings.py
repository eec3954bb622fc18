"""What a reader must not miss in the results, in a few sentences. In: the results of `evaluate`. Out: lines of text."""

from collections.abc import Mapping

from mvfer.evaluation.audits.fairness import flagged_groups
from mvfer.evaluation.results import UNITS


def findings(results: Mapping) -> list[str]:
    """One line each: leaks first and loud, then calibration, fairness, prompts and robustness, as far as they were tested."""
    lines = leaks(results)
    if (calibration := results.get("calibration")) and results.get("kind") != UNITS:
        lines.append("calibration: " + _calibration(calibration))
    if familiarity := results.get("familiarity"):
        lines += ["unknown faces: " + text for text in _strangers(familiarity)]
    if actions := results.get("actions"):
        lines += [f"actions, {name}: {_actions(one)}" for name, one in actions.items() if one]
    if fairness := results.get("fairness"):
        lines.append("fairness: " + _fairness(fairness))
    if audit := results.get("prompt_audit"):
        lines.append("prompts: " + _prompts(audit))
    if wordings := results.get("wordings"):
        lines.append("held-out wordings: " + _wordings(wordings))
    for name, words in (("robustness", "stored views"), ("mesh_robustness", "scans")):
        if found := results.get(name):
            lines.append(f"robustness, {words}: " + _robustness(found))
    return lines


def leaks(results: Mapping) -> list[str]:
    """One loud line per leak."""
    return [
        f"LEAK, the numbers below cannot be trusted: {found}" for found in results.get("leakage", {}).get("found", [])
    ]


def _calibration(found: Mapping) -> str:
    if "not_calibrated" in found:
        return f"none; {found['not_calibrated']}"
    before, after = found["uncalibrated"]["ece"], found["calibrated"]["ece"]
    text = f"temperature {found['temperature']:.2f}; error (ECE) {before:.3f} without it, {after:.3f} with it; "
    if found["abstain_below"] is None:
        return text + f"no threshold reaches an accuracy of {found['target_accuracy']:.2f}"
    coverage, accuracy = found["abstention"]["coverage"]["mean"], found["abstention"]["accuracy"]
    answered = "none" if accuracy is None else f"{accuracy['mean']:.3f}"
    if found["abstain_below"] == 0:
        return text + f"no answer need be left out, the accuracy is {answered} (target {found['target_accuracy']:.2f})"
    return text + (
        f"above a score of {found['abstain_below']:.2f} it answers {coverage:.0%}, with an accuracy of {answered} "
        f"(target {found['target_accuracy']:.2f})"
    )


def _strangers(found: Mapping) -> list[str]:
    return [
        f"{name}: {one['unlike']['mean']:.0%} of the scans are unlike known ones; {one['answered']['mean']:.0%} are answered"
        + (f", with an accuracy of {one['accuracy']['mean']:.3f}" if one["accuracy"] else "")
        for name, one in found["sets"].items()
        if name != "test"
    ]


def _actions(found: Mapping) -> str:
    auc, side = found["mean"]["auc"], found["side_right"]
    text = f"mean AUC over {len(found['per_unit'])} units {auc['mean']:.3f} [{auc['low']:.3f}, {auc['high']:.3f}]"
    worst = sorted(found["per_unit"].items(), key=lambda item: item[1]["auc"]["mean"])[:3]
    text += "; weakest: " + ", ".join(f"{one['phrase']} {one['auc']['mean']:.2f}" for _, one in worst)
    return text + (f"; the side of one-sided actions is right in {side['mean']:.0%}" if side else "")


def _fairness(audit: Mapping) -> str:
    audited = {name: values for name, values in audit.items() if "groups" in values}
    if not audited:
        return "not audited, the data set does not say sex, age or ancestry of enough people"
    flagged = flagged_groups(audit)
    parts = []
    for name, values in audited.items():
        gap = values["groups"][values["worst"]]["gap"]
        parts.append(
            f"{name.replace('_', ' ')}: {values['worst']} is {gap['mean']:.3f} [{gap['low']:.3f}, {gap['high']:.3f}] "
            f"below {values['best']}"
        )
    verdict = f"worse beyond chance: {', '.join(flagged)}" if flagged else "no group is worse beyond chance"
    return f"{verdict}; " + "; ".join(parts)


def _prompts(audit: Mapping) -> str:
    sets, spread = audit["sets"], audit["spread"]
    worst, best = audit["worst"], audit["best"]
    text = f"accuracy {sets[worst]['mean']:.3f} ({worst}) to {sets[best]['mean']:.3f} ({best})"
    text += f", spread {spread['mean']:.3f} [{spread['low']:.3f}, {spread['high']:.3f}]"
    harmful = [
        f"{row['class']} ({row['prompt']}), which fits {row['nearest']}" for row in audit["prompts"] if row["harmful"]
    ]
    text += f"; harmful prompts: {'; '.join(harmful)}" if harmful else "; no prompt does harm beyond chance"
    for name, other in audit["misplaced"].items():
        text += f"; THE PROMPTS OF {name} fit scans of {other['nearest']} better"
    if better := audit["better_set"]:
        change = better["difference"]
        text += (
            f"; without {len(better['left_out'])} prompt{'s' * (len(better['left_out']) != 1)} chosen on validation "
            f"{change['mean']:+.3f} [{change['low']:+.3f}, {change['high']:+.3f}]"
        )
    return text


def _wordings(audit: Mapping) -> str:
    return "; ".join(
        f"{language}: accuracy {found['held_out']['mean']:.3f}, {found['known']['mean']:.3f} by known ones, a difference of "
        f"{100 * found['difference']['mean']:+.1f} points [{100 * found['difference']['low']:+.1f}, "
        f"{100 * found['difference']['high']:+.1f}]"
        for language, found in audit.items()
    )


def _robustness(found: Mapping) -> str:
    kept = {name: values["accuracy_kept"] for name, values in found["corruptions"].items() if values["accuracy_kept"]}
    if not kept:
        return "no clean scan is classified rightly"
    worst = sorted(kept, key=lambda name: kept[name]["mean"])[:3]
    left_out = "".join(f"; not tested: {name}, {why}" for name, why in found.get("not_applicable", {}).items())
    return (
        f"keeps {found['accuracy_kept']['mean']:.0%} of its accuracy over {len(kept)} corruptions in five grades "
        f"({found['num_scans']} scans); weakest: "
        + ", ".join(f"{name} {kept[name]['mean']:.0%}" for name in worst)
        + left_out
    )
