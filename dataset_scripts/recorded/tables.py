"""Tables of metadata: CSV, JSON lines, Excel. In: a file. Out: its rows as dicts of texts."""

import csv
import json
from pathlib import Path


def read_table(path: Path) -> list[dict[str, str]]:
    """Read a `.csv`, `.jsonl` or `.xlsx` table; empty cells become "".

    Raises:
        ValueError: `"<path>: <reason>"` if it cannot be read, has no rows, or is an Excel file and openpyxl is not installed.
    """
    try:
        rows = {".csv": _csv, ".jsonl": _jsonl, ".xlsx": _xlsx}[path.suffix.lower()](path)
    except KeyError:
        raise ValueError(f"{path}: expected a .csv, .jsonl or .xlsx table") from None
    except (OSError, ValueError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: not readable as a table ({error})") from error
    if not rows:
        raise ValueError(f"{path}: the table has no rows")
    return [{str(k).strip(): _text(v) for k, v in row.items() if k} for row in rows]


def _text(value) -> str:
    """A cell; whole numbers of Excel without ".0"."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return "" if value is None else str(value).strip()


def need_columns(path: Path, rows: list[dict[str, str]], names: tuple[str, ...], *, hint: str = "") -> None:
    """Raise a ValueError that lists the columns that are missing, and what it has; `hint` says what to do."""
    missing = [name for name in names if name not in rows[0]]
    if missing:
        what_to_do = f"; {hint}" if hint else ""
        raise ValueError(f"{path}: missing columns {', '.join(missing)}; it has {', '.join(rows[0])}{what_to_do}")


def _csv(path: Path) -> list[dict]:
    with path.open(newline="", encoding="utf-8-sig") as stream:
        return list(csv.DictReader(stream))


def _jsonl(path: Path) -> list[dict]:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    if any(not isinstance(row, dict) for row in rows):
        raise ValueError("expected one JSON object per line")
    return rows


def _xlsx(path: Path) -> list[dict]:
    try:
        from openpyxl import load_workbook
    except ImportError:
        raise ValueError('Excel files need openpyxl: pip install "mvfer[excel]", or save the table as CSV') from None
    try:
        cells = list(load_workbook(path, read_only=True, data_only=True).active.iter_rows(values_only=True))
    except Exception as error:  # openpyxl raises what zipfile and its XML parser raise
        raise ValueError(f"{type(error).__name__}: {error}") from error
    if not cells:
        return []
    rows = [dict(zip(cells[0], row, strict=False)) for row in cells[1:]]
    return [row for row in rows if any(value is not None for value in row.values())]
