"""What the app shows, as HTML: a [`Told`], an error, the law. In: what was computed. Out: text, what users wrote escaped.

Colours are those of the page around it, so that it is readable in light and in dark.
"""

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
from PIL import Image

from mvfer.app.telling import Told

TITLE = "What does this face do?"
LEAD = "Facial expressions in 3D scans, sequences and photos, told by words. A face does not tell what a person feels."
LAW = (
    "<strong>In the EU it is forbidden to use AI to infer emotions of people at work or in education</strong>, "
    "except for medical or safety reasons (Regulation (EU) 2024/1689, Art. 5(1)(f)). Other emotion recognition is "
    "high-risk there, and people must be told (Annex III, Art. 50(3)). Drop only scans of people who agree."
)
TRIAL = (
    "The model that comes with the package learnt from three families of heads. It is for trying out, not for use: on other "
    "scanners expect it to be right in about half of the cases, and in more beside scans of the same person."
)
PRIVACY = (
    "Nothing is stored. Files are read and deleted, at the latest after five minutes; what was computed of them is forgotten "
    "when you close this page, or after an hour. Nothing is sent anywhere else."
)
WAITING = "Drop a mesh, a zip or the frames of a sequence, or photos of one moment. What it shows will stand here."
EXAMPLES = "Or try an example:"
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b")  # Okabe & Ito's, told apart by the colour-blind
ACTIONS = 8  # shown at once
SHOWN_PX = 192  # a view is drawn no smaller
STYLE = """
.mv { font-size: 1rem; line-height: 1.5; color: var(--body-text-color); }
.mv h1 { font-size: 1.6rem; line-height: 1.2; margin: 0.2rem 0; }
.mv h2 { font-size: 1.05rem; margin: 1.5rem 0 0.5rem; color: var(--body-text-color); }
.mv p { margin: 0.4rem 0; } .mv .soft, .mv figcaption { color: var(--mv-soft); font-size: 0.88rem; }
.mv .box { border-left: 4px solid var(--mv-accent); background: var(--background-fill-secondary); padding: 0.6rem 0.9rem;
  margin: 0.6rem 0; border-radius: 0 6px 6px 0; font-size: 0.92rem; }
.mv .box.stop { border-color: #c2410c; } .mv .best { font-size: 1.5rem; font-weight: 650; overflow-wrap: anywhere; }
.mv .views { display: flex; gap: 0.5rem; } .mv .views figure { flex: 1 1 0; min-width: 0; max-width: 15rem; margin: 0; }
.mv img { width: 100%; height: auto; display: block; border-radius: 6px; margin: 0; }
.mv .empty { background: var(--background-fill-secondary); border-radius: 6px; padding: 3.2rem 1.5rem; text-align: center;
  color: var(--mv-soft); }
.mv .bar { display: grid; grid-template-columns: minmax(6.5rem, 28%) 1fr 4rem; gap: 0.6rem;
  align-items: center; margin: 0.3rem 0; }
.mv .bar span { overflow-wrap: anywhere; line-height: 1.25; } .mv .bar span:last-child { text-align: right;
  font-variant-numeric: tabular-nums; color: var(--mv-soft); }
.mv .track { height: 0.7rem; background: var(--border-color-primary); border-radius: 4px; overflow: hidden; }
.mv .track i { display: block; height: 100%; background: var(--neutral-400); }
.mv .bar.first .track i { background: var(--mv-accent); }
.mv .bar.first span:first-child { font-weight: 600; } .mv .weight { height: 4px; margin: 0.35rem 0 0.2rem; }
.mv .action { display: grid; grid-template-columns: minmax(7rem, 45%) 1fr 1fr; gap: 0.3rem 0.4rem; align-items: center;
  margin: 0.3rem 0; line-height: 1.25; }
.mv .action > span:nth-child(2) { text-align: right; } .mv .track.both { grid-column: 2 / 4; }
.mv .action .track i { background: var(--mv-accent); } .mv .track.right i { margin-left: auto; }
.mv summary { cursor: pointer; font-size: 0.88rem; color: var(--mv-soft); }
.mv svg { width: 100%; height: 9rem; display: block; border-left: 1px solid var(--border-color-primary);
  border-bottom: 1px solid var(--border-color-primary); }
.mv .ends { display: flex; justify-content: space-between; } .mv .key { display: flex; flex-wrap: wrap; gap: 0.2rem 1rem; }
.mv .key i { display: inline-block; width: 0.9rem; height: 3px; vertical-align: middle; margin-right: 0.35rem; }
.mv { --mv-accent: #2f6f9f; --mv-soft: #55606e; } .dark .mv { --mv-accent: #6aaede; --mv-soft: #a9b4c2; }
.dark .mv polyline, .dark .mv .key i { filter: brightness(1.4); }
"""


def head(*, is_bundled: bool) -> str:
    """The top of the page: what it is, the law, and what the model is good for."""
    trial = f'<div class="box">{escape(TRIAL)}</div>' if is_bundled else ""
    return _part(f'<h1>{TITLE}</h1><p class="soft">{LEAD}</p><div class="box stop">{LAW}</div>{trial}')


def foot() -> str:
    return remark(PRIVACY)


def waiting() -> str:
    return _part(f'<div class="empty">{escape(WAITING)}</div>')


def over_examples() -> str:
    return remark(EXAMPLES)


def failure(message: str) -> str:
    """Why an input could not be read."""
    return _part(
        f'<div class="box stop" role="alert"><strong>This could not be read.</strong><br>{escape(message)}</div>'
    )


def remark(text: str) -> str:
    return _part(f'<p class="soft">{escape(text)}</p>')


def told_page(told: Told, *, relative_to: str = "", unsure_of_actions: bool = False) -> str:
    """Everything that is said of one input; `relative_to` names the baseline, if there is one.

    `unsure_of_actions`: the model's actions are not calibrated.
    """
    ranked = list(told.probabilities.items())
    bars = "".join(
        _bar(label, value, is_first=not k and told.abstain is not True) for k, (label, value) in enumerate(ranked)
    )
    shown = f"Shown: the frame of {told.frame_time_s:.2f} s, which has most of “{told.best}”. " if told.timeline else ""
    caption = shown + "Drawn as the model sees it; the weight is how much a view counted."
    parts = [f'<p class="soft">{escape(told.name)}{escape(relative_to)}</p>', _verdict(told)]
    parts += [f"<h2>Probabilities</h2>{bars}"]
    parts += [f"<h2>Over time</h2>{_timeline(told)}"] if told.timeline else []
    parts += [f"<h2>Views</h2>{_views(told.views, told)}", f'<p class="soft">{escape(caption)}</p>']
    parts += [_actions(told.actions, unsure=unsure_of_actions)] if told.actions else []
    parts += [f'<p class="soft">{escape(note)}</p>' for note in told.notes]
    return _part("".join(parts))


def where_page(told: Told, colored: np.ndarray) -> str:
    """The views coloured by what speaks for the best label."""
    caption = (
        f"Red speaks for “{told.best}”, blue against it. It shows what the model looked at, not why a face looks so."
    )
    return _part(
        f'<h2>Where it was read</h2>{_views(colored, None)}<p class="soft">{escape(caption)}</p>', name="mv-where"
    )


def _verdict(told: Told) -> str:
    if told.abstain:
        reasons = "".join(f"<br>{escape(reason)}" for reason in told.doubts)
        return f'<div class="box stop"><strong>The model abstains.</strong>{reasons}</div>'
    unsure = "" if told.abstain is False else '<p class="soft">It cannot say when to abstain: see below.</p>'
    return f'<p class="best">{escape(told.best)} {_percent(told.probabilities[told.best])}</p>{unsure}'


def _bar(label: str, value: float, *, is_first: bool) -> str:
    return (
        f'<div class="bar{" first" * is_first}"><span>{escape(label)}</span>'
        f'<div class="track"><i style="width:{100 * value:.1f}%"></i></div><span>{_percent(value)}</span></div>'
    )


def _actions(actions: Sequence[Mapping], *, unsure: bool) -> str:
    """Facial actions as pairs of bars, the likeliest first: the person's right side on the left, as one sees them."""
    ranked = sorted(actions, key=lambda row: -row["score"])
    first, rest = ranked[:ACTIONS], ranked[ACTIONS:]
    more = (
        f"<details><summary>The other {len(rest)} actions</summary>{''.join(map(_action, rest))}</details>"
        if rest
        else ""
    )
    said = "The person's right side is on the left, as you see them. Single bars: actions that have no sides. "
    said += "Not calibrated: these are no probabilities." if unsure else ""
    heading = '<div class="action soft"><span></span><span>right</span><span>left</span></div>'
    return f'<h2>Facial actions</h2>{heading}{"".join(map(_action, first))}{more}<p class="soft">{said}</p>'


def _action(row: Mapping) -> str:
    """How likely it is seen on either side: there alone, or on both."""
    name = f'<span>{escape(row["phrase"])} <span class="soft">AU{escape(row["unit"])}</span></span>'
    if "left" not in row:
        return f'<div class="action">{name}<div class="track both">{_fill(row["score"])}</div></div>'
    right, left = row["score"] - row["left"], row["score"] - row["right"]
    tracks = f'<div class="track right">{_fill(right)}</div><div class="track">{_fill(left)}</div>'
    return f'<div class="action">{name}{tracks}</div>'


def _fill(share: float) -> str:
    return f'<i style="width:{100 * share:.1f}%" title="{share:.2f}"></i>'


def _views(views: np.ndarray, told: Told | None) -> str:
    figures = []
    for v, view in enumerate(views):
        caption, image = "", f'<img src="{_data_url(view)}" alt="view {v + 1}">'
        if told is not None:
            name, weight = told.view_names[v].replace("_", " "), told.view_weights[v]
            name = f"{name}°" if name.startswith(("left", "right", "up", "down")) else name
            image = f'<img src="{_data_url(view)}" alt="{escape(name)}">'
            caption = (
                f'<div class="track weight"><i style="width:{100 * weight:.0f}%"></i></div>'
                f"<figcaption>{escape(name)}<br>weight {weight:.2f}</figcaption>"
            )
        figures.append(f"<figure>{image}{caption}</figure>")
    return f'<div class="views">{"".join(figures)}</div>'


def _timeline(told: Told) -> str:
    """One line for each of the labels that get highest at any time; of the last two seconds before it."""
    labels = sorted(told.timeline, key=lambda label: -max(told.timeline[label]))[: len(COLORS)]
    start, end = told.times_s[0], told.times_s[-1]
    x = [100 * (time - start) / (end - start) for time in told.times_s]
    lines = "".join(_line(x, told.timeline[label], color) for label, color in zip(labels, COLORS, strict=False))
    keys = "".join(
        f'<span><i style="background:{color}"></i>{escape(label)}</span>'
        for label, color in zip(labels, COLORS, strict=False)
    )
    return (
        f'<div class="key">{keys}</div>'
        f'<svg viewBox="0 0 100 100" preserveAspectRatio="none" role="img" aria-label="probabilities over time">{lines}</svg>'
        f'<div class="ends soft"><span>{start:.2f} s</span><span>{end:.2f} s</span></div>'
        '<p class="soft">From 0 to 1; each point is about the two seconds before it.</p>'
    )


def _line(x: Sequence[float], values: Sequence[float], color: str) -> str:
    points = " ".join(f"{a:.2f},{100 - 96 * b:.2f}" for a, b in zip(x, values, strict=True))
    return f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="2" vector-effect="non-scaling-stroke"/>'


def _data_url(view: np.ndarray) -> str:
    """A PNG inside the page, so that no picture lies in a folder."""
    image, buffer = Image.fromarray(view), io.BytesIO()
    if image.width < SHOWN_PX:
        image = image.resize((SHOWN_PX, SHOWN_PX), Image.Resampling.BICUBIC)
    image.save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def _percent(value: float) -> str:
    return "> 99.9 %" if 0.9995 <= value < 1 else f"{100 * value:.1f} %"


def _part(html: str, name: str = "mv-part") -> str:
    return f'<div class="mv {name}">{html}</div>'
