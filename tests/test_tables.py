# ruff: noqa: F811  (fixtures are imported, then named as arguments)
"""Tables of whole folders: `mvfer predict --out`, `embed`, `search` and `plot`, as people run them, stop them and open them."""

import csv
import errno
import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from modeling_mvfer import MVFERModel
from mvfer.cli.main import main
from mvfer.cli.scan_batches import ItemReader
from mvfer.hub.run_folder import save_run
from mvfer.reports.tables import read_table, write_table
from tests.tiny import face_obj, small_model, small_processor, small_run, write_obj  # noqa: F401

pd = pytest.importorskip("pandas")
LABELS = ["happiness", "sadness", "surprise"]


@pytest.fixture
def scans(face_obj, tmp_path) -> Path:
    """Six scans of two people, one of which cannot be read."""
    vertices = np.loadtxt([line[2:] for line in open(face_obj) if line.startswith("v ")])
    faces = np.loadtxt([line[2:] for line in open(face_obj) if line.startswith("f ")], dtype=int) - 1
    folder = tmp_path / "scans"
    for number, name in enumerate(("F1_2", "F1_10", "F1_1", "F2_1", "F2_2")):
        (folder / name[:2]).mkdir(parents=True, exist_ok=True)
        write_obj(folder / name[:2] / f"{name}.obj", vertices * [1, 1 + 0.02 * number, 1], faces)
    (folder / "F2" / "F2_3.obj").write_text("v 0 0 0\n")
    return folder


def predict(scans, run, out, *options) -> int:
    return main(
        ["predict", str(scans), "--model", str(run), "--labels", *LABELS, "--out", str(out), *map(str, options)]
    )


def reads(monkeypatch, *, stop_at: int | None = None, stop=None) -> list[str]:
    """The names of what is read from now on; at the so manieth, `stop` is called."""
    original, names = ItemReader.__call__, []

    def read(self, item):
        names.append(Path(item.name).stem)
        if len(names) == stop_at:
            stop()
        return original(self, item)

    monkeypatch.setattr(ItemReader, "__call__", read)
    return names


def test_a_table_says_what_the_printed_rows_say(scans, small_run, tmp_path, capsys):
    assert predict(scans, small_run, tmp_path / "faces.csv", "--subject_pattern", r"F\d") == 1
    assert "6 rows, 1 of them errors" in capsys.readouterr().err
    table = pd.read_csv(tmp_path / "faces.csv")
    assert [Path(name).stem for name in table["file"]] == ["F1_1", "F1_2", "F1_10", "F2_1", "F2_2", "F2_3"]
    assert list(table.columns[:4]) == ["file", "subject", "frame", "time_s"]
    assert list(table.columns[4:11]) == [*LABELS, "AU01", "AU02", "AU02_L", "AU02_R"], "AU01 has no phrases of one side"
    verdict = ["prediction", "confidence", "abstain", "reason", "model", "model_hash", "error"]
    assert list(table.columns[-7:]) == verdict
    assert list(table["subject"]) == ["F1"] * 3 + ["F2"] * 3 and table["model"].eq("small").all()
    assert table["error"].notna().tolist() == [False] * 5 + [True] and "F2_3.obj" in table["error"][5]
    good = table[table["error"].isna()]
    assert np.allclose(good[LABELS].sum(axis=1), 1, atol=1e-5)
    assert good["confidence"].equals(good[LABELS].max(axis=1)) and good["prediction"].isin(LABELS).all()
    files = [str(name) for name in good["file"]]
    options = ["--model", str(small_run), "--labels", *LABELS, "--actions", "--json", "--batch_size", "1"]
    assert main(["predict", *files, *options]) == 0
    for line, (_, row) in zip(capsys.readouterr().out.splitlines(), good.iterrows(), strict=True):
        printed = json.loads(line)
        scores = {item["label"]: item["score"] for item in printed["scores"]}
        assert scores == pytest.approx(dict(row[LABELS]), abs=1e-5)
        twelve = next(one for one in printed["actions"] if one["unit"] == "12")
        assert [twelve["score"], twelve["left"], twelve["right"]] == pytest.approx(
            list(row[["AU12", "AU12_L", "AU12_R"]]), abs=1e-5
        )


def test_all_kinds_of_tables_hold_the_same(scans, small_run, tmp_path):
    pytest.importorskip("pyarrow")
    for suffix in ("csv", "json", "parquet"):
        assert predict(scans / "F1", small_run, tmp_path / f"faces.{suffix}", "--quiet", "--no-actions") == 0
    tables = [
        pd.read_csv(tmp_path / "faces.csv"),
        pd.read_json(tmp_path / "faces.json"),
        pd.read_parquet(tmp_path / "faces.parquet"),
    ]
    columns = ["file", *LABELS, "prediction", "confidence"]
    for table in tables[1:]:
        pd.testing.assert_frame_equal(table[columns], tables[0][columns], check_dtype=False)
    ours = [list(read_table(tmp_path / f"faces.{suffix}")) for suffix in ("csv", "json", "parquet")]
    assert ours[0] == ours[1] == ours[2] and not any(name.startswith("AU") for name in ours[0][0])


@pytest.mark.parametrize("options", [[], ["--num_workers", "1"]])
def test_batches_and_workers_change_nothing(scans, small_run, tmp_path, options):
    assert predict(scans, small_run, tmp_path / "one.csv", "--batch_size", 1, "--quiet") == 1
    assert predict(scans, small_run, tmp_path / "four.csv", "--batch_size", 4, "--quiet", *options) == 1
    one, four = (pd.read_csv(tmp_path / f"{name}.csv") for name in ("one", "four"))
    pd.testing.assert_frame_equal(one, four, atol=1e-5)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_killed_run_goes_on_and_ends_the_same(scans, small_run, tmp_path, monkeypatch, capsys):
    assert predict(scans, small_run, tmp_path / "whole.csv", "--batch_size", 2) == 1
    out = tmp_path / "faces.csv"
    pid = os.fork()
    if pid == 0:
        reads(monkeypatch, stop_at=4, stop=lambda: os.kill(os.getpid(), signal.SIGKILL))
        predict(scans, small_run, out, "--batch_size", 2)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    assert not out.exists() and (tmp_path / "faces.csv.part").exists()
    names = reads(monkeypatch)
    capsys.readouterr()
    (tmp_path / ".faces.csv.7.tmp").write_text("as of a command that was stopped while it wrote the table")
    assert predict(scans, small_run, out, "--batch_size", 2) == 1
    assert not list(tmp_path.glob("*.tmp")) and not list(tmp_path.glob(".*.tmp"))
    assert names == ["F1_10", "F2_1", "F2_2", "F2_3"], "the first batch was there"
    assert "2 of 6 rows are there already" in capsys.readouterr().err
    assert out.read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["faces.csv", "whole.csv"]


def test_only_what_changed_is_read_again(scans, small_run, tmp_path, monkeypatch):
    def stop():
        raise KeyboardInterrupt

    reads(monkeypatch, stop_at=5, stop=stop)
    assert predict(scans, small_run, tmp_path / "faces.csv", "--batch_size", 2, "--quiet") == 130
    monkeypatch.undo()
    shutil.copy(scans / "F1" / "F1_1.obj", scans / "F1" / "F1_0.obj")
    with (scans / "F1" / "F1_2.obj").open("a") as stream:
        stream.write("# edited\n")
    names = reads(monkeypatch)
    assert predict(scans, small_run, tmp_path / "faces.csv", "--batch_size", 2, "--quiet") == 1
    assert names == ["F1_0", "F1_2", "F2_2", "F2_3"]
    assert [Path(name).stem for name in pd.read_csv(tmp_path / "faces.csv")["file"]][:3] == ["F1_0", "F1_1", "F1_2"]


def test_another_model_or_other_options_are_refused_with_the_remedy(
    scans, small_run, small_model, small_processor, tmp_path, monkeypatch, capsys
):
    def stop():
        raise KeyboardInterrupt

    other = MVFERModel(small_model.config).eval()
    save_run(tmp_path / "other", other, small_processor)
    reads(monkeypatch, stop_at=4, stop=stop)
    out = tmp_path / "faces.csv"
    assert predict(scans, small_run, out, "--batch_size", 2) == 130
    assert "mvfer: stopped" in capsys.readouterr().err
    monkeypatch.undo()
    kept = (tmp_path / "faces.csv.part").read_bytes()
    for run, options, said in (
        (tmp_path / "other", [], "another model;"),
        (small_run, ["--orientation", "z"], "another views;"),
        (small_run, ["--no-actions"], "another actions, columns;"),
    ):
        capsys.readouterr()
        assert predict(scans, run, out, *options) == 2
        error = capsys.readouterr().err.splitlines()[-1]
        assert said in error and "--overwrite" in error
        assert (tmp_path / "faces.csv.part").read_bytes() == kept
    assert predict(scans, tmp_path / "other", out, "--overwrite") == 1
    assert pd.read_csv(out)["model"].eq("other").all()


def test_a_finished_table_is_kept_unless_it_is_to_be_replaced(scans, small_run, tmp_path, capsys):
    out = tmp_path / "faces.csv"
    out.write_text("mine")
    assert predict(scans / "F1", small_run, out) == 2
    assert out.read_text() == "mine" and "there already; pass --overwrite" in capsys.readouterr().err
    assert predict(scans / "F1", small_run, out, "--overwrite") == 0 and len(pd.read_csv(out)) == 3


def test_a_full_disk_loses_nothing(scans, small_run, tmp_path, monkeypatch, capsys):
    original, calls = os.fsync, []

    def full(descriptor):
        calls.append(1)
        if len(calls) > 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return original(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    assert predict(scans, small_run, tmp_path / "faces.csv", "--batch_size", 2) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "No space left" in error and "start again" in error
    monkeypatch.undo()
    names = reads(monkeypatch)
    assert predict(scans, small_run, tmp_path / "faces.csv", "--batch_size", 2) == 1 and len(names) <= 4


@pytest.mark.parametrize(
    ("out", "options", "said"),
    [
        ("faces.xlsx", [], ".csv or .parquet or .json"),
        ("file/faces.csv", [], "cannot be written"),
        ("faces.csv", ["--picture", "views.png"], "mvfer plot"),
        ("faces.csv", ["--batch_size", "0"], "--batch_size"),
        ("faces.csv", ["--labels", "frame", "happiness"], "word the label otherwise"),
        ("faces.csv", ["--labels", "AU12", "happiness"], "word the label otherwise"),
        ("faces.csv", ["--subject_pattern", "("], "--subject_pattern '(': not a regular expression"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_read(
    out, options, said, scans, small_run, tmp_path, capsys, monkeypatch
):
    (tmp_path / "file").touch()
    names = reads(monkeypatch)
    assert predict(scans, small_run, tmp_path / out, *options) == 2
    assert said in capsys.readouterr().err and names == []


def test_a_sequence_has_a_row_per_frame_with_its_time(scans, small_run, tmp_path, capsys):
    for number in (1, 2, 10):
        shutil.copy(scans / "F1" / f"F1_{number}.obj", scans / "F1" / f"film{number}.obj")
        (scans / "F1" / f"F1_{number}.obj").unlink()
    (scans / "F1" / "film3.obj").write_text("v 0 0 0\n")
    out = tmp_path / "frames.csv"
    assert predict(scans / "F1", small_run, out, "--sequences", "--fps", "10", "--quiet") == 1
    table = pd.read_csv(out)
    assert [Path(name).stem for name in table["file"]] == ["film1", "film2", "film3", "film10"]
    assert table["frame"].tolist() == [0, 1, 2, 3] and table["time_s"].tolist() == [0.0, 0.1, 0.2, 0.9]
    assert table["error"].notna().tolist() == [False, False, True, False]
    assert table["happiness"].notna().tolist() == [True, True, False, True]
    printed = ["watch", *table["file"], "--model", str(small_run), "--labels", *LABELS, "--fps", "10", "--json"]
    capsys.readouterr()
    assert main([*printed, "--window_s", "0.01"]) == 1
    for line, (_, row) in zip(capsys.readouterr().out.splitlines(), table.iterrows(), strict=True):
        watched = json.loads(line)
        if "scores" in watched:  # a frame alone, framed as the first one is
            scores = {item["label"]: item["score"] for item in watched["scores"]}
            assert scores == pytest.approx(dict(row[LABELS]), abs=1e-5)
    pytest.importorskip("matplotlib")
    assert main(["plot", str(out), "--out", str(tmp_path / "timeline.png"), "--units", "AU12", "AU12_L"]) == 0
    assert Image.open(tmp_path / "timeline.png").size[0] > 600


def test_a_plot_of_scans_has_bars_and_says_what_it_leaves_out(scans, small_run, tmp_path, capsys, monkeypatch):
    pytest.importorskip("matplotlib")
    from mvfer.reports import timelines

    assert predict(scans, small_run, tmp_path / "faces.json", "--quiet") == 1
    heights = []
    for most, only in ((20, r"F1_1\."), (20, "F1"), (2, "F1")):
        monkeypatch.setattr(timelines, "MOST", most)
        picture = tmp_path / "bars.png"
        assert main(["plot", str(tmp_path / "faces.json"), "--out", str(picture), "--only", only]) == 0
        heights.append(Image.open(picture).size[1])
    assert heights[0] < heights[2] < heights[1]
    assert "1 of 3 scans and sequences are left out" in capsys.readouterr().err
    for flags, said in ((["--units", "AU99"], "no column AU99"), (["--only", "nobody"], "no scan in it")):
        assert main(["plot", str(tmp_path / "faces.json"), *flags]) == 2
        assert said in capsys.readouterr().err
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    assert main(["plot", str(tmp_path / "other.csv")]) == 2
    assert "mvfer predict --out" in capsys.readouterr().err


def test_photos_of_one_moment_are_one_row_and_left_to_people_by_a_model_of_shape(small_run, tmp_path):
    for name in ("m1/cam0.png", "m1/cam1.png", "loose.png"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.linear_gradient("L").convert("RGB").resize((48, 48)).save(tmp_path / "photos" / name)
    (tmp_path / "photos" / "cut.png").write_bytes(b"\x89PNG")
    assert predict(tmp_path / "photos", small_run, tmp_path / "faces.csv", "--quiet") == 1
    table = pd.read_csv(tmp_path / "faces.csv").set_index("file")
    table.index = [Path(name).name for name in table.index]
    assert list(table.index) == ["cut.png", "loose.png", "m1"] and table["error"].notna().tolist() == [
        True,
        False,
        False,
    ]
    assert table["abstain"][1:].tolist() == [True, True] and table["reason"][1:].str.contains("photo").all()
    assert table["happiness"][1:].between(0, 1).all()


def test_by_person_is_found_once_and_kept(scans, small_model, small_processor, tmp_path, monkeypatch, capsys):
    config = type(small_model.config).from_dict(small_model.config.to_dict() | {"baseline": True})
    relative = MVFERModel(config).eval()
    relative.load_state_dict(small_model.state_dict(), strict=False)
    run = save_run(tmp_path / "relative", relative, small_processor)

    def stop():
        raise KeyboardInterrupt

    names = reads(monkeypatch, stop_at=10, stop=stop)
    assert predict(scans, run, tmp_path / "faces.csv", "--by_person", r"F\d", "--batch_size", 2) == 130
    assert len(names) == 10, "six for the baselines"
    monkeypatch.undo()
    names = reads(monkeypatch)
    assert predict(scans, run, tmp_path / "faces.csv", "--by_person", r"F\d", "--batch_size", 2) == 1
    assert names == ["F2_3", "F1_10", "F2_1", "F2_2", "F2_3"], "one has no baseline yet, as it cannot be read"
    table = pd.read_csv(tmp_path / "faces.csv")
    assert table["subject"].tolist() == ["F1"] * 3 + ["F2"] * 3
    capsys.readouterr()
    files = [str(name) for name in table["file"][:5]]
    options = ["--model", str(run), "--labels", *LABELS, "--by_person", r"F\d", "--json", "--quiet"]
    assert main(["predict", *files, *options]) == 0
    for line, score in zip(capsys.readouterr().out.splitlines(), table["happiness"], strict=False):
        scores = {item["label"]: item["score"] for item in json.loads(line)["scores"]}
        assert scores["happiness"] == pytest.approx(score, abs=1e-5)


def test_quiet_leaves_only_what_went_wrong(scans, small_run, tmp_path, capsys):
    assert predict(scans, small_run, tmp_path / "faces.csv", "--quiet") == 1
    lines = capsys.readouterr().err.splitlines()
    assert any("F2_3.obj" in line for line in lines) and not any("wrote" in line for line in lines)


def test_names_in_a_table_are_no_formulas_and_stay_on_their_line(tmp_path):
    rows = [
        {"file": "=1+1.obj", "note": "@SUM(A1)", "x": -1.5},
        {"file": "a\nb,c\x1b[2J", "note": 'say "x"', "x": None},
    ]
    assert write_table(tmp_path / "a.csv", {"file": "file", "note": "text", "x": "number", "=y": "text"}, rows) == 2
    first, second = list(csv.DictReader((tmp_path / "a.csv").open(newline="")))
    assert first == {"file": "./=1+1.obj", "note": "'@SUM(A1)", "x": "-1.5", "'=y": ""}
    assert second["file"] == r"a\nb,c\x1b[2J" and second["note"] == 'say "x"'
    write_table(tmp_path / "a.json", {"file": "file", "x": "number"}, rows)
    assert json.loads((tmp_path / "a.json").read_text()) == [{"file": row["file"], "x": row["x"]} for row in rows]


def test_a_table_that_cannot_be_written_leaves_the_old_one(tmp_path):
    def broken():
        yield {"x": 1.0}
        raise RuntimeError("no more")

    for suffix in ("csv", "json", "parquet"):
        path = tmp_path / f"a.{suffix}"
        path.write_text("old")
        with pytest.raises(RuntimeError):
            write_table(path, {"x": "number"}, broken())
        assert path.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 3


def test_embeddings_are_found_by_a_text(scans, small_run, small_model, small_processor, tmp_path, capsys):
    pytest.importorskip("pyarrow")
    out, options = tmp_path / "faces.parquet", ["--model", str(small_run)]
    assert main(["embed", str(scans), "--out", str(out), *options, "--subject_pattern", r"F\d"]) == 1
    table = pd.read_parquet(out)
    assert table["subject"].tolist() == ["F1"] * 3 + ["F2"] * 3 and table["embedding"].isna().tolist() == [
        False
    ] * 5 + [True]
    embeddings = np.stack(table["embedding"].dropna())
    assert np.allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-5)
    text = small_processor(text=["mouth open"], return_tensors="pt")
    wanted = small_model.get_text_features(**text).pooler_output[0].detach().numpy()
    expected = embeddings @ wanted / np.linalg.norm(wanted)
    capsys.readouterr()
    assert main(["search", "mouth open", "--embeddings", str(out), *options, "--top_k", "3", "--json"]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    score_of = dict(zip(table["file"], expected, strict=False))
    assert [row["score"] for row in found] == pytest.approx([score_of[row["file"]] for row in found], abs=1e-5)
    assert [row["score"] for row in found] == pytest.approx(sorted(expected, reverse=True)[:3], abs=1e-5)
    assert main(["search", "mouth open", "--embeddings", str(out), *options]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 5


def test_another_models_embeddings_are_refused_with_the_remedy(
    scans, small_run, small_model, small_processor, tmp_path, capsys
):
    pytest.importorskip("pyarrow")
    other = save_run(tmp_path / "other", MVFERModel(small_model.config).eval(), small_processor)
    out = tmp_path / "faces.parquet"
    assert main(["embed", str(scans / "F1"), "--out", str(out), "--model", str(small_run), "--quiet"]) == 0
    capsys.readouterr()
    assert main(["search", "mouth open", "--embeddings", str(out), "--model", str(other)]) == 2
    error = capsys.readouterr().err
    assert "made by another model (small, " in error and "mvfer embed" in error and "--model" in error
    assert predict(scans / "F1", small_run, tmp_path / "table.parquet", "--quiet") == 0
    assert main(["search", "mouth open", "--embeddings", str(tmp_path / "table.parquet"), "--model", str(other)]) == 2
    assert "no embeddings in it" in capsys.readouterr().err
    assert main(["embed", str(scans), "--out", str(tmp_path / "faces.csv")]) == 2


def test_py_feat_reads_a_table(scans, small_run, tmp_path):
    read_feat = pytest.importorskip("feat.utils.io").read_feat
    labels = ["anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral"]
    argv = ["predict", str(scans / "F1"), "--model", str(small_run), "--labels", *labels, "--quiet"]
    assert main([*argv, "--out", str(tmp_path / "faces.csv")]) == 0
    fex = read_feat(str(tmp_path / "faces.csv"))
    assert list(fex.emotions.columns) == labels and {"AU01", "AU12", "AU12_L"} <= set(fex.aus.columns)
    assert np.allclose(fex.emotions.sum(axis=1), 1, atol=1e-5)
