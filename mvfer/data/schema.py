"""What a row of a data set is, and how a folder of rows is written and read.

One row is one scan or one sequence. A folder holds Parquet shards named `train-00000-of-00014.parquet`, a
`dataset_info.json` (renderer, settings, source, licence), a data set card `README.md`, and `rejected.jsonl`, the scans
that could not be read. `datasets.load_dataset("parquet", data_dir=folder)` reads it as well.
"""

import dataclasses
import io
import itertools
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import ClassLabel, DatasetDict, Features, Image, List, Mesh, Value

from mvfer.data.png import encode_png
from mvfer.data.row_faults import COLUMNS, row_faults
from processing.images_mvfer import read_picture, upright_rgb
from processing.names_mvfer import printable, shown_json
from processing.prompts_mvfer import EXPRESSIONS

SPLITS = ("train", "validation", "test")
ACTIVE = 0.15  # FACS intensity A, a trace: weaker actions cannot be seen and are not mentioned
CAPTION_SOURCES = ("captions", "label_prompts", "none")
INFO_FILE = "dataset_info.json"
REJECTED_FILE = "rejected.jsonl"
SHEET_FILE = "contact_sheet.png"  # which `dataset_scripts.validate` draws
ADDED = ("apex_time_s", "static_units")  # columns that sets of format 1.0, or 1.1, lack; they are null there
MESHES = "meshes"  # column of sets that keep their geometry, a mesh per frame; for others to read
UNREAD = (MESHES, "geometry", "light_deg")  # columns that a set may have, the last two before 0.2
ROWS_PER_GROUP = 100  # small row groups: the Hub's viewer shows pages without reading a whole shard
BYTES_PER_GROUP = 32 * 2**20
MAX_VIEW_PX = 2**24  # 4096 x 4096: views are small, and a row has many
_REJECTED_KEY = b"mvfer_rejected"
_SOURCES_KEY = b"mvfer_sources"
_PICTURES = "views.list.element.list.element.bytes"  # PNGs: not compressed again
_LARGE = (_PICTURES, f"{MESHES}.list.element.bytes")  # not looked through for repetitions


def features() -> Features:
    """The columns of every data set; what a set does not know is null (or empty, or -1 for `expression`)."""
    return Features(
        {
            "id": Value("string"),
            "subject": Value("string"),
            "expression": ClassLabel(names=list(EXPRESSIONS)),
            "captions": List(Value("string")),
            "caption_source": Value("string"),
            "action_units": List({"name": Value("string"), "intensity": Value("float32")}),
            "static_units": List(Value("string")),  # there all the time, so no part of the expression (4DME)
            "intensity": Value("float32"),
            "views": List(List(Image())),  # frames x views
            "view_angles_deg": List(List(Value("float32"))),  # views x (yaw, pitch)
            "frame_times_s": List(Value("float32")),
            "apex_time_s": Value("float32"),  # of sequences: when the expression is strongest
            "split": Value("string"),
            "sex": Value("string"),
            "age_group": Value("string"),
            "ancestry": Value("string"),
            "task": Value("string"),
            "pose": Value("string"),
            "occlusion": Value("string"),
        }
    )


def describe_settings(settings) -> dict:
    """The dataclass of a build's settings as JSON would give it back."""
    told = dataclasses.asdict(settings) | {"render": settings.render.to_dict()}
    if not told["keep_geometry"]:  # so that builds of before this could be asked for go on
        del told["keep_geometry"]
    return json.loads(json.dumps(told))


def as_dict(action_units: Iterable[Mapping]) -> dict[str, float]:
    """The `action_units` of a row as a dict, name -> intensity."""
    return {unit["name"]: float(unit["intensity"]) for unit in action_units}


def as_list(action_units: Mapping[str, float]) -> list[dict]:
    """The inverse of `as_dict`."""
    return [{"name": name, "intensity": float(intensity)} for name, intensity in action_units.items()]


def is_at_rest(action_units: Iterable[Mapping]) -> bool:
    """Whether a row's `action_units` say that the face does nothing that can be seen: all are below `ACTIVE`.

    Ask only rows whose units are known: recorded sets without action units store an empty list as well. "Neutral" is a
    wider word; of a synthetic set, a neutral face may have its eyes closed, or its lips parted.
    """
    return all(intensity < ACTIVE for intensity in as_dict(action_units).values())


def frame_out_of_time(times_s: Sequence[float] | np.ndarray) -> int | None:
    """The first frame that is not later than the one before it, in the precision of `frame_times_s`; None if there is none."""
    times = np.asarray(times_s, dtype=np.float64).astype(np.float32)
    forward = np.isfinite(times) & (np.diff(times, prepend=-np.inf) > 0)
    return None if forward.all() else int(forward.argmin())


def encode_view(view: np.ndarray, name: str) -> dict:
    """A `(H, W, 3)` uint8 view as a lossless PNG with a base name (never a path of this computer)."""
    return {"bytes": encode_png(view), "path": name}


def encode_views(views: Iterable[np.ndarray], name: str) -> list[list[dict]]:
    """`T` frames of views `(V, H, W, 3)` uint8, taken as they come -> frames x views of PNGs."""
    return [
        [encode_view(view, f"{name}_{t:03d}_{v}.png") for v, view in enumerate(frame)] for t, frame in enumerate(views)
    ]


def encode_mesh(vertices: np.ndarray, faces: np.ndarray, name: str) -> dict:
    """Vertices `(N, 3)` and faces `(M, 3)` as a binary PLY of 32 bits, as `datasets.Mesh` reads it, with a base name."""
    header = (
        f"ply\nformat binary_little_endian 1.0\nelement vertex {len(vertices)}\nproperty float x\nproperty float y\n"
        f"property float z\nelement face {len(faces)}\nproperty list uchar int vertex_indices\nend_header\n"
    )
    corners = np.empty(len(faces), dtype=[("count", "u1"), ("corners", "<i4", (3,))])
    corners["count"], corners["corners"] = 3, faces
    return {"bytes": header.encode() + np.asarray(vertices, dtype="<f4").tobytes() + corners.tobytes(), "path": name}


def encode_meshes(frames: Iterable[tuple[np.ndarray, np.ndarray]], name: str) -> list[dict]:
    """`T` frames of vertices and faces -> a PLY per frame."""
    return [encode_mesh(*frame, f"{name}_{t:03d}.ply") for t, frame in enumerate(frames)]


def view_arrays(row: Mapping) -> np.ndarray:
    """Decode the views of one row. Only bytes are read: a row that names a file or an address instead is refused.

    Returns:
        `numpy.ndarray` of shape `(T, V, H, W, 3)`, uint8.
    Raises:
        ValueError: if a picture cannot be read, or the pictures differ in number or size; names the row.
    """
    try:
        return np.stack([np.stack([decode_view(view) for view in frame]) for frame in row["views"]])
    except (OSError, ValueError, SyntaxError, TypeError) as error:
        raise ValueError(f"row {row.get('id')!r}: a view cannot be read ({error})") from error


def decode_view(view) -> np.ndarray:
    """One picture of a row, `(H, W, 3)` uint8; or one that is opened already.

    Raises:
        ValueError: if it has no bytes, or they are no picture of at most `MAX_VIEW_PX`.
    """
    if not isinstance(view, Mapping):
        return np.asarray(upright_rgb(view))
    if not view.get("bytes"):
        path = printable(str(view.get("path") or ""))
        where = f"only the path '{path}'" if path else "nothing"
        raise ValueError(f"it holds {where} where the bytes of a picture should be; build the set with pictures in it")
    return np.asarray(read_picture(view["bytes"], max_px=MAX_VIEW_PX))


def shard_path(folder: str | os.PathLike, split: str, index: int, count: int) -> Path:
    return Path(folder) / f"{split}-{index:05d}-of-{count:05d}.parquet"


def write_shard(
    path: Path, rows: Iterable[Mapping], rejected: Sequence[Mapping] = (), sources: Mapping[str, str] | None = None
) -> int:
    """Write rows as one Parquet file, whole or not at all. Missing columns become null; unknown ones raise.

    Rows are written in groups as they come, so a shard of long sequences never lies in memory as a whole.

    Args:
        path: the final name; the bytes go to a temporary name first.
        rows: dicts with the columns of `features()`; `views` as `encode_views` gives them, `action_units` as a list; if the
            first has `meshes`, as `encode_meshes` gives them, so has the file.
        rejected: `{"id", "reason"}` of the items that could not be read, kept in the file's metadata; looked at after the
            last row, so whoever makes the rows may add to it.
        sources: subject -> a hash of all that its rows were made of, so that a shard of edited files is known again.
    Returns:
        `int`: how many rows were written.
    """
    rows = iter(rows)
    first = list(itertools.islice(rows, 1))
    has_meshes = any(MESHES in row for row in first)
    schema = Features(features() | ({MESHES: List(Mesh())} if has_meshes else {})).arrow_schema
    options = _column_options(schema)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    count = 0
    try:
        with pq.ParquetWriter(temporary, schema, write_page_index=True, **options) as writer:
            for group in _groups(itertools.chain(first, rows), schema.names):
                columns = {f.name: pa.array([row.get(f.name) for row in group], type=f.type) for f in schema}
                writer.write_table(pa.table(columns, schema=schema), row_group_size=len(group))
                count += len(group)
            kept = {_REJECTED_KEY: list(rejected)} | ({_SOURCES_KEY: sources} if sources else {})
            writer.add_key_value_metadata({key: json.dumps(value).encode() for key, value in kept.items()})
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return count


def _column_options(schema: pa.Schema) -> dict:
    """Compression and dictionaries for all columns but the pictures, which would cost four times their size in memory."""
    empty = io.BytesIO()
    pq.write_table(schema.empty_table(), empty)
    columns = pq.ParquetFile(empty).schema
    names = [columns.column(i).path for i in range(len(columns.names))]
    compression = {name: "none" if name == _PICTURES else "snappy" for name in names}
    return {"compression": compression, "use_dictionary": [name for name in names if name not in _LARGE]}


def _groups(rows: Iterable[Mapping], names: Sequence[str]) -> Iterator[list[Mapping]]:
    """Lists of rows, each small in number and in bytes."""
    group, size = [], 0
    for row in rows:
        unknown = sorted(set(row) - set(names))
        if unknown:
            raise ValueError(f"row {row.get('id')!r}: unknown columns {unknown}; known are {list(names)}")
        group.append(row)
        size += sum(len(view["bytes"]) for frame in row["views"] for view in frame)
        size += sum(len(mesh["bytes"]) for mesh in row.get(MESHES) or ())
        if len(group) == ROWS_PER_GROUP or size >= BYTES_PER_GROUP:
            yield group
            group, size = [], 0
    if group:
        yield group


def read_columns(path: Path, columns: Sequence[str]) -> pa.Table:
    """A few columns of a shard; its pictures stay on disk."""
    with pq.ParquetFile(path) as file:
        return file.read(columns=list(columns))


def read_rejected(path: Path) -> list[dict]:
    """The rejected items of one shard."""
    return _metadata(path, _REJECTED_KEY, b"[]")


def read_sources(path: Path) -> dict[str, str]:
    """The `sources` of one shard; empty if it was written without."""
    return _metadata(path, _SOURCES_KEY, b"{}")


def _metadata(path: Path, key: bytes, otherwise: bytes):
    return json.loads((pq.read_metadata(path).metadata or {}).get(key, otherwise))


def write_rejected(folder: Path, rejected: Sequence[Mapping]) -> None:
    """List what could not be read, one JSON object per line."""
    lines = "".join(shown_json(json.dumps(item, ensure_ascii=False)) + "\n" for item in rejected)
    (folder / REJECTED_FILE).write_text(lines, encoding="utf-8")


def read_rejected_file(folder: Path) -> list[dict]:
    """What `write_rejected` wrote; empty if there is no such file."""
    path = folder / REJECTED_FILE
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def write_json(path: Path, values) -> None:
    """Write JSON, whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(shown_json(json.dumps(values, indent=2, ensure_ascii=False)) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def find_shards(folder: str | os.PathLike) -> dict[str, list[Path]]:
    """split -> shards.

    Raises:
        ValueError: if the folder is missing or empty, or some shards of a split are missing.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(
            f"{folder} is no folder; build a data set first: python -m dataset_scripts.build_anny --out {folder}"
        )
    found = {split: sorted(folder.glob(f"{split}-*-of-*.parquet")) for split in SPLITS}
    found = {split: paths for split, paths in found.items() if paths}
    if not found:
        raise ValueError(
            f"{folder} holds no shards such as train-00000-of-00001.parquet; run a build script with --out {folder}"
        )
    for split, paths in found.items():
        counts = {path.stem.rsplit("-", 1)[1] for path in paths}
        if counts != {f"{len(paths):05d}"}:
            raise ValueError(
                f"{folder}: {len(paths)} shards of {split} found, but their names say {', '.join(sorted(counts))}; "
                "run the build again to complete it"
            )
    return found


def load_splits(folder: str | os.PathLike) -> DatasetDict:
    """Open a data set whose rows are sound as far as their columns tell.

    Args:
        folder: what a build script wrote.
    Returns:
        `datasets.DatasetDict` with the splits that exist, of train, validation and test.
    Raises:
        ValueError: as `open_splits`, or if `faults_of` finds any.
    """
    splits = open_splits(folder)
    for name, split in splits.items():
        for what, rows in faults_of(split).items():
            who = printable(repr(split[rows[0]]["id"]))
            raise ValueError(
                f"{split.info.description}: {what}: {len(rows)}, first {name} row {rows[0]}, {who}; "
                f"build it again, or see all that is wrong: python -m dataset_scripts.validate {folder}"
            )
    return splits


def faults_of(split: datasets.Dataset) -> dict[str, list[int]]:
    """`row_faults` of a split; its pictures stay on disk."""
    return row_faults(split.select_columns(list(COLUMNS)).with_format("arrow")[:])


def open_splits(folder: str | os.PathLike) -> DatasetDict:
    """Open a data set. Its pictures stay `{"bytes", "path"}`, for `view_arrays`: what `datasets` decodes may be any file.

    Raises:
        ValueError: if the folder is missing or incomplete, a shard has the wrong columns or cannot be read, or a split is empty.
    """
    shards = find_shards(folder)
    expected, columns = features(), None
    for paths in shards.values():
        for path in paths:
            try:
                schema = pq.read_schema(path)
            except (pa.ArrowInvalid, OSError) as error:
                raise ValueError(f"{path} cannot be read ({error}); delete it and run the build again") from error
            found = {field.name: field.type for field in schema if field.name not in UNREAD}
            wanted = [field for field in expected.arrow_schema if field.name in found or field.name not in ADDED]
            if list(found.items()) != [(field.name, field.type) for field in wanted]:
                raise ValueError(
                    f"{path}: expected the columns {list(expected)}, got {schema.names}; build the data set anew"
                )
            if len(found) < len(schema):
                columns = list(expected)
    filled = {split: [path for path in paths if pq.read_metadata(path).num_rows] for split, paths in shards.items()}
    for split, paths in filled.items():
        if not paths:
            raise ValueError(f"{folder}: split {split!r} is empty; build the data set with subjects in every split")
    files = {split: [str(path) for path in paths] for split, paths in filled.items()}
    with by_itself():
        splits = datasets.load_dataset("parquet", data_files=files, features=expected, columns=columns)
        splits = splits.cast_column("views", List(List(Image(decode=False))))
    for name, split in splits.items():  # for messages
        split.info.description = ", ".join(files[name]) if len(files[name]) < 3 else f"{folder}/{name}-*.parquet"
    return splits


class by_itself:
    """While `datasets` opens files it shows no progress bars, and does not tell a server in the net that it was used."""

    def __enter__(self):
        self.shown, self.counted = datasets.utils.is_progress_bar_enabled(), datasets.config.HF_UPDATE_DOWNLOAD_COUNTS
        datasets.disable_progress_bars()
        datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = False

    def __exit__(self, *_):
        datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = self.counted
        if self.shown:
            datasets.enable_progress_bars()


def dataset_info(folder: str | os.PathLike) -> dict:
    """What `dataset_info.json` says: name, version, render_settings, view_angles_deg, source, license, seed, counts.

    Raises:
        ValueError: if the file is missing or is no JSON, or the build is not complete.
    """
    path = Path(folder) / INFO_FILE
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path} is missing; run a build script with --out {folder}") from None
    except ValueError as error:
        raise ValueError(f"{path} is no valid JSON ({error}); run the build again") from error
    if not info.get("complete", True):
        raise ValueError(f"{folder}: the build was not finished; run the same command again, finished shards are kept")
    return info
