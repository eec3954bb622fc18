"""Does the model understand words, or does it know its captions by heart? In: a model, its classifier, tested scans. Out: a dict.

The expressions are described once more in the wordings that no training sees (`facs_phrases_mvfer.split_wordings`), in every
language that the model learnt; what it loses against the known ones is what it had learnt by heart.
"""

from mvfer.evaluation.audits.prompt_audit import prompt_scores
from mvfer.evaluation.classifiers import SplitClassifier
from mvfer.evaluation.embeddings import SplitFeatures
from mvfer.evaluation.metrics import bootstrap_mean
from processing.prompts_mvfer import prompts_for


def audit_wordings(model, tokenizer, zero_shot: SplitClassifier, tested: SplitFeatures, *, seed: int) -> dict:
    """Accuracy by known and by held-out wordings of the facial actions.

    Returns:
        `dict`: per language "known" and "held_out" (accuracies), "difference" (held-out less known, on the same scans) and, for
        the known ones, "from_default" (less the accuracy by the prompts that the whole evaluation asked with), each
        `{"mean", "low", "high"}` over subjects; and "num_prompts" of both.
    """
    config = model.config
    default = prompt_scores(model, tokenizer, zero_shot, zero_shot.prompts or {}, tested)
    right, found = default.correct().astype(float), {}
    for language in config.prompt_languages or ("en",):
        answers, counts = {}, {}
        for name, wordings in (("known", config.prompt_wordings), ("held_out", "held_out")):
            prompts = prompts_for(zero_shot.names, kinds=["actions"], language=language, wordings=wordings)
            scores = prompt_scores(model, tokenizer, zero_shot, prompts, tested)
            answers[name], counts[name] = scores.correct().astype(float), len(scores.texts)
        parts = answers | {
            "difference": answers["held_out"] - answers["known"],
            "from_default": answers["known"] - right,
        }
        intervals = {name: bootstrap_mean(values, default.subjects, seed=seed) for name, values in parts.items()}
        found[language] = intervals | {"num_prompts": counts}
    return found
