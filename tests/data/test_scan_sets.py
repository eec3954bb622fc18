"""Recorded sets: every layout is read, people go by pseudonyms, and the same command gives the same bytes."""

import json

import pytest

from dataset_scripts.merge import main as merge_main
from dataset_scripts.recorded import scan_sets
from dataset_scripts.recorded.facs import describable, parse_units, split_units
from dataset_scripts.validate import validate
from mvfer.data import schema
from mvfer.data.protocols import PROTOCOLS, Protocol, folds, keeps
from mvfer.data.pseudonyms import Pseudonyms
from processing.meshes_mvfer import load_mesh
from processing.prompts_mvfer import EXPRESSIONS

from .conftest import killed_in_the_third_shard
from .layouts import (
    bu3dfe,
    rows_of,
    write_bnt,
    write_picture,
    write_plain_obj,
    write_ply,
    write_textured_obj,
    write_wrl,
)


def test_bu3dfe_is_read_and_a_bad_file_is_rejected_with_its_reason(build, tmp_path, capsys):
    source = bu3dfe(tmp_path / "BU_3DFE")
    (source / "F0001" / "F0001_SU01WH_F3D.wrl").write_text("<html>not here</html>")
    write_wrl(source / "F0001" / "F0001_XX01WH_F3D.wrl")
    write_wrl(source / "F0001" / "F0001_HA01WH_RAW.wrl")
    out = build("bu3dfe", source, "--mapping", tmp_path / "map.csv")
    rows, info = rows_of(out), schema.dataset_info(out)
    assert len(rows) == 4 * 5 and info["channels"] == ["red", "green", "blue"]
    assert {EXPRESSIONS[row["expression"]] for row in rows} == {"neutral", "anger", "happiness"}
    assert {row["intensity"] for row in rows} == {0.0, 0.25, 1.0}
    assert all(row["captions"] == [] and row["caption_source"] == "none" and row["sex"] is None for row in rows)
    rejected = schema.read_rejected_file(out)
    assert len(rejected) == info["rejected"] == 2
    assert any("web page" in line["reason"] for line in rejected) and any("XX01" in line["reason"] for line in rejected)
    assert "F0001_SU01WH_F3D.wrl" in (tmp_path / "map.csv").read_text()
    view = schema.view_arrays(rows[0])[0, 1].astype(int)  # the texture is red on the left
    assert view[12, 7, 0] > 200 > 50 > view[12, 7, 2] and view[12, 16, 2] > 200


def test_labels_become_texts_and_people_are_described_only_on_request(build, tmp_path):
    source = bu3dfe(tmp_path / "BU_3DFE")
    rows = rows_of(build("bu3dfe", source, "--label_prompts", "--keep_demographics", "--geometry_only"))
    happy = next(row for row in rows if row["expression"] == EXPRESSIONS.index("happiness"))
    assert happy["caption_source"] == "label_prompts" and "happy" in " ".join(happy["captions"])
    assert {row["sex"] for row in rows} == {"female", "male"} and happy["ancestry"] == "white"
    assert schema.dataset_info(tmp_path / "out")["channels"] == ["clay", "curvature", "depth"]


def test_processes_parts_and_a_killed_build_give_the_same_bytes(build, tmp_path, monkeypatch):
    monkeypatch.setattr(scan_sets, "FRAMES_PER_SHARD", 5)
    source = bu3dfe(tmp_path / "BU_3DFE")
    whole = build("bu3dfe", source, out="whole")
    for index in range(3):
        build("bu3dfe", source, "--part", f"{index}-of-3", out=f"part{index}")
    assert merge_main([str(tmp_path / "part0"), str(tmp_path / "part1"), "--out", str(tmp_path / "less")]) == 1
    parts = [str(tmp_path / f"part{index}") for index in range(3)]
    assert merge_main([*parts, "--out", str(tmp_path / "merged")]) == 0
    with killed_in_the_third_shard():
        build("bu3dfe", source, out="killed")
    assert len(list((tmp_path / "killed").glob("*.parquet"))) == 2
    build("bu3dfe", source, out="killed")
    contents = [{p.name: p.read_bytes() for p in folder.iterdir()} for folder in (whole, tmp_path / "merged")]
    contents.append({p.name: p.read_bytes() for p in (tmp_path / "killed").iterdir()})
    assert contents[0] == contents[1] == contents[2] and len(contents[0]) == 4 + 3


@pytest.mark.slow
def test_two_processes_give_the_bytes_of_one(build, tmp_path, monkeypatch):
    monkeypatch.setattr(scan_sets, "FRAMES_PER_SHARD", 5)
    source = bu3dfe(tmp_path / "BU_3DFE")
    one, two = build("bu3dfe", source, out="one"), build("bu3dfe", source, "--num_proc", 2, out="two")
    assert {p.name: p.read_bytes() for p in one.iterdir()} == {p.name: p.read_bytes() for p in two.iterdir()}


def test_unallowed_people_are_never_rendered(build, tmp_path):
    source = bu3dfe(tmp_path / "BU_3DFE")
    (source / "unallowed_subjects.txt").write_text("F0001\n")
    rows = rows_of(build("bu3dfe", source))
    assert len({row["subject"] for row in rows}) == 3
    assert Pseudonyms.from_file(tmp_path / "key")("F0001") not in {row["subject"] for row in rows}


def test_another_key_gives_other_names_and_refuses_the_folder(build, tmp_path, capsys):
    source = bu3dfe(tmp_path / "BU_3DFE")
    build("bu3dfe", source)
    (tmp_path / "key").write_bytes(b"another key of enough bytes")
    build("bu3dfe", source, status=1)
    assert "holds a build with another build" in capsys.readouterr().err


def test_a_mapping_inside_the_data_set_is_refused(build, tmp_path, capsys):
    build("bu3dfe", bu3dfe(tmp_path / "BU_3DFE"), "--mapping", tmp_path / "out" / "map.csv", status=1)
    assert "would lie in the data set" in capsys.readouterr().err


def test_an_empty_source_is_told_what_was_expected(build, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    build("bu4dfe", tmp_path / "empty", status=1)
    assert "F001/Angry with files 000.wrl" in capsys.readouterr().err


def test_bu4dfe_sequences_are_sampled_in_time_and_share_the_first_frames_frame(build, tmp_path):
    source = tmp_path / "BU_4DFE"
    for person in ("F001", "M001", "M043"):
        for number in (*range(6), 8):  # frames 6 and 7 were dropped
            write_wrl(source / person / "Happy" / f"{number:03d}.wrl", number / 10)
            write_picture(source / person / "Happy" / f"{number:03d}.jpg")
    (source / "F001" / "Sad").mkdir()
    rows = rows_of(build("bu4dfe", source, "--num_frames", 4))
    assert len(rows) == 3 and schema.view_arrays(rows[0]).shape == (4, 3, 24, 24, 3)
    assert rows[0]["frame_times_s"] == pytest.approx([0, 0.12, 0.2, 0.32])
    assert "no numbered .wrl" in schema.read_rejected_file(tmp_path / "out")[0]["reason"]


def test_bp4d_windows_carry_the_units_of_their_frames(build, tmp_path):
    source = tmp_path / "BP4D"
    for person in ("F001", "F002", "M001"):
        for number in range(1, 9):
            write_textured_obj(source / "Sequences(2D+3D)" / person / "T1" / f"{number:04d}.obj", number / 20)
    table = source / "AUCoding" / "AU_OCC" / "F001_T1.csv"
    table.parent.mkdir(parents=True)
    table.write_text("0,6,12,1\n" + "".join(f"{n},{int(n > 2)},1,9\n" for n in range(1, 5)))
    rows = rows_of(build("bp4d", source, "--window_frames", 4, "--captions_per_row", 1))
    assert len(rows) == 6
    coded = [row for row in rows if row["captions"]]
    assert len(coded) == 1 and schema.as_dict(coded[0]["action_units"]) == {"6": 1.0, "12": 1.0}
    assert coded[0]["captions"] == ["cheeks raised, lip corners pulled up"] and coded[0]["caption_source"] == "captions"
    rows = rows_of(build("bp4d", source, "--window_frames", 4, "--plus", out="plus"))  # frame 1 of the table is mesh 0
    assert schema.as_dict(next(row for row in rows if row["captions"])["action_units"]) == {"6": 1.0, "12": 1.0}


def test_bosphorus_kinds_units_and_poses(build, tmp_path):
    source = tmp_path / "Bosphorus"
    names = (
        "N_N_0",
        "E_HAPPY_0",
        "LFAU_12L_0",
        "LFAU_12LW_0",
        "CAU_A12A25_0",
        "O_EYE_0",
        "YR_R10_0",
        "IGN_0",
        "E_JOY_0",
    )
    for person in ("bs000", "bs001", "bs002"):
        for number, name in enumerate(names):
            write_bnt(source / person / f"{person}_{name}.bnt", number / 10)
            write_picture(source / person / f"{person}_{name}.png")
    out = build("bosphorus", source, "--kinds", "N", "E", "LFAU", "CAU", "O", "YR", "--geometry_only")
    rows = {row["id"].split("-", 1)[1]: row for row in rows_of(out)}
    assert sorted(rows) == sorted(n.replace("_", "-") for n in names if n not in ("IGN_0", "E_JOY_0"))
    assert rows["E-HAPPY-0"]["expression"] == EXPRESSIONS.index("happiness") and rows["E-HAPPY-0"]["captions"] == []
    assert schema.as_dict(rows["LFAU-12L-0"]["action_units"]) == {"12L": 1.0}
    assert schema.as_dict(rows["LFAU-12LW-0"]["action_units"]) == {"12": 0.5}
    assert rows["O-EYE-0"]["occlusion"] == "eye" and rows["YR-R10-0"]["pose"] == "YR R10"
    assert sum("JOY" in line["reason"] for line in schema.read_rejected_file(out)) == 3


def test_facescape_and_coma(build, tmp_path):
    for person in ("1", "2", "3"):
        for number, name in enumerate(("1_neutral", "2_smile", "4_anger", "99_wink")):
            write_textured_obj(tmp_path / "FaceScape" / person / "models_reg" / f"{name}.obj", number / 10)
    rows = rows_of(build("facescape", tmp_path / "FaceScape", "--captions_per_row", 1))
    assert len(rows) == 9 and {tuple(row["captions"]) for row in rows} >= {("lip corners pulled up",), ()}
    for person in ("FaceTalk_170725_00137_TA", "FaceTalk_170731_00024_TA", "FaceTalk_170809_00138_TA"):
        for number in range(1, 4):
            write_ply(tmp_path / "CoMA" / person / "eyebrow" / f"eyebrow.{number:06d}.ply", number / 10)
            write_ply(tmp_path / "CoMA" / person / "sentence01" / f"sentence01.{number:06d}.ply", number / 10)
    rows = rows_of(build("coma", tmp_path / "CoMA", out="coma"))
    assert len(rows) == 6 and {row["task"] for row in rows} == {"eyebrow", "sentence01"}
    assert all(bool(row["captions"]) == (row["task"] == "eyebrow") for row in rows)


@pytest.mark.parametrize("kind", ["csv", "xlsx"])
def test_fourdme_takes_the_frames_from_onset_to_offset(build, tmp_path, kind):
    if kind == "xlsx":
        openpyxl = pytest.importorskip("openpyxl")
    head = ["sub_ID", "fold_name", "Emotion", "Onset", "Apex", "Offset", "AUs"]
    lines = [[p, "1_2", "Surprise" if p == "1" else "Negative+Repression", 3, 4, 6, "1+2(k)"] for p in ("1", "2", "3")]
    lines.append(["4", "gone", "Others", 1, 2, 3, ""])
    for person in ("1", "2", "3"):
        for number in range(1, 9):
            write_plain_obj(tmp_path / "4DME" / person / "1_2" / f"{number}.obj", number / 10)
    if kind == "csv":
        text = "\n".join(",".join(map(str, line)) for line in [head, *lines])
        (tmp_path / "4DME" / "table.csv").write_text(text)
    else:
        book = openpyxl.Workbook()
        for line in [head, *lines]:
            book.active.append(line)
        book.save(tmp_path / "4DME" / "table.xlsx")
    out = build("fourdme", tmp_path / "4DME")
    rows = rows_of(out)
    assert len(rows) == 3 and schema.as_dict(rows[0]["action_units"]) == {"1": 1.0}
    assert all(row["static_units"] == ["2"] for row in rows)
    assert all(row["captions"] and not any("outer" in text for text in row["captions"]) for row in rows)
    assert {row["task"] for row in rows} == {"Surprise", "Negative+Repression"} and len(rows[0]["frame_times_s"]) == 4
    assert rows[0]["apex_time_s"] == pytest.approx(1 / 60)  # one frame after the onset
    assert "not there" in schema.read_rejected_file(out)[0]["reason"]


def test_a_plain_folder_of_labels_and_one_with_splits(build, tmp_path):
    for number, label in enumerate(("happy", "sad", "happy", "wink")):
        write_plain_obj(tmp_path / "plain" / label / f"p{number}_x.obj", number / 10)
    out = build("folder", tmp_path / "plain", "--subject_pattern", "(p\\d)_", "--task_labels", "wink")
    assert sorted(EXPRESSIONS[r["expression"]] if r["expression"] >= 0 else r["task"] for r in rows_of(out)) == [
        "happiness", "happiness", "sadness", "wink"
    ]  # fmt: skip
    for split in ("train", "val", "test"):
        write_plain_obj(tmp_path / "split" / split / "happy" / f"{split}.obj", 0.1)
    splits = schema.load_splits(build("folder", tmp_path / "split", out="split_out"))
    assert {name: len(split) for name, split in splits.items()} == {"train": 1, "validation": 1, "test": 1}


def test_photos_of_one_moment_are_views_and_no_mesh_is_needed(build, tmp_path, capsys):
    for person in ("anna", "ben", "cleo"):
        for moment in ("happy_1", "neutral_1"):
            for camera in range(2):
                write_picture(tmp_path / "photos" / person / moment / f"cam{camera}.jpg", 40)
    build("folder", tmp_path / "photos", status=1)
    assert "--cameras cam0=YAW" in capsys.readouterr().err
    rows = rows_of(build("folder", tmp_path / "photos", "--cameras", "cam0=-20", "cam1=25,5"))
    assert len(rows) == 6 and rows[0]["view_angles_deg"] == [[-20.0, 0.0], [25.0, 5.0]]
    assert schema.view_arrays(rows[0]).shape == (1, 2, 24, 24, 3)
    assert {EXPRESSIONS[row["expression"]] for row in rows} == {"happiness", "neutral"}


def test_a_table_names_files_people_texts_and_splits(build, tmp_path):
    lines = []
    for number, split in enumerate(("train", "validation", "test")):
        write_plain_obj(tmp_path / "own" / "scans" / f"{number}.obj", number / 10)
        line = {"file_name": f"scans/{number}.obj", "subject": f"anna{number}", "label": "joy", "action_units": "6+12"}
        lines.append(line | {"split": split, "caption": "" if number else "a toothy grin"})
    lines.append({"file_name": "../escape.obj", "subject": "x"})
    (tmp_path / "own" / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    out = build("folder", tmp_path / "own", "--captions_per_row", 1)
    rows = rows_of(out)
    assert [row["captions"] for row in rows] == [["a toothy grin"]] + [["cheeks raised, lip corners pulled up"]] * 2
    assert all(row["expression"] == EXPRESSIONS.index("happiness") for row in rows)
    assert "inside the folder" in schema.read_rejected_file(out)[0]["reason"]


def test_a_scan_that_lies_in_two_peoples_folders_is_found_by_its_shape(build, tmp_path):
    source = bu3dfe(tmp_path / "BU_3DFE")
    twin = load_mesh(source / "F0001" / "F0001_AN01WH_F3D.wrl")
    for person in ("F0002", "M0001", "M0044"):  # another file, unit and place
        path = source / person / f"{person}_SU01WH_F3D.wrl"
        points = ", ".join("{:.5f} {:.5f} {:.5f}".format(*point) for point in twin.vertices * 25.4 + 100)
        faces = " ".join("{} {} {} -1".format(*face) for face in twin.faces)
        shape = f"coord Coordinate {{ point [ {points} ] }} coordIndex [ {faces} ]"
        path.write_text(f"#VRML V2.0 utf8\nShape {{ geometry IndexedFaceSet {{ {shape} }} }}\n")
    failures = "\n".join(validate(build("bu3dfe", source, "--geometry_only", "--label_prompts")).failures)
    assert "if under other names" in failures and "surprise-1" in failures


def test_units_are_read_as_the_sets_write_them():
    assert parse_units("4+7(k)") == {"4": 1.0} and parse_units("4+7(or 6)") == {"4": 1.0, "7": 1.0}
    assert split_units("AUR2+12(k)+45") == ({"2R": 1.0, "45": 1.0}, ["12"])
    assert split_units("AU4 (K)+L7(k") == ({}, ["4", "7L"])
    assert parse_units("12.0") == {"12": 1.0} and parse_units("1.0+25.0") == {"1": 1.0, "25": 1.0}
    assert parse_units("6C+L12E+25A") == {"6": 0.6, "12L": 1.0, "25": 0.2} and parse_units("0") == {}
    assert parse_units("A12A25") == {"12": 1.0, "25": 1.0}
    assert parse_units("12LW") == {"12": 0.5} and parse_units("12L") == parse_units("L12") == {"12L": 1.0}
    assert parse_units("43") == {"45": 1.0} and parse_units("") == {}
    assert describable({"12L": 1.0, "1L": 1.0, "11": 1.0}) == {"12L": 1.0, "1": 1.0}
    with pytest.raises(ValueError, match="expected action units"):
        parse_units("smile")


def test_folds_of_a_protocol_never_share_people_and_test_everybody_once():
    six = [EXPRESSIONS.index(name) for name in PROTOCOLS["bu3dfe-subset1"].expressions]
    rows = [{"subject": f"s{i}", "expression": e, "intensity": 1.0} for i in range(70) for e in six]
    rows += [{"subject": "lazy", "expression": six[0], "intensity": 1.0}]
    made = folds(PROTOCOLS["bu3dfe-subset1"], rows, seed=1)
    tested = [subject for fold in made for subject in fold["test"]]
    assert len(made) == 10 and len(tested) == len(set(tested)) == 60 and "lazy" not in tested
    assert all(not set(fold["test"]) & {*fold["train"], *fold["validation"]} for fold in made)
    assert (
        made
        == folds(PROTOCOLS["bu3dfe-subset1"], rows[::-1], seed=1)
        != folds(PROTOCOLS["bu3dfe-subset1"], rows, seed=2)
    )
    with pytest.raises(ValueError, match="needs 60 subjects"):
        folds(PROTOCOLS["bu3dfe-subset1"], rows[: 6 * 59])


def test_rows_of_other_expressions_and_weaker_ones_are_no_part_of_a_protocol():
    protocol = Protocol(
        "mvfer-bu3dfe", 4, "a test", "four folds", expressions=("anger", "happiness"), min_intensity=0.75
    )
    anger, fear = EXPRESSIONS.index("anger"), EXPRESSIONS.index("fear")
    rows = [(anger, 0.75), (anger, 0.5), (anger, None), (fear, 1.0), (-1, 1.0)]
    kept = [keeps(protocol, {"expression": expression, "intensity": intensity}) for expression, intensity in rows]
    assert kept == [True, False, True, False, False]
    people = [{"subject": f"s{i % 8}", "expression": e, "intensity": x} for i, (e, x) in enumerate(8 * rows)]
    assert [len(fold["test"]) for fold in folds(protocol, people)] == [2, 2, 2, 2]
