"""Pictures of the tables of `mvfer predict`: a timeline per sequence, bars per scan.

In: rows of a table. Out: a PNG: expressions above, facial actions below.
"""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from mvfer.reports.pictures import INK, MUTED, new_figure, save_figure
from processing.names_mvfer import shown

MOST = 20  # sequences and scans in one picture
UNITS = 6  # of facial actions, where none are named
_BEFORE, _AFTER = "time_s", "prediction"  # the columns of numbers lie between these
_UNIT = re.compile(r"AU\d\d\w*")
_COLORS = ("#2f6f9f", "#c8553d", "#5a8f4e", "#8a6fb0", "#c9a227", "#4aa3a3", "#7b8794", "#d67ba8")


class Film(NamedTuple):
    """The rows of one sequence, or the one row of a scan."""

    name: str
    rows: list[Mapping]

    @property
    def is_sequence(self) -> bool:
        return self.rows[0].get("frame") is not None


def films(rows: Iterable[Mapping]) -> list[Film]:
    """Rows without errors, those of one sequence together, in the order of its frames.

    Raises:
        ValueError: if the rows are not those of `mvfer predict --out`, or all are errors.
    """
    found: dict[str, list[Mapping]] = {}
    for row in rows:
        if not {"file", "frame", _BEFORE, _AFTER} <= set(row):
            raise ValueError("expected the columns of a table of mvfer predict --out")
        if row.get("error") is None:
            name = str(row["file"])
            found.setdefault(name if row["frame"] is None else os.path.dirname(name) or ".", []).append(row)
    if not found:
        raise ValueError("no scan in it that could be read")
    return [Film(name, sorted(members, key=lambda row: row["frame"] or 0)) for name, members in found.items()]


def columns_of(row: Mapping, asked: Sequence[str] = ()) -> tuple[list[str], list[str]]:
    """The columns of expressions, and those of facial actions: the units, or whatever is asked for.

    Raises:
        ValueError: if there is no column of a name that is asked for.
    """
    names = list(row)
    numbers = names[names.index(_BEFORE) + 1 : names.index(_AFTER)]
    units = [name for name in numbers if _UNIT.fullmatch(name)]
    missing = [name for name in asked if name not in units]
    if missing:
        raise ValueError(f"no column {missing[0]}; there are {', '.join(units) or 'none of facial actions'}")
    labels = [name for name in numbers if name not in units]
    return labels, list(asked) or [name for name in units if "_" not in name]


def timelines_picture(table: Sequence[Film], path: str | Path, *, units: Sequence[str] = ()) -> None:
    """Draw sequences as lines over time and scans as bars, and save a PNG.

    Args:
        table: from `films`; at most `MOST` of them.
        units (column names, *optional*): facial actions to draw; default the `UNITS` that are seen most clearly anywhere.
    Raises:
        ValueError: if there are too many, or no such columns.
    """
    if len(table) > MOST:
        raise ValueError(f"{len(table)} scans and sequences, more than {MOST} fit into one picture")
    labels, actions = columns_of(table[0].rows[0], units)
    if not units:
        rows = [row for film in table for row in film.rows]
        clearest = sorted(actions, key=lambda name: -max(row[name] or 0 for row in rows))[:UNITS]
        actions = [name for name in actions if name in clearest]
    panels = [names for names in (labels, actions) if names]
    figure = new_figure(8.5, sum(2.1 if film.is_sequence else 1.5 for film in table) * len(panels) + 0.4)
    heights = [2.1 if film.is_sequence else 1.5 for film in table for _ in panels]
    grid = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    places = iter(grid)
    for film in table:
        for number, names in enumerate(panels):
            axes = next(places)
            (_lines if film.is_sequence else _bars)(axes, film.rows, names)
            axes.set_ylim(0, 1.02)
            axes.set_yticks([0, 0.5, 1])
            axes.tick_params(labelsize=8, colors=MUTED)
            axes.spines[["top", "right"]].set_visible(False)
            if number == 0:
                axes.set_title(shown(film.name), color=INK, fontsize=10, loc="left")
    save_figure(figure, path)


def _lines(axes, rows: Sequence[Mapping], names: Sequence[str]) -> None:
    times = [row[_BEFORE] for row in rows]
    for number, name in enumerate(names):
        style = "-" if number < len(_COLORS) else "--"
        values = [float("nan") if row[name] is None else row[name] for row in rows]
        color = _COLORS[number % len(_COLORS)]
        axes.plot(
            times, values, style, color=color, linewidth=1.4, marker="." if len(rows) < 40 else "", label=shown(name)
        )
    axes.set_xlabel("seconds", color=MUTED, fontsize=8)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8, frameon=False)


def _bars(axes, rows: Sequence[Mapping], names: Sequence[str]) -> None:
    values = [rows[0][name] or 0.0 for name in names]
    axes.bar(
        range(len(names)), values, color=[_COLORS[number % len(_COLORS)] for number in range(len(names))], width=0.7
    )
    axes.set_xticks(range(len(names)), [shown(name) for name in names])
    axes.set_xlim(-0.6, max(len(names), 7) - 0.4)
    for place, value in enumerate(values):
        axes.text(place, value + 0.02, f"{value:.2f}", ha="center", fontsize=7, color=MUTED)
