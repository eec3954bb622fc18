"""Scores of scans that are seen relative to some of the same person's own.

In: a model that takes baselines, and a split with several scans per person. Out: scores by how many further scans of the person
the model was given. These are drawn from the tested split without a look at their labels; only "rest" is told which scans are
at rest, as a user is who asks a person to hold still. "scanner": instead, scans of other people; "scanner+3": both.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from modeling_mvfer.baseline_mvfer import Baseline
from mvfer.data.baselines import rows_at_rest
from mvfer.data.split_reader import SplitReader
from mvfer.evaluation.classifiers import SplitClassifier
from mvfer.evaluation.embeddings import evaluation_mode
from mvfer.evaluation.metrics import score
from mvfer.evaluation.results import summary

ALL, REST, SCANNER = "all", "rest", "scanner"
BOTH = f"{SCANNER}+"  # before a number of own scans, ALL or REST
OTHERS = 16  # scans of other people that tell what a scanner makes of any face


class _Scans(NamedTuple):
    """What the tower made of a batch: the arguments of `fuse_views`, and `scan_means`."""

    views: tuple[Tensor, Tensor, Tensor, Tensor]
    means: Tensor


def check_counts(counts: Sequence[str], model) -> None:
    """Raise a ValueError if a count is none, or the model takes no baselines."""
    for count in counts:
        own = count.removeprefix(BOTH)
        if own not in (ALL, REST) and not own.isdecimal() and count != SCANNER:
            known = ", ".join(map(repr, (ALL, REST, SCANNER)))
            raise ValueError(f"expected a number of own scans, {known} or such as {BOTH + REST!r}, got {count!r}")
    if counts:
        model.known_baselines()


def score_relative(
    model, image_processor, split, classifier: SplitClassifier, counts: Sequence[str], *, seed: int, **options
) -> dict[str, dict]:
    """Score one split once per count; of a person with fewer other scans, all of these are taken.

    Args:
        model (`MVFERModel` or `MVFERForFaceClassification`), image_processor: as in `embed_split`.
        split (`datasets.Dataset`): rows that are scored, and from which baselines are drawn.
        classifier: of the data set.
        counts: of further scans per person: a number, "all", or "rest" for one that is known to be at rest; or "scanner" for 16
            scans of other people, or "scanner+3" for both.
        seed (`int`): of which scans are drawn, and of resamples. options: `batch_size`, `progress` of [`SplitReader`].
    Returns:
        `dict` of count to `Scores`; `num_relative` is added: how many of the scored scans had a baseline.
    Raises:
        ValueError: if a count is none, or the model takes no baselines.
    """
    check_counts(counts, model)
    scans = _encode(model, image_processor, split, **options)
    means = torch.cat([batch.means for batch in scans])
    subjects, labels, resting = np.array(split["subject"]), np.array(split["expression"]), rests(split)
    rows = np.flatnonzero(labels >= 0)
    truth, people = classifier.classes_of(labels[rows]), subjects[rows].tolist()
    found = {}
    for count in counts:
        own = count.removeprefix(BOTH)
        chosen = draw_own(subjects, resting, own, seed=seed)
        baseline = _baselines(means, chosen, at_rest=own == REST)
        if count != own:
            others = draw_own(subjects, resting, SCANNER, seed=seed)
            baseline = model.known_baselines().on_scanner(baseline, _baselines(means, others, at_rest=False))
            chosen = [np.concatenate(both) for both in zip(chosen, others, strict=True)]
        predicted = classifier.logits(_fuse(model, scans, baseline)[rows])
        scores = score(truth, predicted.argmax(1), people, classifier.names, seed=seed, scores=predicted)
        num_relative = sum(bool(len(chosen[row])) for row in rows)
        found[count] = summary(scores) | {"num_relative": num_relative}
    return found


def rests(split) -> np.ndarray:
    """Which rows may serve as somebody's rest: those known to show no action; of sets that know of none, neutral ones."""
    resting = np.array(rows_at_rest(split), dtype=bool)
    neutral = split.features["expression"].str2int("neutral")
    return resting if resting.any() else np.array(split["expression"]) == neutral


def draw_own(subjects: np.ndarray, resting: np.ndarray, count: str, *, seed: int) -> list[np.ndarray]:
    """For each row, the rows that make its baseline: others of the same subject, those of these at rest, or other people's."""
    rng, rows = np.random.default_rng(seed), np.arange(len(subjects))
    by_subject = {subject: rows[subjects == subject] for subject in dict.fromkeys(subjects.tolist())}
    chosen = []
    for row, subject in enumerate(subjects.tolist()):
        own = by_subject[subject]
        own = own[(own != row) & (resting[own] if count == REST else True)]
        candidates = rows[subjects != subject] if count == SCANNER else own
        most = len(own) if count == ALL else {REST: 1, SCANNER: OTHERS}.get(count) or int(count)
        chosen.append(rng.permutation(candidates)[:most])
    return chosen


def _encode(model, image_processor, split, **options) -> list[_Scans]:
    found, reader = [], SplitReader(model, image_processor, split, **options)
    with evaluation_mode(model):
        for batch in reader:
            output = model.get_image_features(**batch.inputs)
            angles = batch.inputs["view_angles_deg"]
            mask = output.view_mask
            times = batch.inputs.get("frame_times_s", torch.zeros(mask.shape[:2], device=mask.device))
            found.append(_Scans((output.view_features, mask, angles, times), output.scan_means))
    return found


def _baselines(means: Tensor, chosen: Sequence[np.ndarray], *, at_rest: bool) -> Baseline:
    count = torch.tensor([float(len(own)) for own in chosen], device=means.device)
    mean = torch.stack([means[own].mean(0) if len(own) else torch.zeros_like(means[0]) for own in chosen])
    return Baseline(mean, count, torch.full_like(count, at_rest, dtype=torch.bool))


def _fuse(model, scans: Sequence[_Scans], baseline: Baseline) -> np.ndarray:
    """Unit-length embeddings `(n, D)` of all scans, each relative to its own baseline."""
    embeds, start = [], 0
    with evaluation_mode(model):
        for batch in scans:
            rows = slice(start, start := start + len(batch.means))
            fused = model.fuse_views(*batch.views, Baseline(*(part[rows] for part in baseline))).pooler_output
            embeds.append(normalize(fused.float(), dim=-1).cpu().numpy())
    return np.concatenate(embeds)
