"""`mvfer adapt`: from neutral scans alone to a model folder; what is refused, and what is told."""

import json

import numpy as np
import pytest
import torch

from dataset_scripts import build_transfer
from dataset_scripts.synthetic import transfer
from dataset_scripts.synthetic.heads import HeadModel
from dataset_scripts.synthetic.unit_tables import ARKIT
from mvfer.cli import adapt
from mvfer.cli.main import main
from mvfer.hub.load import load_run
from mvfer.hub.push import KEPT_AT_HOME
from mvfer.training import adaptation
from tests.data.conftest import half_egg, write_obj
from tests.data.test_transfer import MOUTH, as_it_lies


@pytest.fixture
def neutrals(tmp_path):
    """A folder of ten eggs with noses, of different proportions, and one file that is no scan."""
    folder = tmp_path / "neutrals"
    folder.mkdir()
    vertices, quads = half_egg(grid=23)
    for number in range(10):
        size = 1 + 0.05 * np.random.default_rng(number).standard_normal(3)
        write_obj(folder / f"quillfeather{number}.obj", vertices * size, quads)
    (folder / "xylophone.obj").write_text("v 0 0 0\n")
    return folder


@pytest.fixture
def family(monkeypatch):
    """Eggs whose lower part opens, in the place of Anny."""
    vertices, quads = half_egg(grid=23)
    faces = np.concatenate([quads[:, :3], quads[:, [0, 2, 3]]]).astype(np.int64)
    points = vertices / 8

    def moves(name):
        x, y = points[:, 0], points[:, 1]
        if name == "jawOpen":
            return np.where((y < MOUTH) & (abs(x) < 0.35), -0.25, 0)[:, None] * [0.0, 1.0, 0.0]
        place = 0.4 if name.endswith("Left") else -0.4 if name.endswith("Right") else 0.0
        return 0.15 * np.exp(-((x - place) ** 2 + (y - MOUTH) ** 2) / 0.05)[:, None] * [0.0, 0.7, 0.7]

    def identities(streams):
        sizes = [1 + 0.05 * rng.standard_normal(3) for rng in streams]
        return torch.tensor(np.stack([points * size for size in sizes]), dtype=torch.float32), [{} for _ in streams]

    shapes = torch.tensor(np.stack([moves(name) for name in ARKIT.shapes]), dtype=torch.float32)
    model = HeadModel(faces, ARKIT.shapes, shapes, identities)
    monkeypatch.setattr(build_transfer, "load_family", lambda *_: model)
    monkeypatch.setattr(transfer, "_PEOPLE", 12)
    monkeypatch.setattr(transfer, "_MODES", 3)
    monkeypatch.setattr(build_transfer, "read_neutral", as_it_lies)
    monkeypatch.setattr(adapt, "ROWS", 70)


def flags(neutrals, run, out, *others):
    fixed = ["--neutrals", neutrals, "--model", run, "--out", out, "--steps", 2, "--num_proc", 1, "--orientation", "y"]
    return [str(flag) for flag in ["adapt", *fixed, *others]]


@pytest.mark.slow
def test_neutral_scans_alone_give_a_whole_model_folder(neutrals, family, small_run, tmp_path, capfd):
    out = tmp_path / "ours"
    assert main(flags(neutrals, small_run, out)) == 0
    printed = capfd.readouterr()
    assert (
        "xylophone.obj: left out: " in printed.err and "10 neutral scans, expressions of anny: accuracy" in printed.out
    )
    results = json.loads((out / "results.json").read_text())
    told = results["adaptation"]
    assert (told["scans"], told["left_out"], told["trained_on"]) == (10, 1, 6) and 0 <= told["before"]["mean"] <= 1
    assert results["command"].startswith("mvfer adapt --neutrals neutrals")
    assert results["leakage"]["found"] == [] and results["test"]["num_subjects"] == 2
    model, processor = load_run(out)
    assert model.config.baseline and processor.image_processor.size_px == 32
    card = (out / "README.md").read_text()
    assert "10 neutral scans of as many people, 6 of them for" in card and "no label was given" in card
    written = b"".join(path.read_bytes() for path in out.rglob("*") if path.is_file())
    assert b"quillfeather" not in written and b"xylophone" not in written  # no name of a scan
    assert main(flags(neutrals, small_run, out)) == 2
    assert "holds an adapted model" in capfd.readouterr().err


@pytest.mark.slow
def test_a_stopped_run_goes_on_with_the_same_flags_alone(neutrals, family, small_run, tmp_path, capfd, monkeypatch):
    out = tmp_path / "ours"
    describe = adaptation.describe
    monkeypatch.setattr(adaptation, "describe", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(flags(neutrals, small_run, out))
    monkeypatch.setattr(adaptation, "describe", describe)
    assert main(flags(neutrals, small_run, out, "--learning_rate", "0.5")) == 2
    assert "another learning_rate" in capfd.readouterr().err
    assert main(flags(neutrals, small_run, out)) == 0
    assert adapt.is_told(out)


def test_too_few_people_and_models_that_cannot_be_adapted_are_refused(neutrals, small_run, tmp_path, capsys):
    for number in range(4):
        (neutrals / f"quillfeather{number}.obj").unlink()
    assert main(flags(neutrals, small_run, tmp_path / "ours")) == 2
    assert "7 neutral scans can be used, 8 are needed" in capsys.readouterr().err
    assert main(flags(neutrals, small_run, small_run)) == 2
    assert "holds another model" in capsys.readouterr().err
    assert main(flags(tmp_path / "nothing", small_run, tmp_path / "ours")) == 2
    assert "no meshes here" in capsys.readouterr().err


@pytest.mark.parametrize("people", [8, 12, 40, 200])
def test_everybody_has_a_part_and_rows_are_neither_few_nor_endless(people):
    train, validation, test = adapt.shares(people)
    assert train + validation + test == people and train > validation == test >= 2
    rows = adapt.rows_per_person(train)
    count = 7 * rows["expressions_per_subject"] + rows["random_per_subject"] + rows["rest_per_subject"]
    assert 600 <= train * rows["people"] * count <= 3000 and 24 <= train * rows["people"] <= 140


def test_training_goes_on_as_the_model_was_made(small_model, tmp_path):
    config = adaptation.recipe_of(
        small_model,
        "runs/first",
        ["data"],
        out=str(tmp_path),
        rows=1000,
        processes=2,
        steps=60,
        learning_rate=1e-4,
        seed=3,
    )
    assert config.objective == small_model.config.objective and config.fusion == small_model.config.fusion
    assert (config.batch_size, config.eval_every, config.captions) == (64, 10, "stored")
    small_model.config.prompt_wordings, before = 4, small_model.config.prompt_wordings
    try:
        options = {"rows": 40, "processes": 1, "steps": 3, "learning_rate": 1e-4, "seed": 3}
        config = adaptation.recipe_of(small_model, "runs/first", ["data"], out=str(tmp_path), **options)
    finally:
        small_model.config.prompt_wordings = before
    assert (config.batch_size, config.captions) == (40, "fresh")


def test_faces_of_an_adaptation_are_not_pushed():
    assert "data/*" in KEPT_AT_HOME
