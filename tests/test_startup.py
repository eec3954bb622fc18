# ruff: noqa: F811  (fixtures are imported, then named as arguments)
"""What a command imports, and what it says where an extra is not installed. Each in a clean process."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import trimesh

from mvfer.extras import EXTRAS, PACKAGES
from mvfer.hub import card
from tests.tiny import bumpy_face, face_obj, small_model, small_processor, small_run  # noqa: F401

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
UNINSTALL = """
import sys
from importlib.machinery import PathFinder


class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in MISSING else super().find_spec(name, path, target)


sys.meta_path[sys.meta_path.index(PathFinder)] = Without
"""
OURS = ("modeling_mvfer", "mvfer", "processing")
PREDICT = """
import json, sys
from transformers import CLIPModel  # what a model is loaded with, and what that imports for reasons of its own
before = set(sys.modules)
from mvfer.cli.main import main
assert main(sys.argv[1:]) == 0
print(json.dumps(sorted(set(sys.modules) - before)))
"""
CORE = """
from mvfer.cli.main import main
from mvfer import MVFERModel, MVFERProcessor, load_run
import modeling_mvfer, processing
from transformers import pipeline

for mesh in MESHES:
    assert main(["predict", mesh, "--model", RUN]) == 0
assert main(["watch", MESHES[0], "--model", RUN]) == 0
assert main(["push", "nowhere", "--repo_id", "someone/model"]) == 2
classify = pipeline("zero-shot-mesh-classification", model=RUN, trust_remote_code=True)
assert len(classify(MESHES[0], candidate_labels=["happiness", "sadness"])) == 2
for command in ("render", "explain", "evaluate", "study", "poc", "check"):
    assert main([command, *FLAGS.get(command, [])]) == 2
"""
EVALUATION = """
from importlib import import_module
from mvfer.cli.main import COMMANDS, main

for command in COMMANDS:
    import_module(f"mvfer.cli.{command}")
assert main(["render", MESHES[0], "--out", "views.png", "--size_px", "32"]) == 0
try:
    import mvfer.training.folds
except ModuleNotFoundError as error:
    from mvfer.extras import what_is_missing
    print(what_is_missing(error, "mvfer evaluate"))
"""


def clean_process(*command: str, missing: set[str] = frozenset(), folder: Path) -> subprocess.CompletedProcess:
    """Run python in `folder`, in which some packages look as if they were not installed."""
    (folder / "sitecustomize.py").write_text(f"MISSING = {set(missing)!r}\n{UNINSTALL}", encoding="utf-8")
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)]), "HF_HOME": str(folder)}
    return subprocess.run([sys.executable, *command], cwd=folder, env=env, capture_output=True, text=True)


@pytest.mark.parametrize("flag", ["--help", "--version"])
def test_help_and_version_import_nothing_heavy(flag, tmp_path):
    program = f"import sys; from mvfer.cli.main import main\ntry: main([{flag!r}])\nfinally: print(*sys.modules)"
    done = clean_process("-c", program, folder=tmp_path)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert "mvfer.cli.main" in loaded and not loaded & {"torch", "transformers", "numpy"}
    assert len({name.partition(".")[0] for name in loaded} - sys.stdlib_module_names - {"__main__"}) < 10


@pytest.mark.slow
def test_predict_imports_hardly_more_than_the_model_needs(small_run, face_obj, tmp_path):
    done = clean_process("-c", PREDICT, "predict", face_obj, "--model", str(small_run), folder=tmp_path)
    assert done.returncode == 0, done.stderr
    loaded = json.loads(done.stdout.splitlines()[-1])
    packages = {name.partition(".")[0] for name in loaded}
    assert not packages & ({*EXTRAS, "pandas", "networkx", "trimesh"}), packages
    assert len([name for name in loaded if name.partition(".")[0] not in OURS]) < 20


@pytest.mark.slow
def test_a_core_install_predicts_and_names_the_extra_of_what_it_does_not(small_run, face_obj, tmp_path):
    ply = tmp_path / "face.ply"
    trimesh.Trimesh(*bumpy_face(), process=False).export(ply)
    flags = {
        "render": [face_obj],
        "study": ["verification", "--model", str(small_run), "--dataset", "x", "--out", "y"],
    }
    values = f"RUN, MESHES, FLAGS = {str(small_run)!r}, {[face_obj, str(ply)]!r}, {flags!r}\n"
    done = clean_process("-c", values + CORE, missing={*EXTRAS, "pandas", "networkx"}, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith("mvfer: ") and " needs " in line]
    assert [re.sub("needs .*;", "needs X;", line) for line in said] == [
        f'mvfer: mvfer {command} needs X; install it with: pip install "mvfer[eval]"'
        for command in ("render", "explain", "evaluate", "study", "poc", "check")
    ]
    assert "needs matplotlib;" in said[0]


@pytest.mark.slow
def test_an_evaluating_install_has_every_command_and_names_the_extra_that_trains(face_obj, tmp_path):
    missing = {name for name, extra in EXTRAS.items() if extra != "eval"}
    done = clean_process("-c", f"MESHES = {[face_obj]!r}\n" + EVALUATION, missing=missing, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    last = done.stdout.splitlines()[-1]
    assert last == 'mvfer evaluate needs accelerate; install it with: pip install "mvfer[train]"'


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        ([str(ROOT / "train.py"), "--help"], 'train.py needs accelerate; install it with: pip install "mvfer[train]"'),
        (["-m", "dataset_scripts.merge"], 'merge.py needs pyarrow; install it with: pip install "mvfer[eval]"'),
    ],
)
def test_scripts_name_the_extra_that_is_missing(command, sentence, tmp_path):
    done = clean_process(*command, missing=set(EXTRAS), folder=tmp_path)
    assert (done.returncode, done.stderr.strip()) == (2, sentence)


def test_a_module_that_no_extra_brings_is_a_fault_and_not_a_sentence(tmp_path):
    program = "from mvfer.extras import explain_missing; explain_missing(); import no_such_module"
    done = clean_process("-c", program, folder=tmp_path)
    assert done.returncode == 1 and "Traceback" in done.stderr and "no_such_module" in done.stderr


def test_the_card_is_installed_where_it_is_read():
    wheel = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert ROOT / wheel["force-include"]["model_card.md"] == Path(card.__file__).with_name("model_card.md")
    assert card.TEMPLATE.read_text(encoding="utf-8") == (ROOT / "model_card.md").read_text(encoding="utf-8")


def test_every_extra_brings_what_the_table_says():
    project = PYPROJECT["project"]
    named = {
        extra: {re.split(r"[<>=~\[]", package)[0] for package in packages}
        for extra, packages in project["optional-dependencies"].items()
    }
    brought_along = {"pyarrow"}  # by datasets
    for name, extra in EXTRAS.items():
        assert PACKAGES.get(name, name) in named[extra] | brought_along
    core = {re.split(r"[<>=]", package)[0] for package in project["dependencies"]}
    assert core == {"huggingface_hub", "numpy", "pillow", "safetensors", "torch", "transformers", "trimesh"}
