"""Take a person out of a built data set. In: a folder, the person's name, the key of the pseudonyms. Out: the set without them.

`mvfer forget` is its command. Shards are rewritten one by one, each whole or not at all; that the person is to be left out is
written down first, as a keyed hash beside the key, so that a killed call can be run again and no build with this key brings them
back.
"""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import datasets
import pyarrow as pa
import pyarrow.parquet as pq

from dataset_scripts.common.building import finish
from mvfer.data import schema
from mvfer.data.folder_lock import folder_lock
from mvfer.data.pseudonyms import Pseudonyms, forgotten, remember_to_forget
from mvfer.progress import progress_bar

PSEUDONYM = re.compile(r"s[0-9a-f]{12}")


class Forgotten(NamedTuple):
    """What was taken out: rows of the set, shards that were rewritten, and copies of it in the cache of `datasets`."""

    rows: int
    shards: int
    cached_copies: int


def forget(folder: str | Path, person: str, *, key_file: str | Path | None = None) -> Forgotten:
    """Remove all of a person's rows, and what was derived from them in the folder.

    Args:
        person: the name that the source has, or the pseudonym.
        key_file: of the key that the set was built with; default the user's.
    Raises:
        ValueError: if the set has no key or another one, nobody of this name is in it, or another process writes there.
    """
    folder, info = Path(folder), schema.dataset_info(folder)
    key_id = (info.get("build") or {}).get("options", {}).get("key_id")
    if key_id is None:
        raise ValueError(f"{folder}: its people have no pseudonyms, as they do not exist; nobody is to be forgotten")
    key = Pseudonyms.from_file(key_file, make=False)
    if key.key_id != key_id:
        raise ValueError(
            f"{folder}: was built with the key {key_id}, this is {key.key_id}; name that one with --key_file"
        )
    pseudonym = person if PSEUDONYM.fullmatch(person) else key(person)
    with folder_lock(folder, "a build"):
        shards = [path for paths in schema.find_shards(folder).values() for path in paths if _holds(path, pseudonym)]
        if not shards and key.digest(pseudonym) not in forgotten(key_file):
            raise ValueError(
                f"{folder}: nobody of this name is in it; write the name as the source does, in its letters, or the pseudonym"
            )
        remember_to_forget(key.digest(pseudonym), key_file)
        rows = sum(_rewrite(path, pseudonym) for path in progress_bar(shards, what="forget", unit="shard"))
        schema.write_rejected(folder, _others(schema.read_rejected_file(folder), pseudonym))
        (folder / schema.SHEET_FILE).unlink(missing_ok=True)
        finish(folder)
    return Forgotten(rows, len(shards), _clear_cache(pseudonym))


def _holds(path: Path, pseudonym: str) -> bool:
    """Whether a shard has anything of a person: rows, what they were made of, or what could not be made."""
    subjects = schema.read_columns(path, ["subject"])["subject"].to_pylist()
    rejected = schema.read_rejected(path)
    return pseudonym in {*subjects, *schema.read_sources(path)} or len(_others(rejected, pseudonym)) < len(rejected)


def _others(rejected: list[dict], pseudonym: str) -> list[dict]:
    return [line for line in rejected if not str(line["id"]).startswith(f"{pseudonym}-")]


def _rewrite(path: Path, pseudonym: str) -> int:
    """Write a shard anew without a person; how many rows they had."""
    sources = {name: value for name, value in schema.read_sources(path).items() if name != pseudonym}
    before = pq.read_metadata(path).num_rows
    kept = schema.write_shard(path, _rows(path, pseudonym), _others(schema.read_rejected(path), pseudonym), sources)
    return before - kept


def _rows(path: Path, pseudonym: str) -> Iterator[dict]:
    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            yield from (row for row in file.read_row_group(group).to_pylist() if row["subject"] != pseudonym)


def _clear_cache(pseudonym: str) -> int:
    """Delete the copies of opened sets that `datasets` keeps, where they hold a person; how many there were."""
    folders = set()
    for arrow in Path(datasets.config.HF_DATASETS_CACHE).glob("parquet/**/*.arrow"):
        try:
            names = set(datasets.Dataset.from_file(str(arrow)).select_columns(["subject"])["subject"])
        except (OSError, ValueError, KeyError, pa.ArrowException):  # of other sets, or half written
            continue
        folders |= {arrow.parent} if pseudonym in names else set()
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
    return len(folders)
