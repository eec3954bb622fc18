"""Names, paths, user, computer and what cameras write into photos are planted, and looked for in every byte that is written."""
# ruff: noqa: F811  (fixtures are imported, then named as arguments)

import base64
import io
import json
import re
import shutil
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from accelerate.state import AcceleratorState, PartialState
from PIL import Image

import train
from dataset_scripts import build_folder
from dataset_scripts.recorded import scan_sets
from dataset_scripts.validate import main as validate_main
from mvfer.cli.main import main
from mvfer.data.schema import dataset_info
from mvfer.data.without_folders import command_line
from tests.data.conftest import framed_once  # noqa: F401
from tests.data.layouts import write_textured_obj
from tests.test_imports import PYTHON, name_of

PEOPLE = (
    "Klara Zimtstern",
    "Bodo Quittenbaum",
    "Édith Morgentau",
    "Fritz Pfefferkorn",
    "Gerda Nelkenöl",
    "Hanno Kardamom",
)
MARKERS = [word for person in PEOPLE for word in (person, person.split()[0], person.split()[1])]
MARKERS += [
    "plantedhome",
    "planteduser",
    "plantedhost",
    "plantedsource",
    "plantedexif",
    "plantedcomment",
    "plantedmaterial",
]


@pytest.fixture
def planted(tmp_path, monkeypatch, framed_once):
    """Where the sources may lie; home, user and host are marked as well."""
    home = tmp_path / "plantedhome"
    home.mkdir()
    for name, value in (
        ("HOME", str(home)),
        ("USER", "planteduser"),
        ("LOGNAME", "planteduser"),
        ("HOSTNAME", "plantedhost"),
    ):
        monkeypatch.setenv(name, value)
    for name in ("socket.gethostname", "platform.node", "getpass.getuser"):
        monkeypatch.setattr(name, lambda said=name: "planteduser" if said.endswith("user") else "plantedhost")
    yield home / "plantedsource"
    AcceleratorState._reset_state(True)
    PartialState._reset_state()


def write_scan(path: Path, shift: float) -> None:
    """A mesh whose file, material, texture and comments all tell who it is."""
    write_textured_obj(path, shift)
    path.write_text(f"# plantedcomment {path.stem}\n" + path.read_text())
    path.with_suffix(".mtl").write_text(path.with_suffix(".mtl").read_text() + "# plantedmaterial\n")
    exif = Image.Exif()
    exif[0x013B] = f"plantedexif {path.stem}"  # the artist
    Image.open(path.with_suffix(".png")).save(path.with_suffix(".png"), exif=exif)


def contents(path: Path):
    """All that lies in a file: its bytes, and those of what is packed in it."""
    data = path.read_bytes()
    if path.suffix == ".html":  # a short name may stand in the letters of a picture by chance
        for picture in re.findall(rb"data:image/png;base64,([A-Za-z0-9+/=]+)", data):
            yield from inside_png(base64.b64decode(picture))
        data = re.sub(rb"(data:image/png;base64,)[A-Za-z0-9+/=]+", rb"\1", data)
    yield data
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        yield repr(pq.read_metadata(path).metadata).encode()
        for row in table.to_pylist():
            for frame in row["views"]:
                for view in frame:
                    yield view["path"].encode()
                    yield from inside_png(view["bytes"])
            yield json.dumps(
                {name: value for name, value in row.items() if name != "views"}, ensure_ascii=False
            ).encode()
    elif path.suffix == ".png":
        yield from inside_png(data)
    elif zipfile.is_zipfile(io.BytesIO(data)):
        with zipfile.ZipFile(io.BytesIO(data)) as packed:
            yield from (packed.read(name) for name in packed.namelist())


def inside_png(data: bytes):
    """The chunks of a PNG but its pixels; texts unpacked."""
    place = 8
    while place < len(data):
        (length,), kind = struct.unpack(">I", data[place : place + 4]), data[place + 4 : place + 8]
        chunk = data[place + 8 : place + 8 + length]
        if kind != b"IDAT":
            yield chunk
        for start in range(len(chunk)) if kind in (b"zTXt", b"iTXt", b"iCCP") else ():
            try:
                yield zlib.decompress(chunk[start:])
            except zlib.error:
                continue
        place += 12 + length


def found_in(folder: Path) -> list[str]:
    found = []
    for path in sorted(folder.rglob("*")):
        names = [marker for marker in MARKERS if marker.lower() in str(path.relative_to(folder)).lower()]
        for data in contents(path) if path.is_file() else ():
            text = data.lower()
            escaped = {marker: json.dumps(marker)[1:-1].lower() for marker in MARKERS}
            names += [m for m in MARKERS if m.lower().encode() in text or escaped[m].encode() in text]
        found += [f"{path.relative_to(folder)}: {name}" for name in names]
    return found


def build(source: Path, out: Path, *flags: str) -> Path:
    common = [
        "--source",
        str(source),
        "--out",
        str(out),
        "--size_px",
        "32",
        "--num_proc",
        "1",
        "--key_file",
        str(out) + ".key",
    ]
    assert scan_sets.main(build_folder.FOLDER, [*common, *flags]) == 0
    return out


def test_the_search_finds_what_is_planted(tmp_path):
    pixels = Image.fromarray(np.zeros((4, 4, 3), np.uint8))
    exif = Image.Exif()
    exif[0x013B] = "plantedexif"
    pixels.save(tmp_path / "a.png", exif=exif)
    with zipfile.ZipFile(tmp_path / "b.bin", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("x", "klara zimtstern" * 50)
    (tmp_path / "Fritz.json").write_text(json.dumps({"name": "Édith"}))
    assert {line.partition(":")[0] for line in found_in(tmp_path)} == {"a.png", "b.bin", "Fritz.json"}


LAYOUTS = {  # how a file is called -> flags
    "table": "{person}/{label}.obj",
    "pattern": "{label}/{person}_1.obj",
    "splits": "{split}/{label}/{person}.obj",
    "photos": "{person}/{label}_1/cam0.jpg",
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_no_layout_of_a_source_writes_who_is_in_it(planted, tmp_path, layout, capsys):
    for number, person in enumerate(PEOPLE):
        for label in ("happy", "sad"):
            split = ("train", "validation", "test")[number // 2]
            path = planted / LAYOUTS[layout].format(person=person, label=label, split=split)
            write_scan(path.with_suffix(".obj") if layout != "photos" else tmp_path / "aside.obj", number / 10)
            if layout == "photos":
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.open(tmp_path / "aside.png").convert("RGB").save(
                    path, exif=Image.open(tmp_path / "aside.png").getexif()
                )
    if layout == "table":
        files = [f"{person}/{label}.obj,P{n},{label}" for n, person in enumerate(PEOPLE) for label in ("happy", "sad")]
        (planted / "metadata.csv").write_text(
            "\n".join(["file_name,subject,label", *files, "Klara Zimtstern/gone.obj,P0,sad"])
        )
    flags = {
        "pattern": [
            "--subject_pattern",
            f"({'|'.join(name.lower() for name in PEOPLE)})_",
            "--split",
            "0.4",
            "0.3",
            "0.3",
        ],
        "photos": ["--cameras", "cam0=0"],
    }
    if layout == "pattern":
        flags["pattern"][1] = f"(?i){flags['pattern'][1]}"
        write_scan(planted / "sad" / "Somebody else.obj", 0.5)
    out = build(planted, tmp_path / "work" / "set", *flags.get(layout, []))
    assert sum(dataset_info(out)["rows"].values()) == 2 * len(PEOPLE) and found_in(tmp_path / "work") == []


def test_folders_of_people_are_refused_with_the_remedy(planted, tmp_path, capsys):
    for number, person in enumerate(PEOPLE):
        for label in ("happy", "sad"):
            write_scan(planted / person / f"{label}.obj", number / 10)
    argv = [
        "--source",
        str(planted),
        "--out",
        str(tmp_path / "set"),
        "--key_file",
        str(tmp_path / "key"),
        "--num_proc",
        "1",
    ]
    assert scan_sets.main(build_folder.FOLDER, argv) == 1
    said = capsys.readouterr().err
    assert (
        "If these are people, write metadata.csv with file_name, subject and label" in said and "--task_labels" in said
    )
    assert not (tmp_path / "set").exists()


def test_texts_and_labels_of_a_table_that_hold_a_persons_name_are_left_out(planted, tmp_path):
    lines = ["file_name,subject,label,caption,split"]
    texts = {0: ("happy", "klara zimtstern grins"), 1: ("Bodo Quittenbaum", ""), 2: ("happy", "she grins")}
    for number, person in enumerate(PEOPLE):
        write_scan(planted / f"{number}.obj", number / 10)
        label, caption = texts.get(number, ("sad", ""))
        lines.append(f"{number}.obj,{person},{label},{caption},{('train', 'validation', 'test')[number % 3]}")
    (planted / "metadata.csv").write_text("\n".join(lines))
    out = build(planted, tmp_path / "work" / "set")
    assert found_in(tmp_path / "work") == []
    reasons = [json.loads(line)["reason"] for line in (out / "rejected.jsonl").read_text().splitlines()]
    assert reasons == [
        f"its {what} holds the person's name, and would be written; leave it out" for what in ("caption", "label")
    ]


def test_people_who_differ_in_case_alone_are_refused(planted, tmp_path, capsys):
    for name in ("Anna_1", "anna_2", "ben_1"):
        write_scan(planted / "happy" / f"{name}.obj", 0.1)
    argv = ["--source", str(planted), "--out", str(tmp_path / "set"), "--key_file", str(tmp_path / "key")]
    assert scan_sets.main(build_folder.FOLDER, [*argv, "--subject_pattern", "^([A-Za-z]+)_"]) == 1
    assert "differ in case alone: Anna and anna" in capsys.readouterr().err


def test_commands_are_written_without_the_folders_of_somebodys_computer():
    words = [
        "--dataset",
        "/somewhere/klara/data/mine",
        "data/anny",
        "--model=~/runs/a",
        "../b/c",
        "--steps",
        "4",
        "a b",
    ]
    assert command_line("x", words) == "x --dataset mine data/anny --model=a c --steps 4 'a b'"


def test_commands_are_written_in_no_other_way():
    joined = {name_of(path) for path in PYTHON if "shlex.join" in path.read_text(encoding="utf-8")}
    assert {name for name in joined if not name.startswith("tests/")} == {"mvfer/data/without_folders.py"}


@pytest.mark.slow
def test_nothing_that_is_planted_gets_out_on_the_way_from_scans_to_reports(planted, tmp_path, capsys):
    lines = ["file_name,subject,label,action_units,split"]
    for number, person in enumerate(PEOPLE):
        for label, units in (("happy", "6+12"), ("sad", "1+15")):
            write_scan(planted / person / f"{label}.obj", number / 10 + (label == "sad") / 3)
            split = ("train", "validation", "test")[number // 2]
            lines.append(f"{person}/{label}.obj,{person},{label},{units},{split}")
    (planted / "Klara Zimtstern" / "broken Klara.obj").write_text("v 0 0 x\n")
    lines.append("Klara Zimtstern/broken Klara.obj,Klara Zimtstern,happy,12,train")
    (planted / "metadata.csv").write_text("\n".join(lines))
    work = tmp_path / "work"
    out = build(planted, work / "set", "--geometry_only", "--mapping", str(tmp_path / "map.csv"))
    validate_main([str(out)])
    run, report = work / "run", work / "report"
    argv = ["--dataset", str(out), "--output_dir", str(run), "--steps", "2", "--batch_size", "4", "--num_workers", "0"]
    assert train.main([*argv, "--checkpoint_every", "1", "--eval_every", "1", "--log_every", "1"]) == 0
    home = planted.parent  # a run and a set may lie there, too
    shutil.copytree(run, home / "run", ignore=shutil.ignore_patterns("checkpoints"))
    shutil.copytree(out, home / "set")
    tested = ["--model", str(home / "run"), "--dataset", str(home / "set")]
    assert main(["evaluate", *tested, "--out", str(report)]) in (0, 1)
    assert main(["study", "verification", *tested, "--out", str(work / "study")]) == 0
    assert main(["render", str(planted / "Klara Zimtstern" / "happy.obj"), "--out", str(work / "views.png")]) == 0
    log = [
        "--audit_log",
        str(work / "audit.jsonl"),
        "--audit_user",
        "somebody",
        "--audit_key",
        str(tmp_path / "audit.key"),
    ]
    scans = sorted(map(str, planted.glob("*/*.obj")))
    main(["predict", *scans, "--model", str(run), "--labels", "happiness", "sadness", *log])
    capsys.readouterr()
    kinds = {path.suffix for path in work.rglob("*") if path.is_file()}
    assert kinds >= {".parquet", ".png", ".json", ".jsonl", ".md", ".html", ".safetensors", ".bin", ".pkl"}
    assert found_in(work) == []
    assert "Klara" in (tmp_path / "map.csv").read_text()  # what was asked for
