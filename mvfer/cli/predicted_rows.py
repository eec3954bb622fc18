"""Rows of `mvfer predict`. In: a batch of items that were read. Out: for each, in order, what is printed of it."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from torch import Tensor

from modeling_mvfer.actions_mvfer import ActionReader
from modeling_mvfer.baseline_mvfer import Baseline
from modeling_mvfer.classifier_mvfer import Classified, Classifier
from mvfer.cli.own_baselines import stacked
from mvfer.cli.printed import face_row, failed_row, scored_row
from mvfer.cli.scan_batches import Read, ask_together
from mvfer.cli.scan_files import Item
from processing.cameras_mvfer import view_name
from processing.channels_mvfer import COLOR_CHANNELS

NOT_FOR_PHOTOS = "a photo, and this model learnt from drawings of shape"


class RowMaker:
    """Asks a classifier, and perhaps about actions, of many items at once.

    Args:
        processor, classifier, actions: of one model.
        baseline_of: from an item to its baseline, of one sample, or to `None`.
        drawn (*optional*): a list that is given a [`PredictedScan`] of each item.
    """

    def __init__(
        self,
        processor,
        classifier: Classifier,
        actions: ActionReader | None,
        baseline_of: Callable[[Item], Baseline | None],
        drawn: list | None = None,
    ):
        self.image_processor, self.classifier, self.actions = processor.image_processor, classifier, actions
        self.baseline_of, self.drawn = baseline_of, drawn
        self.is_for_photos = set(processor.image_processor.channels) <= set(COLOR_CHANNELS)

    def __call__(self, batch: Sequence[tuple[Item, Read]]) -> list[tuple[Item, dict]]:
        answers = ask_together(
            batch, partial(self._ask, batch), kind_of=lambda item: self.baseline_of(item) is not None
        )
        rows = []
        for (item, _), answer in zip(batch, answers, strict=True):
            row = failed_row(item.name, answer) if isinstance(answer, Exception) else answer
            when = {} if item.frame is None else {"frame": item.frame, "time_s": item.time_s}
            rows.append((item, row | when))
        return rows

    def _ask(self, batch: Sequence[tuple[Item, Read]], inputs: Mapping[str, Tensor], places: list[int]) -> list[dict]:
        members = [batch[place] for place in places]
        own = [baseline for item, _ in members if (baseline := self.baseline_of(item)) is not None]
        baseline = stacked(own) if own else None
        found = self.classifier(inputs, baseline=baseline)
        angles = inputs.get("view_angles_deg")
        told = self.actions.rows(self.actions.read(found.features, angles)) if self.actions else []
        rows, drawings = [], []
        for number, (item, read) in enumerate(members):
            row = self._row(item, read, found, number, angles)
            if baseline is not None:
                row["baseline_scans"] = int(baseline.count[number])
            if self.actions:
                row |= {"actions": told[number], "actions_calibrated": self.actions.calibration is not None}
            if self.drawn is not None:
                drawings.append(self._drawing(row, inputs["pixel_values"][number]))
            rows.append(row)
        if self.drawn is not None:
            self.drawn += drawings
        return rows

    def _row(self, item: Item, read: Read, found: Classified, number: int, angles: Tensor | None) -> dict:
        scores = dict(zip(self.classifier.labels, found.probabilities[number].tolist(), strict=True))
        weights = found.features.view_weights[number, 0].tolist()  # type: ignore[union-attr, index]
        names = [f"photo_{view + 1}" for view in range(len(weights))]
        if angles is not None:
            names = [view_name(angle) for angle in angles[number].tolist()]
        row = scored_row(item.name, scores) | {"abstain": found.abstain[number], "reason": found.reasons[number]}
        row["calibrated"] = self.classifier.calibration is not None
        if item.is_photos and not self.is_for_photos:
            row |= {"abstain": True, "reason": NOT_FOR_PHOTOS}
        row |= face_row(item.name, [read.face] if read.face else [], warn=not item.frame)
        row["view_weights"] = dict(zip(names, weights, strict=True))
        return row

    def _drawing(self, row: dict, pixels: Tensor):
        from mvfer.reports.pictures import PredictedScan, displayable

        views = self.image_processor.denormalize_views(pixels)
        return PredictedScan(
            title=Path(row["input"]).name,
            views=displayable(views[0] if views.ndim == 5 else views, self.image_processor.channels),
            view_names=list(row["view_weights"]),
            probabilities={item["label"]: item["score"] for item in row["scores"]},
            view_weights=list(row["view_weights"].values()),
        )
