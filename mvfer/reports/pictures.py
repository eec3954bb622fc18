"""Pictures for reports: a confusion matrix, and scans with what the model says of them.

In: numbers and rendered views. Out: PNG files. Drawn without a display.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from processing.names_mvfer import shown, shown_lines

INK, MUTED, ACCENT, QUIET = "#1f2933", "#7b8794", "#2f6f9f", "#cbd5df"


@dataclass(frozen=True)
class PredictedScan:
    """One row of `predictions_picture`.

    Attributes:
        title (`str`): the scan's name.
        views (`uint8 (V, H, W, 3)`), view_names (`V` strings).
        probabilities (`dict` of label to number).
        view_weights (`V` numbers, *optional*): how much each view counted.
        true_label (`str`, *optional*).
    """

    title: str
    views: np.ndarray
    view_names: Sequence[str]
    probabilities: Mapping[str, float]
    view_weights: Sequence[float] | None = None
    true_label: str | None = None


def confusion_picture(confusion: np.ndarray, names: Sequence[str], path: str | Path) -> None:
    """Draw counts `(K, K)` (rows true) coloured by the share of each row, and save a PNG."""
    shares = confusion / np.maximum(confusion.sum(1, keepdims=True), 1)
    side = 2.2 + 0.62 * len(names)
    figure = new_figure(side, side)
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(confusion.shape):
        if confusion[row, column]:
            color = "white" if shares[row, column] > 0.55 else INK
            axes.text(column, row, f"{confusion[row, column]:d}", ha="center", va="center", color=color, fontsize=9)
    ticks, names = range(len(names)), [*map(shown, names)]
    axes.set_xticks(ticks, names, rotation=45, ha="right", color=INK)
    axes.set_yticks(ticks, names, color=INK)
    axes.set_xlabel("predicted", color=MUTED)
    axes.set_ylabel("true", color=MUTED)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    save_figure(figure, path)


def views_picture(views: np.ndarray, view_names: Sequence[str], path: str | Path, *, title: str = "") -> None:
    """Save the views `(V, H, W, 3)` of one scan side by side, each under its name."""
    figure = new_figure(2.2 * len(views), 2.6 + 0.25 * bool(title))
    grid = figure.subplots(1, len(views), squeeze=False)[0]
    for axes, view, name in zip(grid, views, view_names, strict=True):
        _show(axes, view, _words(name))
    if title:
        figure.suptitle(title, color=INK, fontsize=11)
    save_figure(figure, path)


def predictions_picture(rows: Sequence[PredictedScan], path: str | Path) -> None:
    """One row per scan: its views, how much each counted, and a bar per label; the true label in bold if known.

    Raises:
        ValueError: if there are no rows.
    """
    if not rows:
        raise ValueError("expected at least one prediction to draw, got none")
    columns = max(len(row.views) for row in rows)
    height = max(2.5, 0.6 + 0.27 * max(len(row.probabilities) for row in rows))
    figure = new_figure(2.2 * columns + 3.6, height * len(rows))
    grid = figure.subplots(len(rows), columns + 1, squeeze=False, width_ratios=[1] * columns + [1.5])
    for row, line in zip(rows, grid, strict=True):
        for axes in line[:columns]:
            axes.set_axis_off()
        for v, view in enumerate(row.views):
            weight = "" if row.view_weights is None else f"\nweight {row.view_weights[v]:.2f}"
            _show(line[v], view, _words(row.view_names[v]) + weight)
        _bars(line[columns], row)
    save_figure(figure, path)


def curve_picture(
    points: Sequence[tuple[float, float]],
    path: str | Path,
    *,
    x: str,
    y: str,
    marked: tuple[float, float] | None = None,
) -> None:
    """Draw a curve through `points` under the axes' names `x` and `y`, with one point marked, and save a PNG."""
    figure = new_figure(4.8, 3.4)
    axes = figure.add_subplot()
    axes.plot(*zip(*points, strict=True), color=ACCENT, linewidth=1.6)
    if marked is not None:
        axes.plot(*marked, "o", color=INK)
    axes.set_xlabel(x, color=MUTED)
    axes.set_ylabel(y, color=MUTED)
    axes.spines[["top", "right"]].set_visible(False)
    save_figure(figure, path)


def displayable(views: np.ndarray, channels: Sequence[str]) -> np.ndarray:
    """Views as people like to see them: colours as they are, otherwise the clay shading (or first channel) in grey."""
    if tuple(channels) == ("red", "green", "blue"):
        return views
    shaded = [index for index, name in enumerate(channels) if name.startswith("clay")]
    return np.repeat(views[..., [shaded[0] if shaded else 0]], 3, axis=-1)


def _bars(axes, row: PredictedScan) -> None:
    ranked = sorted(row.probabilities.items(), key=lambda item: item[1])
    places = range(len(ranked))
    values = [value for _, value in ranked]
    colors = [QUIET] * (len(ranked) - 1) + [ACCENT]
    axes.barh(places, values, color=colors, height=0.68)
    axes.set_yticks(places, [shown(label) for label, _ in ranked], color=INK, fontsize=9)
    for tick, (label, _) in zip(axes.get_yticklabels(), ranked, strict=True):
        if label == row.true_label:
            tick.set_fontweight("bold")
    for place, value in zip(places, values, strict=True):
        axes.text(value + 0.015, place, f"{value:.0%}", va="center", fontsize=8, color=MUTED)
    axes.set_xlim(0, 1.16)
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    known = "" if row.true_label is None else f"  (true: {row.true_label})"
    axes.set_title(row.title + known, color=INK, fontsize=10, loc="left")


def _show(axes, view: np.ndarray, caption: str) -> None:
    axes.imshow(view)
    axes.set_title(caption, color=MUTED, fontsize=9)
    axes.set_axis_off()


def _words(name: str) -> str:
    return name.replace("_", " ") + ("°" if name != "front" else "")


def new_figure(width: float, height: float) -> Figure:
    """A white figure of so many inches that needs no display."""
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a PNG, and the folder for it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png_of(figure))


def png_of(figure: Figure) -> bytes:
    """The figure as a PNG. Names and labels in it are text: a `$` in them is no formula, and control characters are spelt out."""
    axes = [axis for one in figure.axes for axis in (one.xaxis, one.yaxis)]
    powers = [label for axis in axes if axis.get_scale() == "log" for label in axis.get_ticklabels(which="both")]
    for text in figure.findobj(Text):
        if isinstance(text, Text) and text not in powers:  # "10^2" is one
            text.set_parse_math(False)
            text.set_text(shown_lines(text.get_text()))
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=130, format="png")
    return buffer.getvalue()
