"""Recorded sets as their owners have them: their exact layouts, with what is odd in them, through the builders' command lines."""

import functools
import itertools
import shutil

import pytest

from dataset_scripts.validate import validate
from mvfer.data import schema
from mvfer.data.protocols import name_of, protocols_of
from mvfer.evaluation.protocols.protocol import evaluate_protocol
from processing.prompts_mvfer import EXPRESSIONS

from .layouts import (
    bu3dfe,
    rows_of,
    write_abs,
    write_bnt,
    write_glb,
    write_litter,
    write_picture,
    write_plain_obj,
    write_ply,
    write_textured_obj,
    write_wrl,
)

SEQUENCES, OCCURRENCES = "Sequences(2D+3D)", "AUCoding/AU_OCC"
PEOPLE = ("F001", "F002", "M001")
NUMBERS = itertools.count(1)


@functools.cache
def shift_of(*scan):
    """A number for each scan, far from all others: multiples of the golden ratio, without what stands before the point."""
    return 1.5 * (next(NUMBERS) * 0.618034 % 1)


def checked(out):
    """The rows of a build that `validate` finds nothing wrong with, but what a few made-up scans cannot have."""
    failures = [text for text in validate(out).failures if "only one class" not in text]
    assert not failures, failures
    return rows_of(out)


def bp4d(source, tasks=("T1",), people=PEOPLE, frames=4):
    for person in people:
        for task in tasks:
            for number in range(frames):
                path = source / SEQUENCES / person / task / f"{number:04d}.obj"
                write_textured_obj(path, shift_of(person, task) + number / 50)
    return source


def write_units(source, name, text):
    path = source / OCCURRENCES / f"{name}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


# ---- BP4D and BP4D+ ----


def test_bp4d_plus_has_its_own_name_tasks_and_citation_and_no_protocol_of_bp4d(build, tmp_path):
    tasks = [f"T{number}" for number in range(1, 11)]
    out = build("bp4d", bp4d(tmp_path / "BP4D+", tasks, frames=1), "--plus")
    rows, info = checked(out), schema.dataset_info(out)
    label = {row["id"].split("-")[1]: row["expression"] for row in rows}
    known = {1: "happiness", 2: "surprise", 3: "sadness", 7: "fear", 9: "anger", 10: "disgust"}
    for number in range(1, 11):
        assert label[f"T{number}"] == (EXPRESSIONS.index(known[number]) if number in known else -1)
    card = (out / "README.md").read_text()
    assert info["name"] == "mvfer-bp4d-plus" and "BP4D+" in info["citation"] and "BP4D+" in info["source"]
    assert "from BP4D+" in card and "BP4D-Spontaneous" not in card
    with pytest.raises(ValueError, match="bp4d-from-bu4dfe tests mvfer-bp4d, this is mvfer-bp4d-plus"):
        evaluate_protocol(None, None, out, "bp4d-from-bu4dfe")
    with pytest.raises(ValueError, match="no protocol tests 'mvfer-bp4d-plus'"):
        protocols_of(name_of(info))
    before = {"name": "mvfer-bp4d", "build": {"options": {"plus": True}}}
    assert name_of(before) == "mvfer-bp4d-plus" and name_of({"name": "mvfer-bp4d"}) == "mvfer-bp4d"


@pytest.mark.parametrize(("person", "task"), [("F024", "T1"), ("M019", "T1"), ("F001", "T9")])
def test_bp4d_plus_is_not_labelled_by_the_tasks_of_bp4d(build, tmp_path, capsys, person, task):
    source = bp4d(tmp_path / "BP4D", frames=1)
    write_plain_obj(source / SEQUENCES / person / task / "000.obj")
    build("bp4d", source, status=1)
    assert f"{person}/{task}: BP4D-Spontaneous has the people F001 to F023" in capsys.readouterr().err


def test_bp4ds_odd_cells_and_headers_cost_no_mesh_and_only_their_own_units(build, tmp_path, capsys):
    source = bp4d(tmp_path / "BP4D")
    write_units(
        source, "F001_T1", "Frame,AU6,,AU 12,note\n" + "".join(f"{n},1,,{'x' if n else 1},ok\n" for n in range(4))
    )
    write_units(source, "F002_T1", "0,6.0,12.0\n0,1.0,1.0\n?,1,1\n1,,9\n")
    write_units(source, "M001_T1", "no,units,here\n1,2,3\n")
    rows = checked(build("bp4d", source, "--window_frames", 4))
    told = capsys.readouterr().err
    units = sorted(tuple(schema.as_dict(row["action_units"])) for row in rows)
    assert len(rows) == 3 and units == [(), ("6", "12"), ("6", "12")]
    assert "M001_T1.csv: no numbers of action units in its first row; its task has no captions" in told
    assert "5 cells of units are none of 0, 1 and 9, so unknown" in told
    assert schema.read_rejected_file(tmp_path / "out") == []


def test_bp4ds_folders_without_meshes_are_one_line_in_all(build, tmp_path, capsys):
    source = bp4d(tmp_path / "BP4D", ["T1", "T2"], frames=1)
    for person in PEOPLE:
        for number in range(1, 9):
            for other, name in (("Physiology", "BP_mmHg.txt"), ("3DFeatures/BND", "0001.bnd")):
                path = source / other / person / f"T{number}" / name
                path.parent.mkdir(parents=True)
                path.write_text("1\n")
    (source / SEQUENCES / "F001" / "T3").mkdir()
    out = build("bp4d", source)
    lines = [line for line in capsys.readouterr().err.splitlines() if "left aside" in line]
    assert lines == ["folders of tasks without meshes, left aside: 3DFeatures/BND (24), Physiology (24)"]
    assert len(checked(out)) == 6
    assert [line["reason"] for line in schema.read_rejected_file(out)] == ["no numbered .obj files in it"]


# ---- 4DME ----

HEAD = "sub_ID,fold_name,Emotion,Onset,Apex,Offset,AUs\n"
MICRO = "4DME_Labelling_Micro_release v1.csv"


def fourdme(source, first=1, count=4, onset=2466, lines=None):
    for person in ("1", "2", "3"):
        for number in range(first, first + count):
            write_plain_obj(source / person / "1_2" / f"{number}.obj", shift_of(person) + number % 100 / 50)
    lines = lines or [f"{person},1_2,Surprise,{onset},{onset + 1},{onset + 3},AU4(k)+L7\n" for person in "123"]
    (source / MICRO).write_text(HEAD + "".join(lines))
    return source


def test_4dmes_units_that_are_there_all_the_time_are_kept_apart(build, tmp_path):
    lines = ["1,1_2,Surprise,1,2,4,1+2(k)\n", "2,1_2,Others,1,2,4,AU4(k)\n", "3,1_2,Negative,1,2,4,12.0\n"]
    out = build("fourdme", fourdme(tmp_path / "4DME", lines=lines))
    rows = {row["task"]: row for row in checked(out)}
    assert [rows[task]["static_units"] for task in ("Surprise", "Others", "Negative")] == [["2"], ["4"], []]
    assert schema.as_dict(rows["Surprise"]["action_units"]) == {"1": 1.0}
    assert schema.as_dict(rows["Negative"]["action_units"]) == {"12": 1.0}
    assert rows["Others"]["captions"] == [] and rows["Others"]["caption_source"] == "none"  # no relaxed face
    assert "`static_units` are action units that the face\nshows all the time" in (out / "README.md").read_text()


@pytest.mark.parametrize(("first", "count"), [(2466, 4), (2460, 20), (1, 4), (0, 4), (1, 3)])
def test_4dmes_clips_may_count_from_one_or_through_the_recording(build, tmp_path, capsys, first, count):
    out = build("fourdme", fourdme(tmp_path / "4DME", first, count), "--num_frames", 0)
    rows = checked(out)
    assert len(rows) == 3 and schema.read_rejected_file(out) == []
    assert {len(row["frame_times_s"]) for row in rows} == {min(count, 4)}
    assert [row["apex_time_s"] for row in rows] == pytest.approx([1 / 60] * 3)
    assert ("3 clips count their frames anew" in capsys.readouterr().err) == (first < 2)


def test_a_clip_of_4dme_that_is_longer_than_annotated_is_not_guessed_at(build, tmp_path, capsys):
    build("fourdme", fourdme(tmp_path / "4DME", 1, 30), status=1)
    told = capsys.readouterr().err
    assert "its frames count from 1 to 30, the table from 2466 to 2469: which frame is the onset is unknown" in told


def test_of_4dmes_tables_the_one_of_micro_expressions_is_meant_and_told(build, tmp_path, capsys):
    source = fourdme(tmp_path / "4DME")
    (source / "4DME_Labelling_Macro_release v1.csv").write_text(HEAD + "1,1_2,Positive,1,2,4,12\n")
    (source / "eyeblink_final.csv").write_text(
        "sub_ID',video_number',Emotion,Onset,Apex,Offset,AUs\n1,2,Others,1,2,3,4\n"
    )
    (source / f"~${MICRO}").write_text("locked")
    assert len(checked(build("fourdme", source))) == 3
    assert f"annotations: {source / MICRO}" in capsys.readouterr().err
    for name, reason in (
        ("4DME_Labelling_Macro_release v1.csv", "macro-expressions"),
        ("eyeblink_final.csv", "fold_name"),
    ):
        build("fourdme", source, "--annotations", source / name, status=1, out="other")
        told = capsys.readouterr().err
        assert reason in told and "the table of micro-expressions is '4DME_Labelling_Micro_release v1.xlsx'" in told
    shutil.copy(source / MICRO, source / "copy.csv")
    build("fourdme", source, status=1, out="other")
    assert "2 tables of annotations here; name one with --annotations" in capsys.readouterr().err


def test_sets_of_before_static_units_still_open(build, tmp_path):
    import pyarrow.parquet as pq

    out = build("fourdme", fourdme(tmp_path / "4DME"))
    for path in out.glob("*.parquet"):
        pq.write_table(pq.read_table(path).drop_columns(["static_units"]), path)
    assert [row["static_units"] for row in checked(out)] == [None] * 3


# ---- BU-3DFE ----


@pytest.mark.parametrize("kind", ["F3D", "RAW"])
def test_bu3dfe_is_coloured_by_its_atlas_and_never_by_its_photo(build, tmp_path, kind):
    source = tmp_path / "BU_3DFE"
    for person in ("F0001", "F0002", "M0001"):
        stem = source / person / f"{person}_HA01WH"
        for made in ("F3D", "RAW"):
            write_wrl(stem.with_name(f"{stem.name}_{made}.wrl"), shift_of(person, made))
        write_picture(stem.with_name(f"{stem.name}_F2D.bmp"))
    out = build("bu3dfe", source, "--scans", kind)
    assert schema.dataset_info(out)["channels"] == ["clay", "curvature", "depth"]  # no atlas, so no colours
    for scan in source.rglob("*_F3D.wrl"):
        write_picture(scan.with_suffix(".bmp"))
        scan.with_suffix(".bmp").rename(scan.with_suffix(".BMP"))
    out = build("bu3dfe", source, "--scans", kind, out="coloured")
    assert schema.dataset_info(out)["channels"] == ["red", "green", "blue"]
    for row in checked(out):
        view = schema.view_arrays(row)[0, 1].astype(int)  # the atlas is red on the left
        assert view[12, 7, 0] > 200 > 50 > view[12, 7, 2]


# ---- Bosphorus ----


def bosphorus(source, names=("N_N_0", "E_HAPPY_0", "LFAU_12_0")):
    for person in ("bs000", "bs001", "bs002", "bs010"):
        for name in names:
            write_bnt(source / "BosphorusDB" / person / f"{person}_{name}.bnt", shift_of(person, name))
    return source


@pytest.mark.parametrize("text", ["bs001,bs010", "BS001; bs10 (no consent)\r\n", "\ufeffbs_001\tbs 010, bs099"])
@pytest.mark.parametrize(
    "place", ["unallowed_subjects.txt", "__others__/Unallowed_Subjects.txt", "../unallowed_subjects.txt"]
)
def test_bosphorus_people_who_may_not_be_used_are_found_however_they_are_listed(build, tmp_path, capsys, text, place):
    source = bosphorus(tmp_path / "Bosphorus" / "scans")
    (source / place).parent.mkdir(exist_ok=True)
    (source / place).write_text(text, encoding="utf-16" if text[0] == "\ufeff" else "utf-8")
    (source / "BosphorusDB" / "bs011").mkdir()
    write_bnt(source / "BosphorusDB" / "bs011" / "bs011_N_N_0.bnt", 0.7)
    rows = checked(build("bosphorus", source, "--geometry_only"))
    assert len({row["subject"] for row in rows}) == 3
    told = capsys.readouterr().err
    assert "2 of 5 people are left out" in told and ("1 more names in it are of nobody here" in told) == ("099" in text)


def test_a_list_that_matches_nobody_ends_the_build(build, tmp_path, capsys):
    source = bosphorus(tmp_path / "Bosphorus")
    (source / "unallowed_subjects.txt").write_text("subjects 1, 10\n")
    build("bosphorus", source, status=1)
    assert (
        "unallowed_subjects.txt: lists nobody of this set; write the set's own names, such as bs000"
        in capsys.readouterr().err
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("place", ["facscodes/facscodes.lst", "../facscodes/facscodes.lst"])
def test_bosphorus_units_are_those_its_coders_saw_where_their_file_lies_there(build, tmp_path, capsys, place):
    source = bosphorus(tmp_path / "all" / "Bosphorus")
    path = source / place
    path.parent.mkdir()
    lines = ["Bosphorus FACS codes", "name -> AUs", "bs000_N_N_0   ->  0", "bs000_E_HAPPY_0 ->  6B+12D+L25A"]
    path.write_text("\n".join([*lines, "bs000_LFAU_12_0.bnt -> 12E", "bs001_E_HAPPY_0 -> none of them", ""]))
    out = build("bosphorus", source, "--geometry_only", "--mapping", tmp_path / "map.csv", "--captions_per_row", 1)
    names = dict(line.split(",")[:2] for line in (tmp_path / "map.csv").read_text().splitlines())
    rows = {(names[row["id"]], row["id"].split("-", 1)[1]): row for row in checked(out)}
    units = {key: schema.as_dict(row["action_units"]) for key, row in rows.items()}
    assert units["bs000", "E-HAPPY-0"] == pytest.approx({"6": 0.4, "12": 0.8, "25L": 0.2})
    assert rows["bs000", "E-HAPPY-0"]["captions"] and rows["bs000", "N-N-0"]["captions"]
    assert units["bs000", "N-N-0"] == {} and units["bs000", "LFAU-12-0"] == {"12": 1.0}
    assert units["bs001", "LFAU-12-0"] == {"12": 1.0} and rows["bs001", "E-HAPPY-0"]["captions"] == []
    assert "action units of 3 scans as coded; 1 more could not be read" in capsys.readouterr().err


# ---- everywhere ----


def build_of(name, folder):
    """A small source of each builder, for what all of them must stand."""
    for number, person in enumerate(("1", "2", "3")):
        shift = number / 7
        if name == "bp4d":
            bp4d(folder, people=[PEOPLE[number]], frames=2)
        elif name == "bu4dfe":
            write_wrl(folder / PEOPLE[number] / "Happy" / "000.wrl", shift)
            write_wrl(folder / PEOPLE[number] / "Happy" / "001.wrl", shift + 0.1)
        elif name == "coma":
            write_ply(folder / f"FaceTalk_{person}_TA" / "eyebrow" / "eyebrow.000001.ply", shift)
        elif name == "facescape":
            write_textured_obj(folder / person / "models_reg" / "2_smile.obj", shift)
        elif name == "folder":
            write_textured_obj(folder / "happy" / f"{person}.obj", shift)
    if name == "bu3dfe":
        bu3dfe(folder, levels=(1,))
    if name == "fourdme":
        fourdme(folder)
    if name == "bosphorus":
        bosphorus(folder)
    return folder


BUILDERS = ("bp4d", "bu3dfe", "bu4dfe", "bosphorus", "coma", "facescape", "fourdme", "folder")


@pytest.mark.parametrize("name", BUILDERS)
def test_what_macos_leaves_behind_changes_no_byte_and_archives_are_told(build, tmp_path, capsys, name):
    clean = build(name, build_of(name, tmp_path / "source"), out="clean")
    write_litter(tmp_path / "source")
    (tmp_path / "source" / "more.zip").write_bytes(b"PK")
    (tmp_path / "source" / "done.tar.gz").write_bytes(b"")
    (tmp_path / "source" / "done").mkdir()
    capsys.readouterr()
    littered = build(name, tmp_path / "source", out="littered")
    assert "1 archives are not unpacked, so they are not read: more.zip" in capsys.readouterr().err
    for path in clean.iterdir():
        assert path.read_bytes() == (littered / path.name).read_bytes(), path.name
    checked(littered)


def test_a_source_of_nothing_but_archives_says_so(build, tmp_path, capsys):
    (tmp_path / "BU_4DFE").mkdir()
    (tmp_path / "BU_4DFE" / "F001.zip").write_bytes(b"PK")
    build("bu4dfe", tmp_path / "BU_4DFE", status=1)
    assert "no scans found" in (told := capsys.readouterr().err) and "not read: F001.zip" in told.splitlines()[-1]


@pytest.mark.parametrize("name", ["bp4d", "bu3dfe", "bu4dfe", "bosphorus", "coma", "facescape"])
def test_a_set_that_was_unpacked_twice_is_built_from_one_copy_and_both_are_named(build, tmp_path, capsys, name):
    build_of(name, tmp_path / "source" / "set")
    rows = rows_of(build(name, tmp_path / "source", out="once"))
    shutil.copytree(tmp_path / "source" / "set", tmp_path / "source" / "again" / "set")
    if name in ("bp4d", "bu4dfe"):  # the copy was not finished
        min((tmp_path / "source" / "again").rglob("*.obj" if name == "bp4d" else "*.wrl")).unlink()
    capsys.readouterr()
    twice = checked(build(name, tmp_path / "source", out="twice"))
    assert sorted(row["id"] for row in twice) == sorted(row["id"] for row in rows)
    told, source = capsys.readouterr().err, tmp_path / "source"
    assert "scans lie here twice: " in told and str(source / "again") in told and f"{source} is" in told
    if name in ("bp4d", "bu4dfe"):
        assert {len(row["frame_times_s"]) for row in twice} == {2}


# ---- own folders ----


@pytest.mark.parametrize("below", ["FRGC-2.0-dist/nd1/Fall2003range", "nd1/Fall2003range", "Fall2003range", "."])
def test_frgc_may_be_given_by_any_folder_above_its_range_images(build, tmp_path, capsys, below):
    source = tmp_path / "source"
    for number, person in enumerate(("04201", "04202", "04203")):
        for scan in (302, 304):
            write_abs(source / below / f"{person}d{scan}.abs.gz", number / 5 + scan / 1000)
            (source / below / f"{person}d{scan + 1}.ppm").write_bytes(b"P6")
    write_picture(source / "nd1" / "Fall2003" / "04201d301.jpg")
    out = build("folder", source)
    rows = checked(out)
    assert len(rows) == 6 and len({row["subject"] for row in rows}) == 3
    assert all(row["expression"] == -1 and row["task"] is None for row in rows)
    assert schema.read_rejected_file(out) == [] and not any("0420" in row["id"] for row in rows)
    assert "left aside: 1" in capsys.readouterr().err


def test_a_folder_of_glbs_needs_no_labels(build, tmp_path):
    for number, person in enumerate(("anna", "ben", "cleo")):
        write_glb(tmp_path / "source" / f"{person}_{number}.glb", number / 5)
    apart = checked(build("folder", tmp_path / "source"))
    assert len(apart) == len({row["subject"] for row in apart}) == 3
    assert not any(name in row["id"] for row in apart for name in ("anna", "ben", "cleo"))
    write_glb(tmp_path / "source" / "anna_9.glb", 0.9)
    known = checked(build("folder", tmp_path / "source", "--subject_pattern", "^([a-z]+)_", out="known"))
    assert len(known) == 4 and len({row["subject"] for row in known}) == 3
