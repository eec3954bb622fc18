"""Which data is this? In: the folder of a data set. Out: a hash of what it holds, whatever it is called and wherever it lies.

Rows, labels, texts and splits are read; of the pictures, their places and sizes in the shards, and the hashes of the sources that
builders of recorded sets write there: so a set of many gigabytes is known in seconds.
"""

import hashlib
import json
import os

import pyarrow.parquet as pq

from mvfer.data import schema

PICTURES = "views"


def fingerprint(folder: str | os.PathLike) -> str:
    """Thirty-two hexadecimal digits; the same for a set that was built again from the same sources with the same settings.

    Raises:
        ValueError: if the folder is no data set, or not a complete one.
    """
    digest = hashlib.blake2b(digest_size=16)
    for split, paths in schema.find_shards(folder).items():
        for path in paths:
            digest.update(f"{split}:{path.name}\n".encode())
            digest.update(_shard(path))
    return digest.hexdigest()


def _shard(path) -> bytes:
    metadata, digest = pq.read_metadata(path), hashlib.blake2b(digest_size=16)
    for group in range(metadata.num_row_groups):
        chunks = [metadata.row_group(group).column(i) for i in range(metadata.num_columns)]
        digest.update(repr([chunk.total_uncompressed_size for chunk in chunks]).encode())
    digest.update(json.dumps(schema.read_sources(path), sort_keys=True).encode())
    names = [name for name in pq.read_schema(path).names if name != PICTURES]
    for row in schema.read_columns(path, names).to_pylist():
        digest.update(json.dumps(row, sort_keys=True, ensure_ascii=True).encode())
    return digest.digest()
