"""Data sets that differ from another in their rows' contents, for comparisons. In: a built folder and a change. Out: another."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from datasets import Dataset

from mvfer.data.schema import INFO_FILE, dataset_info, load_splits, shard_path, write_json, write_shard


def rewrite_set(source: Path, folder: Path, change: Callable[[Dataset], Iterable[Mapping]], **info) -> Path:
    """Write a set with changed rows; a finished one is left as it is.

    Args:
        change: takes a split, its pictures not decoded; gives the rows to write.
        info: what `dataset_info.json` says otherwise than the source's.
    """
    if (folder / INFO_FILE).exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    for name, split in load_splits(source).items():
        write_shard(shard_path(folder, name, 0, 1), change(split))
    write_json(folder / INFO_FILE, dataset_info(source) | info)  # last: it says that the set is whole
    return folder
