"""The app without its page: what happens when somebody drops files, types labels, or asks where it was read.

In: paths of uploads and texts. Out: what is to be remembered for this visitor, and HTML. A desk remembers nothing itself, so
visitors cannot meet; files are copied into a folder of their own, which is gone before the answer is there.
"""

import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from modeling_mvfer.actions_mvfer import ActionReader
from modeling_mvfer.audit_log_mvfer import AuditLog, model_hash
from modeling_mvfer.baseline_mvfer import NO_BASELINE, Baseline
from modeling_mvfer.classifier_mvfer import Classifier
from mvfer.app import page
from mvfer.app.examples import heads, write_smile
from mvfer.app.seeing import Progress, Seen, baseline_of, see
from mvfer.app.telling import parse_labels, tell, where
from mvfer.app.uploads import gather
from processing.names_mvfer import shown
from processing.sequences_mvfer import DEFAULT_FPS, frames_per_second

SMILE = "a smile"


class Desk:
    """Answers by one model.

    Args:
        model (`MVFERModel`): in evaluation mode. processor (`MVFERProcessor`): its own.
        labels (`list[str]`): to begin with.
        is_bundled (`bool`): whether it is the small model, which is for trying out.
        log ([`AuditLog`], *optional*): gets a line per answer before it is shown, and per upload that could not be read.
    Raises:
        ValueError: if the processor pools sequences, which leaves no frames to look at.
    """

    def __init__(self, model, processor, labels: Sequence[str], *, is_bundled: bool, log: AuditLog | None = None):
        if processor.image_processor.frames != "sequence":
            raise ValueError(
                "the app needs a model that reads frames; this one reads dynamic images of whole sequences"
            )
        self.model, self.processor, self.labels, self.is_bundled = model, processor, list(labels), is_bundled
        self.actions = ActionReader.build(model, processor)
        self.log, self._hash = log, model_hash(model) if log else ""

    @property
    def takes_baselines(self) -> bool:
        return self.model.relative_features is not None

    @property
    def examples(self) -> list[str]:
        """Names of what can be tried."""
        there = list(heads())
        return [*there, SMILE] if {"neutral", "happiness"} <= set(there) else there

    def read(
        self,
        files: Sequence[str],
        labels: str,
        fps=DEFAULT_FPS,
        baseline: Baseline | None = None,
        *,
        name: str = "",
        progress: Progress | None = None,
    ) -> tuple[Seen | None, str]:
        """An upload: what was seen of it (`None` if it could not be read), and what to show. `name`: if not the files'."""

        source = self.log.input_hash(files[0] if len(files) == 1 else list(files)) if self.log else ""

        def look(folder: str) -> Seen:
            rate, upload = frames_per_second(fps), gather(files, folder)
            upload = replace(upload, name=name or upload.name)
            seen = see(upload, self.model, self.processor, fps=rate, progress=progress)
            return replace(seen, notes=[_without(folder, note) for note in seen.notes], source=source)

        try:
            seen = _in_a_folder(look)
        except (ValueError, OSError) as error:
            return None, self._failed(error, source)
        return seen, self.retell(seen, labels, baseline)

    def read_example(
        self, name: str, labels: str, baseline: Baseline | None = None, **options
    ) -> tuple[Seen | None, str]:
        """One of `examples`, as if it had been dropped."""
        with tempfile.TemporaryDirectory(prefix="mvfer_") as folder:
            files = write_smile(folder) if name == SMILE else [str(heads()[name])]
            return self.read(files, labels, baseline=baseline, name=f"Example: {name}", **options)

    def retell(self, seen: Seen | None, labels: str, baseline: Baseline | None) -> str:
        """The same input among other labels, or relative to another baseline."""
        if seen is None:
            return page.waiting()
        try:
            told = tell(seen, self._classifier(labels), self.processor, baseline=baseline, reader=self.actions)
            rows = [{"label": k, "score": p, "abstain": told.abstain} for k, p in told.probabilities.items()]
            self._record(seen.source, rows, labels, baseline)
        except ValueError as error:
            return page.failure(str(error))
        count = 0 if baseline is None else int(baseline.count)
        return page.told_page(
            told,
            unsure_of_actions=self.actions.warning is not None,
            relative_to=f", relative to {_scans(count)} of the same person" if count else "",
        )

    def where(self, seen: Seen | None, labels: str, baseline: Baseline | None) -> str:
        """Where on the views the best label was read."""
        if seen is None:
            return ""
        try:
            classifier = self._classifier(labels)
            told = tell(seen, classifier, self.processor, baseline=baseline)
            return page.where_page(told, where(seen, told, classifier, self.processor, baseline=baseline))
        except ValueError as error:
            return page.failure(str(error))

    def take_baseline(self, files: Sequence[str], at_rest: bool) -> tuple[Baseline | None, str]:
        """Further scans of the same person: what is usual for them, and what to say of it."""
        if not self.takes_baselines:
            return None, page.failure(NO_BASELINE)
        try:
            found = _in_a_folder(
                lambda folder: baseline_of(gather(files, folder), self.model, self.processor, at_rest=at_rest)
            )
        except (ValueError, OSError) as error:
            return None, page.failure(str(error))
        return found, page.remark(f"Everything is told relative to {_scans(int(found.count))} of this person now.")

    def _failed(self, error: Exception, source: str) -> str:
        """What to show of an upload that could not be read."""
        try:
            self._record(source, [{"error": str(error)}])
        except ValueError as unwritten:
            return page.failure(str(unwritten))
        return page.failure(str(error))

    def _record(self, source: str, rows: list[dict], labels: str = "", baseline: Baseline | None = None) -> None:
        """Write the line of an answer.

        Raises:
            ValueError: if it cannot be written. Why is for whoever runs the app; visitors see no path of the machine.
        """
        if self.log is None:
            return
        names, prompts = parse_labels(labels) if labels else ([], {})
        settings: dict = {"labels": names, "prompts": prompts}
        if baseline is not None:
            settings["baseline"] = {"scans": int(baseline.count), "at_rest": bool(baseline.at_rest)}
            settings["baseline"]["hash"] = self.log.input_hash(baseline.mean)  # its scans are gone
        try:
            self.log.record(source, rows, command="app", model=self._hash, settings=settings)
        except ValueError as error:
            print(f"mvfer: {shown(str(error))}", file=sys.stderr)
            raise ValueError("the audit log cannot be written, and there is no answer without it") from error

    def _classifier(self, labels: str) -> Classifier:
        names, prompts = parse_labels(labels)
        return Classifier.from_prompts(self.model, self.processor, names, prompts=prompts)


def _scans(count: int) -> str:
    return "1 scan" if count == 1 else f"{count} scans"


def _in_a_folder(work: Callable):
    """Do it in a new folder that is deleted afterwards, and of which no message tells."""
    with tempfile.TemporaryDirectory(prefix="mvfer_") as folder:
        try:
            return work(folder)
        except (ValueError, OSError) as error:
            raise ValueError(_without(folder, str(error))) from error


def _without(folder: str, text: str) -> str:
    return " ".join(text.split()).replace(f"{Path(folder)}{os.sep}", "")
