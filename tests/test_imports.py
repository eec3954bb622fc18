"""Rooms and doors: who may import whom, what a file that ships to the Hub may need, and what no file may hold."""

import ast
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from transformers.dynamic_module_utils import get_imports, get_relative_imports

ROOT = Path(__file__).parents[1]
FLOORS = [  # a room imports itself and the rooms of floors above it in this list
    ("mvfer", "mvfer/extras", "mvfer/progress"),  # the front door; what to install; the progress bar of all
    (
        "modeling_mvfer",
        "processing",
    ),  # the model; meshes, photos and words to inputs: both ship, and neither knows the other
    ("mvfer/data",),  # data sets: schema, splits, batches
    ("mvfer/evaluation",),  # scores, probes, audits, protocols
    ("mvfer/reports",),  # pages, pictures, findings
    ("mvfer/hub", "mvfer/studies"),  # run folders and their cards; tests of another kind
    ("mvfer/training", "mvfer/app"),  # tasks, recipes, checkpoints; the page to try a model on
    ("dataset_scripts",),  # scripts that build data sets
    ("mvfer/cli",),  # the command `mvfer`
    ("train", "app"),  # the script that trains; the app as a Space starts it
    ("benchmarks", "docs", "examples"),  # what is measured, drawn, shown
    ("tests",),
]
ROOMS = [room for floor in FLOORS for room in floor]
SHIPPED_ROOMS = ("modeling_mvfer", "processing")
MAY_IMPORT = {
    room: {room, *(other for above in FLOORS[:number] for other in above if room not in SHIPPED_ROOMS)}
    for number, floor in enumerate(FLOORS)
    for room in floor
}
OURS = {room.partition("/")[0] for room in ROOMS}
# huggingface_hub comes with transformers, whose own configurations are made with its decorator.
SHIPPED_MAY_IMPORT = {*sys.stdlib_module_names, "numpy", "torch", "PIL", "transformers", "huggingface_hub"}


def project_files() -> list[Path]:
    """Files that are tracked or would be; in a plain copy without git, all files outside hidden and build folders."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listed.returncode == 0 and listed.stdout:
        return sorted(path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file())
    inside = (path for path in ROOT.rglob("*") if path.is_file())
    skipped = re.compile(r"build|data|runs|report|__pycache__|.*\.egg-info|\..*")
    return sorted(path for path in inside if not any(map(skipped.fullmatch, path.relative_to(ROOT).parts)))


FILES = project_files()
PYTHON = [path for path in FILES if path.suffix == ".py"]
SHIPPED = [path for path in PYTHON if path.stem.endswith("_mvfer") and path.relative_to(ROOT).parts[0] != "tests"]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def room_of(path: Path) -> str | None:
    """The room that a file lies in; `None` for a folder that is no room."""
    if name_of(path) == "mvfer/__main__.py":
        return "mvfer/cli"
    return room_named(name_of(path).removesuffix(".py").removesuffix("/__init__"))


def room_named(place: str) -> str | None:
    """The room of a module written as a path: the longest that fits. Only the front door itself lies in "mvfer"."""
    fitting = [room for room in ROOMS if place == room or place.startswith(f"{room}/") and room != "mvfer"]
    return max(fitting, key=len, default=None)


def modules_of(module: str, names: list[str]) -> list[str]:
    """What an absolute import of ours may reach, as paths: `from mvfer.data import schema` names a module, or a symbol."""
    place = module.replace(".", "/")
    inner = [f"{place}/{name}" for name in names if (ROOT / f"{place}/{name}.py").is_file()]
    return inner or [place]


def imports_of(path: Path):
    """All imports of a file: `(line, level, module, names, is_optional)`; optional: in a `try` for ImportError."""
    found = []

    def visit(node: ast.AST, is_optional: bool) -> None:
        if isinstance(node, ast.Import):
            found.extend((node.lineno, 0, alias.name, [], is_optional) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            found.append(
                (node.lineno, node.level, node.module or "", [alias.name for alias in node.names], is_optional)
            )
        elif isinstance(node, ast.Try):
            caught = {ast.unparse(n) for handler in node.handlers if handler.type for n in ast.walk(handler.type)}
            guarded = is_optional or bool(caught & {"ImportError", "ModuleNotFoundError"})
            for child in node.body:
                visit(child, guarded)
            for child in [*node.handlers, *node.orelse, *node.finalbody]:
                visit(child, is_optional)
        else:
            for child in ast.iter_child_nodes(node):
                visit(child, is_optional)

    visit(ast.parse(path.read_text(encoding="utf-8")), False)
    return found


def test_there_is_something_to_check():
    assert set(SHIPPED_ROOMS) == {room_of(path) for path in SHIPPED}


@pytest.mark.parametrize("path", SHIPPED, ids=name_of)
def test_a_shipped_file_needs_only_the_stack_and_its_neighbours(path):
    wrong = []
    for line, level, module, names, is_optional in imports_of(path):
        if level:
            is_neighbour = level == 1 and module.endswith("_mvfer") and path.with_name(f"{module}.py").is_file()
            if not is_neighbour or "*" in names:
                wrong.append(f"{name_of(path)}:{line}: from {'.' * level}{module} import {', '.join(names)}")
        elif not (is_optional or module.partition(".")[0] in SHIPPED_MAY_IMPORT):
            wrong.append(f"{name_of(path)}:{line}: import {module}")
        elif module.partition(".")[0] in OURS:
            wrong.append(f"{name_of(path)}:{line}: absolute import of {module}")
    assert not wrong


@pytest.mark.parametrize("path", SHIPPED, ids=name_of)
def test_transformers_sees_the_same_imports_as_python_does(path):
    """Its export finds imports by regular expressions, in docstrings as well, and copies or asks for what it finds."""
    relative = {module for _, level, module, _, _ in imports_of(path) if level}
    assert set(get_relative_imports(path)) == relative
    assert set(get_imports(path)) <= SHIPPED_MAY_IMPORT


def test_names_of_shipped_files_are_unique_across_rooms():
    assert [name for name, count in Counter(path.name for path in SHIPPED).items() if count > 1] == []


def test_rooms_import_only_from_floors_above_them():
    wrong = []
    for path in PYTHON:
        allowed = MAY_IMPORT.get(room_of(path), set())
        for line, level, module, names, _ in imports_of(path):
            if level or module.partition(".")[0] not in OURS:
                continue
            for place in modules_of(module, names):
                if room_named(place) not in allowed:
                    wrong.append(f"{name_of(path)}:{line}: import {place}")
    assert not wrong


def test_every_file_of_code_lies_in_a_room():
    assert [name_of(path) for path in PYTHON if room_of(path) is None] == []


# What a model's folder must carry, `transformers` finds by following imports from the model's own file; so this file, which
# knows the model, is named there, in the method that saves it.
FOUND_BY_SAVING = ("modeling_mvfer/modeling_mvfer", "modeling_mvfer/export_mvfer")


def test_no_files_import_each_other_in_a_circle():
    """Of the packages; imports inside functions count as well, but for the one that saving needs."""
    graph = {}
    for path in PYTHON:
        place = name_of(path).removesuffix(".py").removesuffix("/__init__")
        if path.name == "__init__.py" or place.startswith("tests/"):
            continue
        found = graph.setdefault(place, set())
        for _, level, module, names, _ in imports_of(path):
            if level == 1:
                found.add(f"{place.rpartition('/')[0]}/{module.replace('.', '/')}")
            elif module.partition(".")[0] in OURS:
                found.update(modules_of(module, names))
    graph[FOUND_BY_SAVING[0]].remove(FOUND_BY_SAVING[1])
    while free := [place for place, found in graph.items() if not found & graph.keys()]:
        for place in free:
            del graph[place]
    assert graph == {}


def test_no_file_of_code_is_longer_than_450_lines():
    lengths = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in PYTHON}
    assert {name: length for name, length in lengths.items() if length > 450} == {}


def test_no_text_names_a_path_of_somebodys_machine():
    machine_path = re.compile(r"(?<![\w.])/(?:home|root|Users|work|workspace|mnt|private)/\w|[A-Z]:\\\\?Users")
    wrong = []
    for path in FILES:
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        wrong += [f"{name_of(path)}: {found[0]}" for found in machine_path.finditer(text)]
    assert not wrong
