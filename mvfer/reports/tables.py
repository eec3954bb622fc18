"""Tables that other programs open. In: rows as they come, and the kinds of their columns. Out: CSV, Parquet or JSON, whole or not
at all; and back.

A file never lies in memory as a whole. In CSV no cell is a formula where a spreadsheet opens it, and what is missing is empty.
"""

import csv
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from processing.names_mvfer import shown, shown_json

SUFFIXES = (".csv", ".parquet", ".json")
FORMULAS = ("=", "+", "-", "@")
KINDS = ("text", "file", "number", "whole", "truth", "vector")  # of columns
_ROWS = 1024  # that are written together


def check_suffix(path: str | Path, suffixes: tuple[str, ...] = SUFFIXES) -> str:
    """The suffix of a table's name, lower case; imports what writes it.

    Raises:
        ValueError: if it is none of these.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in suffixes:
        raise ValueError(f"{path}: a table ends in {' or '.join(suffixes)}; name it so")
    if suffix == ".parquet":
        import pyarrow.parquet  # noqa: F401  # missing, it is named before anything is computed
    return suffix


def write_table(path: str | Path, columns: Mapping[str, str], rows: Iterable[Mapping[str, Any]]) -> int:
    """Write rows to `path`; what is there is replaced at the end.

    Args:
        columns: name to one of `KINDS`, in order. rows: values by name; `None` or absent is missing.
    Returns:
        `int`: how many rows.
    Raises:
        ValueError: if the file cannot be written; what was there before is as it was.
    """
    path, write = Path(path), {".csv": _write_csv, ".json": _write_json, ".parquet": _write_parquet}[check_suffix(path)]
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            count = write(temporary, columns, rows)
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise ValueError(
            f"{path}: cannot be written ({error.strerror or error}); make room, or choose another place"
        ) from error
    return count


def read_table(path: str | Path) -> Iterator[dict[str, Any]]:
    """The rows of a table, with numbers as numbers; missing ones are `None`.

    Raises:
        ValueError: if it is no table.
    """
    path, read = Path(path), {".csv": _read_csv, ".json": _read_json, ".parquet": _read_parquet}[check_suffix(path)]
    try:
        yield from read(path)
    except (OSError, ValueError, csv.Error) as error:  # pyarrow's are ValueErrors
        raise ValueError(f"{path}: not readable as a table ({error})") from error


def _write_csv(path: Path, columns: Mapping[str, str], rows: Iterable[Mapping]) -> int:
    count = 0
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow([_cell(name, "text") for name in columns])
        for row in rows:
            writer.writerow([_cell(row.get(name), kind) for name, kind in columns.items()])
            count += 1
        _sync(stream)
    return count


def _cell(value, kind: str):
    """Text on one line, and no formula: a file's name is led by ./ and stays one, other text by a quotation mark."""
    if not isinstance(value, str):
        return value
    lead = "" if not value.startswith(FORMULAS) else "./" if kind == "file" else "'"
    return lead + shown(value)


def _write_json(path: Path, columns: Mapping[str, str], rows: Iterable[Mapping]) -> int:
    count = 0
    with path.open("w", encoding="utf-8") as stream:
        stream.write("[")
        for row in rows:
            values = {name: row.get(name) for name in columns}
            stream.write(f"{',' if count else ''}\n{shown_json(json.dumps(values, ensure_ascii=False))}")
            count += 1
        stream.write("\n]\n")
        _sync(stream)
    return count


def _sync(stream: TextIO) -> None:
    stream.flush()
    os.fsync(stream.fileno())


def _write_parquet(path: Path, columns: Mapping[str, str], rows: Iterable[Mapping]) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {"text": pa.string(), "file": pa.string(), "number": pa.float64(), "whole": pa.int64(), "truth": pa.bool_()}
    types["vector"] = pa.list_(pa.float32())
    schema = pa.schema([(name, types[kind]) for name, kind in columns.items()])
    rows, count = iter(rows), 0
    with pq.ParquetWriter(path, schema) as writer:
        while group := list(islice(rows, _ROWS)):
            arrays = [
                pa.array([_plain(row.get(name)) for row in group], type=schema.field(name).type) for name in columns
            ]
            writer.write_table(pa.table(arrays, schema=schema))
            count += len(group)
    return count


def _plain(value):
    """Names of files that are no UTF-8 are spelt out."""
    return shown(value) if isinstance(value, str) else value


def _read_csv(path: Path) -> Iterator[dict]:
    with path.open(newline="", encoding="utf-8-sig") as stream:
        for row in csv.DictReader(stream):
            yield {name: _value(text) for name, text in row.items() if name is not None}


def _value(text: str | None):
    if not text:
        return None
    if text in ("True", "False"):
        return text == "True"
    try:
        return float(text)
    except ValueError:
        return text


def _read_json(path: Path) -> Iterator[dict]:
    rows = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError("expected a list of objects")
    yield from rows


def _read_parquet(path: Path) -> Iterator[dict]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(_ROWS):
            yield from batch.to_pylist()
