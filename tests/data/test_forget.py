"""A person who is forgotten is gone from the set and what was made of it, and stays away."""

import json

import datasets
import pytest

from dataset_scripts.forget import forget
from dataset_scripts.recorded import scan_sets
from dataset_scripts.validate import main as validate_main
from mvfer.cli.main import main
from mvfer.data import schema
from mvfer.data.pseudonyms import Pseudonyms, forgotten

from .layouts import rows_of, write_plain_obj

PEOPLE = ("anna", "ben", "cleo", "dora", "emil", "fay")


@pytest.fixture
def source(tmp_path, monkeypatch, framed_once):
    monkeypatch.setattr(scan_sets, "FRAMES_PER_SHARD", 4)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    for number, person in enumerate(PEOPLE):
        for label in ("happy", "sad"):
            write_plain_obj(tmp_path / "source" / label / f"{person}_1.obj", number / 10 + (label == "sad") / 30)
    (tmp_path / "source" / "sad" / "anna_2.obj").write_text("v 0 0 0\n")
    return tmp_path / "source"


def built(build, source, *flags, **options):
    return build("folder", source, "--subject_pattern", "^([a-z]+)_", "--split", 0.5, 0.25, 0.25, *flags, **options)


def everything(folder):
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


@pytest.mark.parametrize("by_pseudonym", [False, True])
def test_a_person_is_gone_and_a_build_of_the_same_key_leaves_them_out(build, source, tmp_path, capsys, by_pseudonym):
    out, key = built(build, source), tmp_path / "key"
    gone = Pseudonyms.from_file(key)("anna")
    validate_main([str(out)])
    assert gone in {row["subject"] for row in rows_of(out)} and gone.encode() in everything(tmp_path / "cache")
    before = schema.dataset_info(out)
    name = gone if by_pseudonym else "anna"
    assert main(["forget", name, "--dataset", str(out), "--key_file", str(key)]) == 0
    said = capsys.readouterr().out
    assert "2 rows taken out" in said and "models trained on the set have learnt from this person" in said
    info = schema.dataset_info(out)
    assert {row["subject"] for row in rows_of(out)} == {Pseudonyms.from_file(key)(name) for name in PEOPLE[1:]}
    assert sum(info["rows"].values()) == sum(before["rows"].values()) - 2 and info["rejected"] == 0
    assert f"| {info['rows']['train']} |" in (out / "README.md").read_text()
    assert not (out / schema.SHEET_FILE).exists()
    assert gone.encode() not in everything(out) + everything(tmp_path / "cache")
    assert gone not in (tmp_path / "key.forgotten").read_text() and len(forgotten(key)) == 1
    kept = {path.name: path.read_bytes() for path in out.glob("*.parquet")}
    built(build, source)  # which finds itself complete
    fresh = built(build, source, out="fresh")
    assert kept == {path.name: path.read_bytes() for path in fresh.glob("*.parquet")}


def test_everybody_else_keeps_their_split(build, source, tmp_path):
    out = built(build, source)
    where = {row["subject"]: row["split"] for row in rows_of(out)}
    forget(out, "dora", key_file=tmp_path / "key")
    gone = Pseudonyms.from_file(tmp_path / "key")("dora")
    assert {row["subject"]: row["split"] for row in rows_of(out)} == {
        name: split for name, split in where.items() if name != gone
    }


def test_a_killed_call_is_finished_by_the_next(build, source, tmp_path, monkeypatch):
    out = built(build, source)
    import dataset_scripts.forget as module

    def killed(path, pseudonym):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module, "_rewrite", killed)
        forget(out, "anna", key_file=tmp_path / "key")
    assert forget(out, "anna", key_file=tmp_path / "key").rows == 2
    assert forget(out, "anna", key_file=tmp_path / "key").rows == 0


@pytest.mark.parametrize(
    ("person", "key", "reason"), [("Anna", "key", "nobody of this name"), ("anna", "other", "built with")]
)
def test_who_cannot_be_found_is_said_and_nothing_is_changed(build, source, tmp_path, capsys, person, key, reason):
    out = built(build, source)
    (tmp_path / "other").write_text("another key of enough bytes")
    before = everything(out)
    assert main(["forget", person, "--dataset", str(out), "--key_file", str(tmp_path / key)]) == 2
    assert reason in capsys.readouterr().err and everything(out) == before


def test_synthetic_people_need_not_be_forgotten(tmp_path):
    (tmp_path / schema.INFO_FILE).write_text(json.dumps({"complete": True, "build": {}}))
    with pytest.raises(ValueError, match="do not exist"):
        forget(tmp_path, "anna")
