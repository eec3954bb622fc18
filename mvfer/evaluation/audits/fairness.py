"""Does the model work as well for everybody? Accuracy per sex, age group and ancestry, with gaps that are told from chance.

In: which answers were right, of whom, and what is known of them. Out: accuracies per group with intervals, the gap of every
group to the best one, the worst group, and which groups are worse than the rest beyond chance. Subjects are resampled and
permuted, never single scans: a person's scans resemble each other.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from mvfer.evaluation.metrics import bootstrap_mean, draw_subjects

ATTRIBUTES = ("sex", "age_group", "ancestry")
LEAST_SUBJECTS = 5  # of a group; below, nothing is said of it
NUM_PERMUTATIONS = 2000
SIGNIFICANT = 0.05


def fairness_audit(
    correct: Sequence[bool],
    subjects: Sequence[str],
    attributes: Mapping[str, Sequence[str | None]],
    *,
    seed: int = 0,
    num_permutations: int = NUM_PERMUTATIONS,
) -> dict:
    """Compare groups of subjects.

    A group is *flagged* if its accuracy is below that of all others by more than 95 % of random regroupings of the subjects
    would show for *any* group of *any* attribute: with no bias at all, one audit in twenty flags something. Look at the
    intervals as well: a small group's gap may be large and not flagged.

    Args:
        correct (`(n,)` bool), subjects (`n` strings).
        attributes (name to `n` values, such as {"sex": ["female", ...]}): `None` or empty means not known.
        seed (`int`), num_permutations (`int`): of the resamples and permutations.
    Returns:
        `dict`: per attribute with two or more groups of at least five subjects `groups` (name to accuracy `{"mean", "low",
        "high"}`, num_scans, num_subjects, gap to the best group `{"mean", "low", "high"}`, p_value), `best`, `worst` and
        `flagged`; other attributes have `not_audited`, the reason. No attribute at all gives an empty dict.
    Source:
        max-statistic permutation test: Westfall & Young 1993, Resampling-Based Multiple Testing.
    """
    correct, subjects = np.asarray(correct, dtype=float), np.asarray(subjects)
    found: dict[str, dict] = {}
    members: dict[tuple[str, str], np.ndarray] = {}
    people, owner = np.unique(subjects, return_inverse=True)
    right, count = np.bincount(owner, correct), np.bincount(owner)
    for name, values in attributes.items():
        groups = _groups(values, owner, len(people))
        large = {group: mask for group, mask in groups.items() if mask.sum() >= LEAST_SUBJECTS}
        if len(large) < 2:
            sizes = {group: int(mask.sum()) for group, mask in groups.items()}
            found[name] = {
                "not_audited": f"needs two groups of {LEAST_SUBJECTS} subjects or more, has {sizes or 'none'}"
            }
        else:
            found[name] = {}
            members |= {(name, group): mask for group, mask in large.items()}
    if not members:
        return found
    p_values = _deficits(right, count, np.stack(list(members.values())), seed, num_permutations)
    for name in (name for name in found if "not_audited" not in found[name]):
        masks = {group: mask for (attribute, group), mask in members.items() if attribute == name}
        found[name] = _compare(correct, subjects, owner, right, count, masks, seed=seed)
        for group, values in found[name]["groups"].items():
            values["p_value"] = p_values[list(members).index((name, group))]
        found[name]["flagged"] = [
            group for group, values in found[name]["groups"].items() if values["p_value"] < SIGNIFICANT
        ]
    return found


def flagged_groups(audit: Mapping) -> list[str]:
    """Every flagged group as "attribute: group"."""
    return [f"{name}: {group}" for name, values in audit.items() for group in values.get("flagged", [])]


def _groups(values: Sequence[str | None], owner: np.ndarray, num_people: int) -> dict[str, np.ndarray]:
    """group -> which people `(S,)` belong to it, by what their first scan says."""
    first = np.unique(owner, return_index=True)[1]
    known = [values[row] for row in first]
    names = sorted({str(value) for value in known if value not in (None, "")})
    return {name: np.array([str(value) == name for value in known]) for name in names}


def _compare(correct, subjects, owner, right, count, masks: Mapping[str, np.ndarray], *, seed: int) -> dict:
    """Accuracy of every group and its gap to the best; groups are resampled independently."""
    accuracies = {group: right[mask].sum() / count[mask].sum() for group, mask in masks.items()}
    best, worst = max(accuracies, key=accuracies.__getitem__), min(accuracies, key=accuracies.__getitem__)
    resampled = {}
    for number, (group, mask) in enumerate(masks.items()):
        draws = draw_subjects(int(mask.sum()), seed=seed + number)
        resampled[group] = (draws @ right[mask]) / (draws @ count[mask])
    groups = {}
    for group, mask in masks.items():
        rows = mask[owner]
        low, high = np.percentile(resampled[best] - resampled[group], [2.5, 97.5])
        groups[group] = {
            "accuracy": bootstrap_mean(correct[rows], subjects[rows], seed=seed),
            "num_scans": int(rows.sum()),
            "num_subjects": int(mask.sum()),
            "gap": {"mean": float(accuracies[best] - accuracies[group]), "low": float(low), "high": float(high)},
        }
    return {"groups": groups, "best": best, "worst": worst}


def _deficits(
    right: np.ndarray, count: np.ndarray, members: np.ndarray, seed: int, num_permutations: int
) -> list[float]:
    """How often a random regrouping of people shows a deficit as large in any group: one p-value per group `(G, S)`."""
    rng = np.random.default_rng(seed)
    inside = members.astype(float)
    sizes = inside.sum(1)
    spread = np.sqrt(1 / sizes + 1 / np.maximum(len(right) - sizes, 1))  # of a difference of means, up to a factor

    def deficits(right: np.ndarray, count: np.ndarray) -> np.ndarray:
        """`(S, R)` to `(G, R)`: accuracy of the others less that of the group, in units of its spread."""
        ours, of_ours = inside @ right, inside @ count
        others, of_others = right.sum(0) - ours, count.sum(0) - of_ours
        return (others / np.maximum(of_others, 1) - ours / of_ours) / spread[:, None]

    seen = deficits(right[:, None], count[:, None])[:, 0]
    orders = rng.permuted(np.tile(np.arange(len(right)), (num_permutations, 1)), axis=1).T  # (S, R)
    largest = deficits(right[orders], count[orders]).max(0)
    return [float((1 + (largest >= value - 1e-12).sum()) / (1 + num_permutations)) for value in seen]
