"""Build a data set from a folder full of damaged files, and see that every one is accounted for.

In: a count and a seed. Out: a report. The folder holds damaged meshes of every format, damaged photos, and things that are no
files (links in a loop, pipes, folders named like meshes). Each file must become one row or one line of `rejected.jsonl`, and
the build must end by itself, without a crash.

    python -m tests.fuzz_build --count 10000 --seed 0
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from mvfer.data import schema

from .damage import SEEDS, Files, damage, mutated, pick
from .fuzz import RSS_UNIT

REPOSITORY = Path(__file__).parents[1]
LABELS = ("happy", "sad", "wink")
PHOTOS = {"jpg": "JPEG", "png": "PNG", "bmp": "BMP", "webp": "WEBP", "tif": "TIFF"}
PHOTO_SHARE = 0.1
FOLDERS = ["--task_labels", "wink", *(f"photos-{label}" for label in LABELS)]
RUNS = {
    "geometry": ["--geometry_only", *FOLDERS],
    "colours": ["--channels", "red", "green", "blue", *FOLDERS],
}  # each reads what the other skips


def write_tree(folder: Path, count: int, seed: int = 0) -> int:
    """Write `count` damaged meshes and photos, and what else may lie on a disk; the number of files a builder must answer for."""
    seeds = {reader: make() for reader, make in SEEDS.items()}
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        label = pick(rng, LABELS)
        if rng.random() < PHOTO_SHARE:
            suffix = pick(rng, list(PHOTOS))
            files = {f"photos-{label}/{number:05d}.{suffix}": _photo(suffix, rng)}
        else:
            reader = pick(rng, list(seeds))
            own = [_renamed(files, f"{number:05d}") for files in seeds[reader]]
            files = {f"{label}/{name}": data for name, data in mutated(own, reader, rng).items()}
        for name, data in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    return count + _write_what_is_no_file(folder / LABELS[0], folder)


def _renamed(files: Files, base: str) -> Files:
    """The files of one mesh under names of their own: `00012.obj`, `00012-m.mtl`, `00012-skin.png`."""
    names = {name: base + name.removeprefix("seed") if name.startswith("seed") else f"{base}-{name}" for name in files}
    for old, new in names.items():
        if not old.startswith("seed"):
            files = {name: data.replace(old.encode(), new.encode()) for name, data in files.items()}
    return {names[name]: data for name, data in files.items()}


def _photo(suffix: str, rng) -> bytes:
    pixels = rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, PHOTOS[suffix])
    return damage(stream.getvalue(), rng, "bnt")


def _write_what_is_no_file(folder: Path, root: Path) -> int:
    """Links, pipes and names that a folder may hold; how many of them look like scans or hide some."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dangling.obj").symlink_to("gone.obj")
    (folder / "loop.ply").symlink_to("loop.ply")
    (folder / "outside.obj").symlink_to("/etc/hostname")
    (folder / "linked").symlink_to(root, target_is_directory=True)
    (folder / "linked.off").symlink_to(root, target_is_directory=True)
    os.mkfifo(folder / "pipe.wrl")
    (root / "photos-sad").mkdir(exist_ok=True)
    os.mkfifo(root / "photos-sad" / "pipe.png")
    (folder / "empty.stl").touch()
    litter = [folder / "._resource.obj", root / ".DS_Store", root / "__MACOSX" / "happy" / "._00001.obj"]
    for path in litter:  # as macOS leaves beside files; nobody answers for it
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\0\5\x16\7")
    (folder / ("long" * 60 + ".obj")).write_bytes(b"v 0 0 0\n")
    with (folder / "sparse.ply").open("wb") as file:
        file.truncate(2**40)
    (Path(os.fsdecode(os.fsencode(folder) + b"/\xff\xfe.obj"))).write_bytes(b"v 0 0 0\n")  # a name that is no UTF-8
    (folder / "new\nline.obj").write_bytes(b"v 0 0 0\n")
    (folder / "folder.obj").mkdir()  # looked into like any folder
    return 12


def build(source: Path, out: Path, *flags: str, num_proc: int = 2, size_px: int = 64) -> subprocess.CompletedProcess:
    """The builder's command line, in a process of its own."""
    command = [sys.executable, "-m", "dataset_scripts.build_folder", "--source", str(source), "--out", str(out)]
    command += ["--key_file", str(out.parent / "key"), "--num_proc", str(num_proc), "--size_px", str(size_px), *flags]
    return subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)


def accounts(out: Path) -> tuple[int, list[dict]]:
    """How many rows there are, and the rejected items; AssertionError if one is in both or twice."""
    rows = [row for split in schema.load_splits(out).values() for row in split["id"]]
    rejected = [item for item in schema.read_rejected_file(out) if not item.get("kept")]
    names = rows + [item["id"] for item in rejected]
    assert len(set(names)) == len(names), "an item is accounted for twice"
    assert all(item["reason"].strip() for item in rejected), "a rejection without a reason"
    return len(rows), rejected


def kind_of(reason: str) -> str:
    """A reason without what differs from file to file."""
    reason = re.sub(r"'[^']*'|\"[^\"]*\"", "'..'", reason.split("; ")[0])
    return re.sub(r"-?\d[\d.e+]*", "#", reason)[:90]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz_build", description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=10000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--num_proc", type=int, default=2)
    parser.add_argument("--most", type=int, default=25, help="kinds of reasons to list")
    args = parser.parse_args(argv)
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source"
        files = write_tree(source, args.count, args.seed)
        for name, flags in RUNS.items():
            begin = time.perf_counter()
            done = build(source, Path(folder) / name, *flags, num_proc=args.num_proc)
            seconds, peak = (
                time.perf_counter() - begin,
                resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * RSS_UNIT,
            )
            if done.returncode:
                print(f"{name}: exit status {done.returncode}\n{done.stderr[-3000:]}")
                failed = True
                continue
            rows, rejected = accounts(Path(folder) / name)
            failed |= rows + len(rejected) != files
            print(f"{name}: {files} files, {rows} rows + {len(rejected)} rejected = {rows + len(rejected)}")
            print(f"  {seconds:.0f} s, {files / seconds:.0f} files per second, largest process {peak / 2**20:.0f} MiB")
            kinds = Counter(kind_of(item["reason"]) for item in rejected)
            print(*(f"  {count:6d}  {kind}" for kind, count in kinds.most_common(args.most)), sep="\n")
            print(f"          {len(kinds)} kinds of reasons", flush=True)
            print(json.dumps({"stderr_lines": done.stderr.count("\n")}))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
