"""The prompt audit of one model: which wordings, kinds and languages it understands, and which prompts to leave out.

In go a model, its zero-shot classifier and the embeddings of validation and tested scans; out comes one dict for `results.json`.
The measures are those of `prompt_audit`; what is chosen is chosen on the validation scans.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from modeling_mvfer.zeroshot_mvfer import class_embeddings
from mvfer.evaluation.audits.prompt_audit import (
    LISTED,
    PromptScores,
    better_set,
    compare_sets,
    dominant_words,
    leave_one_out,
    misplaced_classes,
)
from mvfer.evaluation.classifiers import SplitClassifier
from mvfer.evaluation.embeddings import SplitFeatures
from processing.prompts_mvfer import ACTION_BANK, KINDS, LANGUAGES, describe_actions, find_expression, prompts_for

OWN = "the model's own"


def audit_prompts(
    model, tokenizer, zero_shot: SplitClassifier, validation: SplitFeatures, tested: SplitFeatures, *, seed: int
) -> dict:
    """Run the audit.

    Returns:
        `dict`: sets, best, worst, spread (see `compare_sets`, on the tested scans); on the validation scans prompts (all that are
        harmful, or the ten that come nearest to it), misplaced (classes whose prompts describe another) and words (the most
        dominant); better_set (`None` if validation and test share subjects).
    """
    own = prompt_scores(model, tokenizer, zero_shot, zero_shot.prompts, tested)
    correct = {OWN: own.correct()}
    for name, prompts in prompt_sets(zero_shot.names).items():
        correct[name] = prompt_scores(model, tokenizer, zero_shot, prompts, tested).correct()
    found = compare_sets(correct, own.subjects, seed=seed)
    held_out = prompt_scores(model, tokenizer, zero_shot, zero_shot.prompts, validation)
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
    expressions = {label: find_expression(label) for label in labels}
    if None in expressions.values():
        return None
    return {
        label: list(dict.fromkeys(describe_actions(units, wording=number) for units in ACTION_BANK[expression]))
        for label, expression in expressions.items()
    }
