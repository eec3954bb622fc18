"""How much hangs on the words? Which wordings, kinds and languages a model understands, which prompts and words sway it.

In: a model, its zero-shot classifier and the embeddings of validation and tested scans. Out: one dict for `results.json`: numbers
per prompt set, per prompt and per word, and a better set. What is chosen is chosen on validation subjects, and reported on the
tested ones with the interval of the difference.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import log_softmax, logsumexp

from modeling_mvfer.zeroshot_mvfer import class_embeddings
from mvfer.evaluation.classifiers import SplitClassifier
from mvfer.evaluation.embeddings import SplitFeatures
from mvfer.evaluation.metrics import bootstrap_mean, bootstrap_weights
from processing.prompts_mvfer import ACTION_BANK, KINDS, LANGUAGES, describe_actions, find_expression, prompts_for

_WORDS = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?")
COMMON_WORDS = frozenset("a an and at into is of on the to with or are".split())
LISTED = 10  # prompts and words in the results
NUM_PERMUTATIONS = 2000
SIGNIFICANT = 0.05
OWN = "the model's own"  # among the prompt sets


@dataclass(frozen=True)
class PromptScores:
    """Similarities of `n` scans with the `P` prompts of `K` classes.

    Attributes:
        similarities (`(n, P)`): scale times cosine.
        owners (`(P,)`): which class a prompt belongs to, 0 to K - 1, every class at least once.
        texts (`P` strings).
        labels (`(n,)`), subjects (`n` strings): of the scans.
    """

    similarities: np.ndarray
    owners: np.ndarray
    texts: Sequence[str]
    labels: np.ndarray
    subjects: Sequence[str]

    def __post_init__(self):
        n, P = self.similarities.shape
        if len(self.owners) != P or len(self.texts) != P or len(self.labels) != n or len(self.subjects) != n or n == 0:
            raise ValueError(
                f"expected similarities (n, P), got {self.similarities.shape} with {len(self.owners)} owners, "
                f"{len(self.texts)} texts, {len(self.labels)} labels and {len(self.subjects)} subjects"
            )

    def logits(self, kept: np.ndarray | None = None) -> np.ndarray:
        """Class logits `(n, K)`, as `class_logits` has them, from the kept prompts (`(P,)` bool; default all)."""
        kept = np.ones(len(self.owners), bool) if kept is None else kept
        columns = []
        for k in range(self.owners.max() + 1):
            mine = self.similarities[:, kept & (self.owners == k)]
            if not mine.shape[1]:
                raise ValueError(f"class {k} has no prompt left")
            columns.append(logsumexp(mine, axis=1) - np.log(mine.shape[1]))
        return np.stack(columns, axis=1)

    def of(self, rows: np.ndarray) -> "PromptScores":
        """The scans at these positions, or where `rows` `(n,)` is true."""
        rows = np.arange(len(self.labels))[rows]
        subjects = [self.subjects[row] for row in rows]
        return PromptScores(self.similarities[rows], self.owners, self.texts, self.labels[rows], subjects)

    def correct(self, kept: np.ndarray | None = None) -> np.ndarray:
        """Which scans are classified rightly, `(n,)`."""
        return self.logits(kept).argmax(1) == self.labels


def audit_prompts(
    model, tokenizer, zero_shot: SplitClassifier, validation: SplitFeatures, tested: SplitFeatures, *, seed: int
) -> dict:
    """Run the audit.

    Returns:
        `dict`: sets, best, worst, spread (see `compare_sets`, on the tested scans); on the validation scans prompts (all that are
        harmful, or the ten that come nearest to it), misplaced (classes whose prompts describe another) and words (the most
        dominant); better_set (`None` if validation and test share subjects).
    """
    own_prompts = zero_shot.prompts or {}
    own = prompt_scores(model, tokenizer, zero_shot, own_prompts, tested)
    correct = {OWN: own.correct()}
    for name, prompts in prompt_sets(zero_shot.names).items():
        correct[name] = prompt_scores(model, tokenizer, zero_shot, prompts, tested).correct()
    found = compare_sets(correct, own.subjects, seed=seed)
    held_out = prompt_scores(model, tokenizer, zero_shot, own_prompts, validation)
    found["misplaced"] = misplaced_classes(held_out, zero_shot.names, seed=seed)
    # Scans of a class that has no right prompt would blame whichever prompts they are taken for.
    blamed = np.isin(held_out.labels, [zero_shot.names.index(name) for name in found["misplaced"]])
    prompts = [] if blamed.all() else leave_one_out(held_out.of(~blamed), zero_shot.names, seed=seed)
    found["prompts"] = prompts[: max(LISTED, sum(row["harmful"] for row in prompts))]
    found["words"] = dominant_words(held_out)[:LISTED]
    shared = set(held_out.subjects) & set(own.subjects)
    found["better_set"] = None if shared else better_set(held_out, own, zero_shot.names, seed=seed)
    return found


def prompt_sets(labels: Sequence[str]) -> dict[str, dict[str, list[str]]]:
    """Kinds, languages and single wordings of the published bank for these labels, by a readable name."""
    sets = {
        f"{kind}, {language}": prompts_for(labels, kinds=[kind], language=language)
        for kind in KINDS
        for language in LANGUAGES
    }
    sets |= {f"actions and names, {language}": prompts_for(labels, language=language) for language in LANGUAGES}
    for number in range(3):
        if wording := _one_wording(labels, number):
            sets[f"actions, en, wording {number + 1}"] = wording
    return sets


def prompt_scores(
    model, tokenizer, zero_shot: SplitClassifier, prompts: Mapping[str, Sequence[str]], features: SplitFeatures
) -> PromptScores:
    """Similarities of the labelled scans with every prompt."""
    embeds = class_embeddings(model, tokenizer, prompts)
    rows = np.flatnonzero(features.labels >= 0)
    every = np.concatenate([embeds[name].cpu().numpy() for name in zero_shot.names])
    return PromptScores(
        similarities=float(model.logit_scale.detach().float().exp()) * features.image_embeds[rows] @ every.T,
        owners=np.repeat(np.arange(len(zero_shot.names)), [len(prompts[name]) for name in zero_shot.names]),
        texts=[text for name in zero_shot.names for text in prompts[name]],
        labels=zero_shot.classes_of(features.labels[rows]),
        subjects=[features.subjects[row] for row in rows],
    )


def _one_wording(labels: Sequence[str], number: int) -> dict[str, list[str]] | None:
    """Every action in one wording; `None` if a label is no expression of the bank."""
    expressions = {label: found for label in labels if (found := find_expression(label)) is not None}
    if len(expressions) < len(set(labels)):
        return None
    return {
        label: list(dict.fromkeys(describe_actions(units, wording=number) for units in ACTION_BANK[expression]))
        for label, expression in expressions.items()
    }


def compare_sets(correct: Mapping[str, np.ndarray], subjects: Sequence[str], *, seed: int) -> dict:
    """Accuracy of several prompt sets on the same scans (name -> `(n,)` bool), and how far they lie apart.

    Returns:
        `dict`: `sets` (name to `{"mean", "low", "high"}`), `best`, `worst`, `spread` (the difference of these two, with its
        interval; the best of several is flattered a little).
    """
    if not correct:
        raise ValueError("expected at least one prompt set, got none")
    sets = {name: bootstrap_mean(right, subjects, seed=seed) for name, right in correct.items()}
    ranked = sorted(sets, key=lambda name: -sets[name]["mean"])
    best, worst = ranked[0], ranked[-1]
    spread = bootstrap_mean(correct[best].astype(float) - correct[worst], subjects, seed=seed)
    return {"sets": sets, "best": best, "worst": worst, "spread": spread}


def leave_one_out(scores: PromptScores, names: Sequence[str], *, seed: int = 0) -> list[dict]:
    """What each prompt does: classify without it.

    A prompt is *harmful* if it fits scans of another class better than those of its own, and the log loss falls without it by
    more than 95 % of random signs of the people's changes would show for *any* prompt. Accuracy moves in steps of a scan, and
    hides a prompt that only makes the model unsure; the log loss alone also falls without the weakest of several right ones.

    Returns:
        one `dict` per prompt whose class has another: prompt, class, `changed` (share of scans that are then classified
        otherwise: how much it dominates), `accuracy_without` (difference of accuracy), `log_loss_without` (difference of the
        log loss; below 0, the prompt does harm), `nearest` (the class whose scans it fits best, on average), p_value and
        harmful. Sorted by the log loss.
    Source:
        max-statistic test by signs: Westfall & Young 1993, Resampling-Based Multiple Testing.
    """
    predicted, loss = scores.logits().argmax(1), _log_losses(scores)
    shown = np.unique(scores.labels)
    fits = np.stack([scores.similarities[scores.labels == k].mean(0) for k in shown])  # (shown, P)
    rows, changes = [], []
    for index, owner in enumerate(scores.owners):
        kept = np.arange(len(scores.owners)) != index
        if not (scores.owners[kept] == owner).any():
            continue
        changes.append(_log_losses(scores, kept) - loss)
        rows.append(
            {
                "prompt": scores.texts[index],
                "class": names[owner],
                **_change(scores, predicted, kept),
                "log_loss_without": float(changes[-1].mean()),
                "nearest": names[shown[fits[:, index].argmax()]],
            }
        )
    if rows:
        for row, p_value in zip(rows, _falls(np.stack(changes, 1), scores.subjects, seed), strict=True):
            row |= {"p_value": p_value, "harmful": p_value < SIGNIFICANT and row["nearest"] != row["class"]}
    return sorted(rows, key=lambda row: row["log_loss_without"])


def misplaced_classes(scores: PromptScores, names: Sequence[str], *, seed: int = 0) -> dict[str, dict]:
    """Classes whose prompts, together, fit the scans of another class better than their own: none of them may be right.

    Returns:
        class to `nearest` (the class whose scans fit best) and `by` (how much better, in logits, an interval above 0).
    """
    logits, found = scores.logits(), {}
    shown = [k for k in range(len(names)) if (scores.labels == k).any()]
    for k in shown:
        best = max(shown, key=lambda c: logits[scores.labels == c, k].mean())
        if best == k:
            continue

        def ahead(weights, k=k, best=best):
            here, there = ((weights * (scores.labels == c)) for c in (k, best))
            mean_here, mean_there = (w @ logits[:, k] / np.maximum(w.sum(-1), 1e-9) for w in (here, there))
            return mean_there - mean_here

        by = bootstrap_weights(ahead, scores.subjects, seed=seed)
        if by["low"] > 0:
            found[names[k]] = {"nearest": names[best], "by": by}
    return found


def dominant_words(scores: PromptScores) -> list[dict]:
    """What each word does: classify without the prompts that hold it, in classes that have others.

    Returns:
        one `dict` per word: word, prompts (how many hold it), `changed`, `accuracy_without`. Most dominant first, equals by name.
    """
    predicted = scores.logits().argmax(1)
    holding: dict[str, set[int]] = {}
    for index, text in enumerate(scores.texts):
        for word in set(_WORDS.findall(text.lower())) - COMMON_WORDS:
            holding.setdefault(word, set()).add(index)
    rows = []
    for word, indices in holding.items():
        kept = ~np.isin(np.arange(len(scores.owners)), list(indices))
        for k in set(scores.owners) - set(scores.owners[kept]):
            kept |= scores.owners == k  # a class that would have no prompt left keeps all
        if not kept.all():
            rows.append({"word": word, "prompts": int((~kept).sum()), **_change(scores, predicted, kept)})
    return sorted(rows, key=lambda row: (-row["changed"], row["word"]))  # a set's words come in any order


def _change(scores: PromptScores, predicted: np.ndarray, kept: np.ndarray) -> dict[str, float]:
    """What it does to the predicted classes `(n,)` if only the kept prompts `(P,)` are asked."""
    without = scores.logits(kept).argmax(1)
    accuracy = (predicted == scores.labels).mean()
    return {
        "changed": float((without != predicted).mean()),
        "accuracy_without": float((without == scores.labels).mean() - accuracy),
    }


def prune(scores: PromptScores) -> np.ndarray:
    """A better prompt set: leave out one prompt at a time while the log loss falls, always the one that helps most.

    Args:
        scores: of *validation* subjects.
    Returns:
        `(P,)` bool: which prompts are kept, of every class at least one.
    """
    kept = np.ones(len(scores.owners), bool)
    best = _log_losses(scores).mean()
    while True:
        tried = {}
        for index in np.flatnonzero(kept):
            if (kept & (scores.owners == scores.owners[index])).sum() > 1:
                without = kept.copy()
                without[index] = False
                tried[index] = _log_losses(scores, without).mean()
        if not tried or min(tried.values()) >= best - 1e-9:
            return kept
        index = min(tried, key=tried.__getitem__)
        kept[index], best = False, tried[index]


def better_set(validation: PromptScores, tested: PromptScores, names: Sequence[str], *, seed: int) -> dict:
    """Choose prompts on validation subjects and try them on the tested ones.

    Returns:
        `dict`: `prompts` (class to those kept), `left_out`, `accuracy_before`, `accuracy_after` and their `difference` on
        the tested scans, each `{"mean", "low", "high"}`. A difference whose interval holds 0 is no improvement.
    Raises:
        ValueError: if a subject is in both.
    """
    shared = sorted(set(validation.subjects) & set(tested.subjects))
    if shared:
        raise ValueError(f"prompts must not be chosen on tested subjects; {len(shared)} are in both ({shared[0]}, ...)")
    kept = prune(validation)
    before, after = tested.correct(), tested.correct(kept)
    texts = np.asarray(tested.texts, dtype=object)
    return {
        "prompts": {name: list(texts[kept & (tested.owners == k)]) for k, name in enumerate(names)},
        "left_out": list(texts[~kept]),
        "accuracy_before": bootstrap_mean(before, tested.subjects, seed=seed),
        "accuracy_after": bootstrap_mean(after, tested.subjects, seed=seed),
        "difference": bootstrap_mean(after.astype(float) - before, tested.subjects, seed=seed),
    }


def _falls(changes: np.ndarray, subjects: Sequence[str], seed: int) -> list[float]:
    """How often random signs of the people's mean changes `(n, P)` show as large a fall for any prompt: p-values `(P,)`."""
    _, owner = np.unique(np.asarray(subjects), return_inverse=True)
    people = np.zeros((owner.max() + 1, changes.shape[1]))
    np.add.at(people, owner, changes)
    people /= np.bincount(owner)[:, None]
    people /= np.maximum(np.sqrt((people**2).sum(0)), 1e-12)  # under random signs, every prompt has variance 1
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], (NUM_PERMUTATIONS, len(people)))
    lowest, seen = (signs @ people).min(1), people.sum(0)
    return [float((1 + (lowest <= value + 1e-12).sum()) / (1 + NUM_PERMUTATIONS)) for value in seen]


def _log_losses(scores: PromptScores, kept: np.ndarray | None = None) -> np.ndarray:
    return -log_softmax(scores.logits(kept), axis=1)[np.arange(len(scores.labels)), scores.labels]
