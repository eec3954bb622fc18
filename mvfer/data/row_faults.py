"""What is wrong with rows, as far as their columns tell. In: columns of a split. Out: kinds of faults, with the rows.

A set may come from a stranger, or from a script of somebody's own: a label beyond the list, a null or a NaN would otherwise
end a training with an error that names no file, or be learnt. No picture is opened.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from processing.prompts_mvfer import EXPRESSIONS

COLUMNS = ("id", "subject", "expression", "captions", "action_units", "view_angles_deg", "frame_times_s")


def row_faults(table: pa.Table) -> dict[str, list[int]]:
    """What is wrong -> the numbers of the rows, from 0; of a table with the `COLUMNS` of `mvfer.data.schema.features`."""
    found: dict[str, list[int]] = {}
    first = 0
    for batch in table.select(COLUMNS).to_batches():
        for what, rows in _faults(batch):
            found.setdefault(what, []).extend((first + np.unique(rows)).tolist())
        first += batch.num_rows
    return {what: rows for what, rows in found.items() if rows}


def _faults(batch: pa.RecordBatch):
    """Pairs of what is wrong and the rows in the batch, perhaps several times."""
    yield "rows without an id", _empty(batch["id"])
    yield "rows without a subject", _empty(batch["subject"])
    labels = batch["expression"].fill_null(-1).to_numpy(zero_copy_only=False)
    yield "expressions beyond the list", np.flatnonzero((labels < -1) | (labels >= len(EXPRESSIONS)))
    texts, rows = _flat(batch["captions"])
    yield "captions that are no texts", rows[_is_null(texts)]
    units, rows = _flat(batch["action_units"])
    intensities = _numbers(pc.struct_field(units, "intensity"))
    is_none = _is_null(units) | _is_null(pc.struct_field(units, "name")) | ~np.isfinite(intensities)
    yield "action units without a name or an intensity", rows[is_none]
    pairs, rows = _flat(batch["view_angles_deg"])
    angles, places = _flat(pairs)
    yield "angles that are no numbers", rows[places[~np.isfinite(_numbers(angles))]]
    values, rows = _flat(batch["frame_times_s"])
    times = _numbers(values)
    is_later = np.diff(times, prepend=-np.inf) > 0
    is_later[np.flatnonzero(np.diff(rows, prepend=-1))] = True  # the first of its row
    yield "frame times that do not go forward", rows[~(np.isfinite(times) & is_later)]


def _empty(texts: pa.Array) -> np.ndarray:
    return np.flatnonzero(pc.equal(pc.utf8_length(texts), 0).fill_null(True).to_numpy(zero_copy_only=False))


def _flat(lists: pa.Array) -> tuple[pa.Array, np.ndarray]:
    """The elements of all lists, and for each the number of its list."""
    return pc.list_flatten(lists), pc.list_parent_indices(lists).to_numpy(zero_copy_only=False)


def _is_null(values: pa.Array) -> np.ndarray:
    return values.is_null().to_numpy(zero_copy_only=False)


def _numbers(values: pa.Array) -> np.ndarray:
    """Floats; null is NaN."""
    return values.cast(pa.float64()).to_numpy(zero_copy_only=False)
