"""The field's protocols, as data: who is tested, on which rows, in which folds, and where that is written.

In: a protocol and what is known of a built set's rows. Out: folds of subjects that never overlap, and which rows count. Within
a fold, a tenth of the training subjects is set aside for validation: nothing is chosen on test subjects. The full texts of the
papers were not at hand: `source` is where a protocol comes from, `reading` how we understand it, after later papers' accounts.
Check the paper before you quote its protocol.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mvfer.data.splits import check_disjoint
from processing.prompts_mvfer import EXPRESSIONS

SIX = ("anger", "disgust", "fear", "happiness", "sadness", "surprise")
VALIDATION_SHARE = 0.1


@dataclass(frozen=True)
class Protocol:
    """How a set is tested.

    Args:
        data_set: name of the built set, as its `dataset_info.json` has it.
        folds: number of folds; 0 leaves one subject out each time; 1 tests on every subject and trains on none (a second set).
        subjects: how many subjects are drawn, per seed; `None` all.
        expressions: classes that are tested, and that a subject must all show to be drawn; empty: all rows.
        min_intensity: rows below are left out.
        labels: of a multi-label test, as the column `task` names them; empty: the expressions are told apart.
        source: who tests so.
        reading: what that means here, and where papers differ.
    """

    data_set: str
    folds: int
    source: str
    reading: str
    subjects: int | None = None
    expressions: tuple[str, ...] = ()
    min_intensity: float = 0.0
    labels: tuple[str, ...] = ()


PROTOCOLS = {
    "bu3dfe-subset1": Protocol(
        "mvfer-bu3dfe",
        10,
        source="Gong, Wang, Liu & Tang, Automatic Facial Expression Recognition on a Single 3D Face by Exploring Shape "
        "Deformation, ACM Multimedia 2009; called Subset I in Li, Sun, Xu & Chen, Multimodal 2D+3D Facial Expression "
        "Recognition With Deep Fusion Convolutional Neural Network, IEEE TMM 19(12), 2017",
        reading="60 of the 100 subjects, levels 3 and 4 of six expressions (720 scans), ten folds; papers either draw the 60 "
        "once or anew for each of 100 to 1000 repetitions: here, `seed` draws them",
        subjects=60,
        expressions=SIX,
        min_intensity=0.75,
    ),
    "bu3dfe-subset2": Protocol(
        "mvfer-bu3dfe",
        10,
        source="Li, Sun, Xu & Chen, IEEE TMM 19(12), 2017, as Subset II",
        reading="all four levels; with 60 drawn subjects, as in Subset I. A paper that takes all 100 (2,400 scans) is not the "
        "same protocol",
        subjects=60,
        expressions=SIX,
        min_intensity=0.25,
    ),
    "bosphorus-10fold": Protocol(
        "mvfer-bosphorus",
        10,
        source="Li, Sun, Xu & Chen, IEEE TMM 19(12), 2017",
        reading="60 subjects drawn from those who show all six expressions (about 65 of 105), one scan each (360), ten folds",
        subjects=60,
        expressions=SIX,
    ),
    "bu4dfe-10fold": Protocol(
        "mvfer-bu4dfe",
        10,
        source="Sun & Yin, Facial Expression Recognition Based on 3D Dynamic Range Model Sequences, ECCV 2008; Behzad et al., "
        "CCDN, arXiv 1905.02319",
        reading="ten folds of all 101 subjects, one prediction per sequence; earlier papers take 60 subjects, or windows of "
        "some frames",
        expressions=SIX,
    ),
    "fourdme-loso": Protocol(
        "mvfer-fourdme",
        0,
        source="Li, Cheng, Li, Behzad, Shen, Zafeiriou, Pantic & Zhao, 4DME: A Spontaneous 4D Micro-Expression Dataset With "
        "Multimodalities, IEEE TAC 2022",
        reading="one subject left out at a time; the set's own labels, of which a row may have several, are told apart one by "
        "one; UF1 and UAR over all rows together",
        labels=("Positive", "Negative", "Surprise", "Repression", "Others"),
    ),
    "bp4d-from-bu4dfe": Protocol(
        "mvfer-bp4d",
        1,
        source="the cross-data-set test of Behzad et al., such as FACET-VLM, arXiv 2507.01673; BP4D: Zhang et al., IVC 32(10), "
        "2014",
        reading="trained on BU-4DFE; every BP4D subject is tested, on all tasks that were to elicit one of the six. Papers may "
        "take fewer tasks (happiness and disgust): compare class by class. BP4D+ has other people and tasks, and is refused",
        expressions=SIX,
    ),
}


def folds(protocol: Protocol, rows: Sequence[Mapping], *, seed: int = 0) -> list[dict[str, list[str]]]:
    """Subjects of every fold.

    Args:
        rows: mappings with subject, expression (index) and intensity.
        seed: which subjects are drawn, and how they are dealt.
    Returns:
        one dict per fold: train, validation, test -> subjects.
    Raises:
        ValueError: if there are too few subjects.
    """
    wanted = {EXPRESSIONS.index(name) for name in protocol.expressions}
    shown: dict[str, set[int]] = {}
    for row in rows:
        if keeps(protocol, row):
            shown.setdefault(row["subject"], set()).add(row["expression"])
    able = [subject for subject, classes in shown.items() if protocol.subjects is None or wanted <= classes]
    need = max(protocol.subjects or 0, protocol.folds or 3)
    if len(able) < need:
        raise ValueError(f"the protocol needs {need} subjects that show what it tests, found {len(able)}")
    dealt = _shuffled(able, seed)[: protocol.subjects]
    if protocol.folds == 1:
        return [{"train": [], "validation": [], "test": sorted(dealt)}]
    made = []
    for fold in range(protocol.folds or len(dealt)):
        test = dealt[fold :: protocol.folds or len(dealt)]
        others = _shuffled([subject for subject in dealt if subject not in set(test)], seed + 1 + fold)
        cut = max(1, round(VALIDATION_SHARE * len(others)))
        split = {"train": sorted(others[cut:]), "validation": sorted(others[:cut]), "test": sorted(test)}
        check_disjoint(split)
        made.append(split)
    return made


def keeps(protocol: Protocol, row: Mapping) -> bool:
    """Whether a row is part of the protocol."""
    if protocol.expressions and (row["expression"] < 0 or EXPRESSIONS[row["expression"]] not in protocol.expressions):
        return False
    return (1.0 if row["intensity"] is None else row["intensity"]) >= protocol.min_intensity


def name_of(info: Mapping) -> str:
    """The set of a `dataset_info.json`, for `protocols_of`; before 0.2, BP4D+ was built under the name of BP4D."""
    is_plus = (info.get("build") or {}).get("options", {}).get("plus", False)
    return "mvfer-bp4d-plus" if is_plus else str(info.get("name"))


def protocols_of(data_set: str) -> list[str]:
    """Names of the protocols that test this set, as its `dataset_info.json` names it.

    Raises:
        ValueError: if there is none.
    """
    found = [name for name, protocol in PROTOCOLS.items() if protocol.data_set == data_set]
    if not found:
        known = sorted({protocol.data_set for protocol in PROTOCOLS.values()})
        raise ValueError(f"no protocol tests {data_set!r}; there are protocols for {', '.join(known)}")
    return found


def _shuffled(subjects: Sequence[str], seed: int) -> list[str]:
    """In the order of a hash, so that the order in which they were found does not matter."""
    return sorted(subjects, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())
