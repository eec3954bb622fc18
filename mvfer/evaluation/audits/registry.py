"""Every audit of an evaluation, listed once: what is looked into beside the scores. In: a tested classifier. Out: findings.

An audit is a function of `Tested` under the name that its findings have in `results.json`. To add one, add a line to `AUDITS`.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from mvfer.evaluation.audits.drift import describe, observe
from mvfer.evaluation.audits.fairness import ATTRIBUTES, fairness_audit
from mvfer.evaluation.audits.prompt_audit import audit_prompts
from mvfer.evaluation.audits.robustness import choose_rows, find_meshes, mesh_robustness, view_robustness
from mvfer.evaluation.audits.weights import mean_weights
from mvfer.evaluation.audits.wordings import audit_wordings
from mvfer.evaluation.classifiers import Predictions, SplitClassifier, worst_mistakes
from mvfer.evaluation.embeddings import SplitFeatures, check_reads_scans


@dataclass(frozen=True)
class Tested:
    """What audits look at: a model, and what it makes of the tested rows.

    Attributes:
        model (`MVFERModel` or `MVFERForFaceClassification`), processor (`MVFERProcessor`).
        classifier: of the data set; rows (`datasets.Dataset`): the tested ones; features: theirs; validation: those of the
            validation rows.
        meshes (id to mesh file): of some tested rows, by `find_meshes`.
        seed (`int`): of whatever is drawn; batch_size, progress: as in `embed_split`.
    """

    model: Any
    processor: Any
    classifier: SplitClassifier
    rows: Any
    features: SplitFeatures
    validation: SplitFeatures
    meshes: Mapping[str, Path]
    seed: int
    batch_size: int
    progress: bool

    @cached_property
    def predictions(self) -> Predictions:
        return self.classifier.predictions(self.features, self.features.image_embeds)


class Audit(NamedTuple):
    """run: from `Tested` to what is ready for JSON. on_request: only if asked for. needs: "prompts" of the model, or "meshes"."""

    run: Callable[[Tested], dict | list | None]
    on_request: bool = False
    needs: str | None = None


def check_audits(asked: Collection[str], *, has_prompts: bool, has_meshes: bool) -> None:
    """Refuse audits that cannot be made, before anything is computed.

    Raises:
        ValueError: if a name is unknown, or what the audit needs is missing.
    """
    missing = {}
    if not has_prompts:
        missing["prompts"] = "a fine-tuned classifier reads no prompts; leave it out"
    if not has_meshes:
        missing["meshes"] = "it corrupts mesh files; give their folder"
    for name in asked:
        if name not in AUDITS:
            raise ValueError(f"unknown audit {name!r}; known are {', '.join(AUDITS)}")
        if why := missing.get(AUDITS[name].needs or ""):
            raise ValueError(f"{name}: {why}")


def tested_meshes(folder: str | Path | None, rows, image_processor) -> dict[str, Path]:
    """The mesh files of the labelled rows, found before anything is computed; none if no folder is given.

    Raises:
        ValueError: if the folder holds none of them, or the model reads no single scans.
    """
    if folder is None:
        return {}
    check_reads_scans(image_processor)
    return find_meshes(folder, [name for name, label in zip(rows["id"], rows["expression"], strict=True) if label >= 0])


def run_audits(tested: Tested, asked: Collection[str]) -> dict:
    """Findings by name: of the audits that are always made, of those asked for, and, if there are meshes, of these."""
    return {
        name: audit.run(tested)
        for name, audit in AUDITS.items()
        if not audit.on_request or name in asked or (audit.needs == "meshes" and tested.meshes)
    }


def _fairness(tested: Tested) -> dict:
    predictions = tested.predictions
    groups = {name: [tested.rows[name][row] for row in predictions.rows] for name in ATTRIBUTES}
    return fairness_audit(predictions.predicted == predictions.labels, predictions.subjects, groups, seed=tested.seed)


def _drift_baseline(tested: Tested) -> dict | None:
    return describe(**observe(tested.features, tested.classifier), seed=tested.seed)


def _weights(tested: Tested) -> dict:
    return mean_weights(tested.features, tested.classifier.label_names, seed=tested.seed)


def _mistakes(tested: Tested) -> list[int]:
    return worst_mistakes(tested.predictions)


def _robustness(tested: Tested) -> dict:
    chosen = tested.rows.select(choose_rows(tested.features, seed=tested.seed))
    options: dict[str, Any] = {"seed": tested.seed, "batch_size": tested.batch_size, "progress": tested.progress}
    return view_robustness(tested.model, tested.processor.image_processor, chosen, tested.classifier, **options)


def _mesh_robustness(tested: Tested) -> dict:
    parts = (tested.model, tested.processor, tested.meshes, tested.features, tested.classifier)
    return mesh_robustness(*parts, seed=tested.seed, progress=tested.progress)


def _prompt_audit(tested: Tested) -> dict:
    tokenizer = tested.processor.tokenizer
    parts = (tested.model, tokenizer, tested.classifier, tested.validation, tested.features)
    return audit_prompts(*parts, seed=tested.seed)


def _wordings(tested: Tested) -> dict:
    tokenizer = tested.processor.tokenizer
    return audit_wordings(tested.model, tokenizer, tested.classifier, tested.features, seed=tested.seed)


AUDITS = {
    "fairness": Audit(_fairness),
    "drift_baseline": Audit(_drift_baseline),
    "weights": Audit(_weights),
    "mistakes": Audit(_mistakes),
    "prompt_audit": Audit(_prompt_audit, on_request=True, needs="prompts"),
    "wordings": Audit(_wordings, on_request=True, needs="prompts"),
    "robustness": Audit(_robustness, on_request=True),
    "mesh_robustness": Audit(_mesh_robustness, on_request=True, needs="meshes"),
}
