"""A table of many scans that is not lost. In: items, and what finds their rows. Out: the table, once every row is there.

Rows go into `FILE.part` as they are found. A command that was killed goes on from there; the table itself is written at the end,
whole. What was begun with another model or other options is refused. With `--part 0-of-8` the rows of every eighth batch go into
`FILE.part-0-of-8` and no table is written; the same command without it takes over what all parts found. As a part is whole
batches, no scan is asked in other company than on one machine, and no number differs.
"""

import argparse
import base64
import glob
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

import mvfer
from modeling_mvfer.audit_log_mvfer import model_hash
from mvfer.cli.own_baselines import people_of
from mvfer.cli.printed import remark
from mvfer.cli.scan_files import Item, stamp
from mvfer.data.journal import Journal
from mvfer.data.parts import Part
from mvfer.data.without_folders import without_folders
from mvfer.progress import progress_bar
from mvfer.reports.tables import write_table

REMEDY = "pass --overwrite to begin anew, or name another --out"
BEFORE = {"file": "file", "subject": "text", "frame": "whole", "time_s": "number"}
AFTER = {"model": "text", "model_hash": "text", "error": "text"}
DIGITS = 6  # of numbers: the rest is noise of arithmetic, and differs with the batch


class ResumedTable:
    """The table that `--out` names, used by `with`; `journal` may keep other work as well.

    Args:
        args: the flags of `add_table_flags` and `add_baseline_flags`. model, processor: that are asked.
        items: one per row, in order. columns: between those that every table has. question: what else decides the rows.
    Raises:
        ValueError: if there is such a table already, or one begun with another question, or it cannot be written.
    """

    def __init__(
        self,
        args: argparse.Namespace,
        items: Sequence[Item],
        columns: Mapping[str, str],
        model,
        processor,
        question: Mapping,
    ):
        self.out, self.items = Path(args.out), items
        clash = sorted(set(columns) & {*BEFORE, *AFTER})
        if clash:
            raise ValueError(f"--labels {clash[0]}: a column of every table has this name; word the label otherwise")
        self.columns = {**BEFORE, **columns, **AFTER}
        self.part: Part | None = args.part
        self.batch_size = args.batch_size
        log = self.out.with_name(f"{self.out.name}.part" + (f"-{self.part}" if self.part else ""))
        parts = [] if self.part else sorted(self.out.parent.glob(f"{glob.escape(log.name)}-*-of-*"))
        if self.out.exists() and not (log.exists() or parts) and not args.overwrite:
            raise ValueError(f"{self.out}: there already; {REMEDY}")
        pattern = args.by_person or args.subject_pattern
        flag = "--by_person" if args.by_person else "--subject_pattern"
        self.subjects = people_of([item.name for item in items], pattern, flag=flag) if pattern else {}
        together = self.subjects if args.by_person else {}
        if args.scanner == []:  # each person is seen relative to all others
            together = dict.fromkeys((item.name for item in items), "everybody")
        self.stamps = _stamps(items, together)
        name = Path(args.model).name if Path(args.model).exists() else without_folders(args.model)
        self._known = {"model": name, "model_hash": model_hash(model)}
        settings = processor.image_processor.to_dict()
        asked = {
            "version": mvfer.__version__,
            "model": self._known["model_hash"],
            "views": hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()[:16],
            "columns": list(self.columns),
            "baseline": [stamp(Item(path, (path,))) for path in args.baseline or ()],
            "scanner": [stamp(Item(path, (path,))) for path in args.scanner or ()],
            "by_person": args.by_person,
            "subject_pattern": args.subject_pattern,
        }
        self.journal = Journal(log, asked | dict(question), remedy=REMEDY, anew=args.overwrite)
        for path in parts:
            self.journal.take(path, remedy=f"delete it, or {REMEDY}", anew=args.overwrite)

    def __enter__(self) -> "ResumedTable":
        return self

    def __exit__(self, *_) -> None:
        self.journal.__exit__()

    def fill(
        self, what: str, find: Callable[[Sequence[Item]], Iterable[Sequence[tuple[Item, Mapping]]]]
    ) -> tuple[int, int]:
        """Find the rows that are missing, batch by batch, and write the table; of a part, its rows alone.

        Args:
            what: is done, for the progress bar. find: from items to their values, in order; each batch is safe once it came.
        Returns:
            how many rows were written, and how many of these are errors; of a part none.
        """
        mine = self._items_of(self.part) if self.part else self.items
        todo = [item for item in mine if not self.journal.has("row", item.name, self.stamps[item.name])]
        done = len(mine) - len(todo)
        if done:
            remark(f"{self.out}: {done} of {len(mine)} rows are there already")
        with progress_bar(what=what, unit="scan", total=len(mine), initial=done) as bar:
            for batch in find(todo):
                for item, values in batch:
                    row = self._identity(item) | dict(values)
                    kept = [_kept(row.get(name)) for name in self.columns]
                    self.journal.add("row", item.name, self.stamps[item.name], kept)
                self.journal.commit()
                bar.update(len(batch))
        if self.part:
            remark(f"{self.journal.path}: {len(mine)} rows")
            return 0, 0
        errors = 0

        def rows() -> Iterator[dict]:
            nonlocal errors
            for item in self.items:
                kept = self.journal.get("row", item.name, self.stamps[item.name])
                row = {
                    name: _given(value, kind) for (name, kind), value in zip(self.columns.items(), kept, strict=True)
                }
                errors += row["error"] is not None
                yield row

        for left in self.out.parent.glob(f".{glob.escape(self.out.name)}.*.tmp"):  # of a command stopped while it wrote
            left.unlink(missing_ok=True)
        count = write_table(self.out, self.columns, rows())
        self.journal.remove()
        remark(f"wrote {self.out}: {count} rows" + (f", {errors} of them errors" if errors else ""))
        return count, errors

    def _items_of(self, part: Part) -> list[Item]:
        """Whole batches, as one machine would ask them."""
        starts = range(0, len(self.items), self.batch_size)
        return [item for start in part.of(starts) for item in self.items[start : start + self.batch_size]]

    def _identity(self, item: Item) -> dict:
        when = {"frame": item.frame, "time_s": item.time_s}
        return {"file": item.name, "subject": self.subjects.get(item.name)} | when | self._known


def _kept(value):
    """A value as the journal writes it: numbers without noise, vectors as the bytes of 32 bits each."""
    if isinstance(value, torch.Tensor):
        return base64.b64encode(value.float().numpy().tobytes()).decode("ascii")
    return round(value, DIGITS) if isinstance(value, float) else value


def _given(value, kind: str):
    return np.frombuffer(base64.b64decode(value), np.float32) if kind == "vector" and value is not None else value


def _stamps(items: Sequence[Item], people: Mapping[str, str]) -> dict[str, str]:
    """Of each item, what changes where its row would; that depends on all scans of a person, where these are the baseline."""
    own = {item.name: stamp(item) for item in items}
    of_person: dict[str, hashlib._Hash] = {}
    for name, person in people.items():
        of_person.setdefault(person, hashlib.sha256()).update(
            f"{name} {own[name]}\n".encode("utf-8", "surrogateescape")
        )
    return {
        name: f"{state} {of_person[people[name]].hexdigest()[:16]}" if name in people else state
        for name, state in own.items()
    }
