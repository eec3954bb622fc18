"""Join the parts of a build that several machines made: `python -m dataset_scripts.merge PART PART ... --out DIR`.

In: folders written with `--part I-of-N` by machines without a common disk, where the engines of `mvfer distribute` cannot go.
Out: one folder, the same bytes as if one machine had built it. Parts of different builds, or a missing part, are refused.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from dataset_scripts.common.building import SAME_BUILD, finish, is_empty_split
from mvfer.data import schema
from mvfer.data.folder_lock import LOCK_FILE, folder_lock
from processing.names_mvfer import shown


def merge(parts: Sequence[str | Path], out: str | Path) -> dict:
    """Copy all shards into one folder and finish it.

    Raises:
        ValueError: if the parts are of different builds, two hold different shards of one name, or shards are missing.
    """
    folders = [Path(part) for part in parts]
    out = Path(out)
    infos = [_info(part) for part in folders]
    for part, info in zip(folders, infos, strict=True):
        for key in SAME_BUILD:
            if info.get(key) != infos[0].get(key):
                raise ValueError(f"{part} and {folders[0]} are of different builds: their {key} differs")
    base = next((info for info in infos if info.get("complete")), infos[0])  # which knows of splits without rows
    expected = [
        schema.shard_path(".", split, i, count).name
        for split, count in base["shards"].items()
        if not is_empty_split(base, split)
        for i in range(count)
    ]
    where = {name: [part / name for part in folders if (part / name).exists()] for name in expected}
    missing = [name for name, places in where.items() if not places]
    if missing:
        raise ValueError(f"{len(missing)} shards are in none of the parts: {', '.join(missing[:3])}; build them first")
    for places in where.values():
        if any(place.read_bytes() != places[0].read_bytes() for place in places[1:]):
            raise ValueError(f"{places[0]} and {places[1]} differ; one of them is damaged")
    with folder_lock(out, "a build"):
        if any(path.name != LOCK_FILE for path in out.iterdir()):
            raise ValueError(f"{out} is not empty; choose another --out")
        for places in where.values():
            shutil.copyfile(places[0], out / places[0].name)
        rejected = {line["id"]: line for part in folders for line in schema.read_rejected_file(part)}
        schema.write_rejected(out, list(rejected.values()))
        schema.write_json(out / schema.INFO_FILE, base)
        return finish(out)


def _info(part: Path) -> dict:
    try:
        return json.loads((part / schema.INFO_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{part} is no part of a build ({error})") from error


def main(argv: Sequence[str] | None = None) -> int:
    flags = argparse.ArgumentParser(description="Join the parts of a build that several machines made.")
    flags.add_argument("parts", nargs="+", help="folders written with --part")
    flags.add_argument("--out", required=True, help="folder to write")
    args = flags.parse_args(argv)
    try:
        info = merge(args.parts, args.out)
    except ValueError as error:
        print(f"error: {shown(str(error))}", file=sys.stderr)
        return 1
    print(f"{shown(str(args.out))}: {info['rows']}, {info['bytes'] / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
