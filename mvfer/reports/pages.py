"""Self-contained HTML pages: readable offline, on a phone, and on paper. In: texts, rows, figures. Out: one file."""

import base64
import html
from collections.abc import Iterable, Mapping, Sequence

from matplotlib.figure import Figure

from mvfer.reports.pictures import png_of
from processing.names_mvfer import shown_lines

LEGAL = (
    "Inferring emotions of people at work or in education is prohibited in the EU (Regulation 2024/1689, Art. 5(1)(f)), "
    "except for medical or safety reasons; other emotion recognition there is high-risk."
)
WIDE_PX = 1000  # a picture that is wider is scrolled on a phone, as its letters would be too small
STYLE = """
:root { color-scheme: light; --ink: #1f2933; --muted: #5f6c7b; --line: #d9e0e7; --accent: #2f6f9f; --soft: #f4f7fa; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 52rem; padding: 1.2rem; color: var(--ink); background: white;
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", "Noto Sans", "Noto Sans CJK JP", sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0.4rem 0 0.6rem; }
h2 { font-size: 1.2rem; margin: 2rem 0 0.5rem; border-bottom: 1px solid var(--line); padding-bottom: 0.25rem; }
p { margin: 0.5rem 0; } .muted { color: var(--muted); font-size: 0.9rem; }
.verdict { background: var(--soft); border-left: 5px solid var(--accent); padding: 0.8rem 1rem; margin: 1rem 0; }
.verdict strong { display: block; font-size: 1.25rem; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 0.35rem 0.7rem 0.35rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--muted); font-weight: 600; font-size: 0.88rem; } 
.number { text-align: right; padding: 0.35rem 0 0.35rem 0.9rem; } td.number { white-space: nowrap; }
figure { margin: 1rem 0; } img { max-width: 100%; height: auto; display: block; }
figcaption { color: var(--muted); font-size: 0.88rem; } code { font-size: 0.86rem; overflow-wrap: anywhere; }
@media (max-width: 36rem) { body { padding: 0.8rem; } table { font-size: 0.92rem; } td.number { white-space: normal; }
  .number { padding-left: 0.6rem; } figure { overflow-x: auto; } img.wide { max-width: none; width: 46rem; } }
@media print { body { font-size: 12px; padding: 0; max-width: none; } h2 { margin-top: 1.1rem; }
  figure, table, .verdict { break-inside: avoid; } }
"""


def page(title: str, *parts: str, language: str = "en") -> str:
    """A whole HTML document; `parts` are HTML from the functions below."""
    return (
        f'<!doctype html>\n<html lang="{language}">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{escape(title)}</h1>\n"
        + "\n".join(part for part in parts if part)
        + "\n</body>\n</html>\n"
    )


def escape(text: str) -> str:
    """Text of others as HTML shows it, whatever is in it."""
    return html.escape(shown_lines(text), quote=True)


def heading(text: str) -> str:
    return f"<h2>{escape(text)}</h2>"


def paragraph(text: str, *, muted: bool = False) -> str:
    return f"<p{' class=muted' if muted else ''}>{escape(text)}</p>"


def verdict(word: str, reason: str) -> str:
    """The sentence to read if only one is read."""
    return f'<div class="verdict"><strong>{escape(word)}</strong>{escape(reason)}</div>'


def code(text: str) -> str:
    return f"<p><code>{escape(text)}</code></p>"


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table: the first column says what, the others hold numbers and stand to the right."""
    head = "".join(_cells("th", header))
    body = "\n".join(f"<tr>{''.join(_cells('td', row))}</tr>" for row in rows)
    return f'<div class="scroll"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table></div>'


def class_table(what: str, per_class: Mapping[str, Mapping]) -> str:
    """Recall, precision, F1 and count of every class or label."""
    rows = [
        (name, *(f"{one[key]:.3f}" for key in ("recall", "precision", "f1")), one["count"])
        for name, one in per_class.items()
    ]
    return table((what, "recall", "precision", "F1", "scans"), rows)


def making(results: Mapping) -> list[str]:
    """The end of a report: the command, the seed and the versions that made its numbers."""
    versions = ", ".join(f"{name} {version}" for name, version in results["environment"].items())
    return [
        heading("How this was made"),
        code(results["command"]),
        paragraph(f"Seed {results['seed']}. {versions}.", muted=True),
    ]


def picture(source: Figure | bytes, alt: str, caption: str = "") -> str:
    """A figure, or the bytes of a PNG, inside the page."""
    if isinstance(source, Figure):
        source = png_of(source)
    data = base64.b64encode(source).decode("ascii")
    shown = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    wide = " class=wide" if int.from_bytes(source[16:20]) > WIDE_PX else ""  # a PNG says its width there
    return f'<figure><img{wide} src="data:image/png;base64,{data}" alt="{escape(alt)}">{shown}</figure>'


def interval(value: Mapping | None, *, digits: int = 3) -> str:
    """`0.912 [0.880, 0.940]`, or a dash."""
    if value is None:
        return "-"
    return f"{value['mean']:.{digits}f} [{value['low']:.{digits}f}, {value['high']:.{digits}f}]"


def _cells(tag: str, values: Sequence[object]) -> list[str]:
    texts = [escape(str(value)) for value in values]
    numbers = [
        f"<{tag} class=number>{text.replace(', ', ',&nbsp;')}</{tag}>" for text in texts[1:]
    ]  # [low, high] stay together
    return [f"<{tag}>{text}</{tag}>" for text in texts[:1]] + numbers
