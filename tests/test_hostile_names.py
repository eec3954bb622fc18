"""Names of files, labels and people are text wherever they are shown: in terminals, tables, pictures, pages, cards and logs."""

import ast
import csv
import json
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import yaml

from dataset_scripts.common import card as data_card
from modeling_mvfer.audit_log_mvfer import AuditLog
from mvfer.cli.main import main
from mvfer.cli.printed import failed_row, print_row, scored_row
from mvfer.data import schema
from mvfer.data.pseudonyms import write_mapping
from mvfer.hub.card import model_card
from mvfer.reports import pages
from mvfer.reports.pictures import (
    PredictedScan,
    confusion_picture,
    new_figure,
    png_of,
    predictions_picture,
    views_picture,
)
from processing.names_mvfer import as_markdown, printable, shown, shown_json, shown_lines
from tests.modeling.test_hub import results
from tests.processing.mesh_files import VT, save
from tests.tiny import small_model, small_processor

__all__ = ["small_model", "small_processor"]  # fixtures

CLEAR, TITLE = "\x1b[2J", "\x1b]0;PWNED\x07"
FORGED = "x.obj\tsadness 1.000\nforged.obj\thappiness 0.999"
NAMES = [
    f"a{CLEAR}{TITLE}b",
    FORGED,
    "price$_{$",
    "a$b$",
    "\udcff\udcfe",
    "<b>x&",
    "\u202egpj.exe",
    "\x9b31m",
    "a\u2028b",
    "\r\n",
]
WEAPONS = "\x00\x07\x08\x1b\x7f\x9b\t\r\n\u061c\u200e\u200f\u2028\u2029\u202a\u202e\u2066\u2069\udc80"


def is_tame(line: str) -> bool:
    """One line that moves nothing and can be encoded."""
    line.encode("utf-8")
    return all(character.isprintable() or "\ue000" <= character <= "\uf8ff" for character in line)  # for private use


@pytest.mark.parametrize("name", [*NAMES, *WEAPONS])
def test_a_name_is_shown_on_one_line_and_moves_nothing(name):
    assert is_tame(shown(name)) and is_tame(printable(name)) and shown(shown(name)) == shown(name)
    assert "\n".join(map(shown, name.split("\n"))) == shown_lines(name)


@pytest.mark.parametrize(
    "name", ["face.obj", "顔.obj", "Ünï cödé.obj", "👩‍🦰.obj".replace("\u200d", ""), "a b", "$x$", "C:\\a"]
)
def test_usual_names_stay_as_they_are(name):
    assert shown(name) == name


def test_rows_stay_rows(capsys):
    for name in NAMES:
        for label in ("happiness", FORGED, f"a{CLEAR}"):
            row = scored_row(name, {label: 0.9, "sadness": 0.1}) | {"abstain": False}
            for as_json in (False, True):
                print_row(row, as_json=as_json)
                out = capsys.readouterr().out
                assert out.count("\n") == 1 and is_tame(out[:-1].replace("\t", "", 1)), (name, label)
            assert json.loads(out) == row  # JSON keeps every character
        print_row(failed_row(name, ValueError(f"{name}: no such file")), as_json=False)
        out, err = capsys.readouterr()
        assert out.count("\n") == err.count("\n") == 1 and is_tame(err[:-1]) and is_tame(out[:-1].replace("\t", "", 1))


@pytest.mark.parametrize("name", ["=cmd|' /C calc'!A0.obj", "+1.obj", "-1.obj", "@SUM(A1).obj"])
def test_no_field_is_a_formula(name, tmp_path, capsys):
    print_row({"input": name, "error": "none"}, as_json=False)
    assert capsys.readouterr().out.startswith(f"./{name}\t")
    write_mapping(tmp_path / "mapping.csv", [("id", "subject", name)], tmp_path / "set")
    assert list(csv.reader((tmp_path / "mapping.csv").open()))[1][2] == f"'{name}"


def test_errors_of_commands_and_warnings_are_one_tame_line(tmp_path, capsys):
    assert main(["render", f"no{CLEAR}\tRED.obj"]) == 2
    with pytest.raises(SystemExit):
        main(["predict", "a.obj", f"-{CLEAR}.obj"])
    assert all(map(is_tame, capsys.readouterr().err.splitlines()))
    path = save(tmp_path / f"a{CLEAR}.obj", f"mtllib m{CLEAR}.mtl\nusemtl a\n{VT}f 1/1 2/2 3/3\n")
    from processing.meshes_mvfer import load_mesh

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        load_mesh(path)
    assert caught and all(is_tame(str(warning.message)) for warning in caught)


@pytest.mark.parametrize("name", [*NAMES, "US$_{$", r"\\$\frac{$", "\x00"])
@pytest.mark.filterwarnings("error:.*mathtext.*")
@pytest.mark.filterwarnings("ignore:Glyph")
def test_pictures_take_any_name_and_label(name, tmp_path):
    views = np.zeros((1, 8, 8, 3), np.uint8)
    views_picture(views, ["front"], tmp_path / "v.png", title=name)
    scan = PredictedScan(name, views, [name], {name: 0.7, "other": 0.3}, [1.0], true_label=name)
    predictions_picture([scan], tmp_path / "p.png")
    confusion_picture(np.eye(2, dtype=int), [name, "other"], tmp_path / "c.png")


def test_a_dollar_is_drawn_as_a_dollar_and_powers_of_ten_as_powers():
    figure = new_figure(3, 2)
    axes = figure.add_subplot()
    axes.set_xscale("log")
    axes.set_title("a$b$c")
    png_of(figure)
    assert axes.title.get_text() == "a$b$c" and not axes.title.get_parse_math()
    assert all(label.get_parse_math() for label in axes.get_xticklabels())


HTML = '<script>alert(1)</script>"><img src=x onerror=alert(1)>'


def test_pages_show_names_and_do_not_run_them():
    made = pages.page(HTML, pages.heading(HTML), pages.paragraph(HTML), pages.verdict(HTML, HTML), pages.code(HTML),
        pages.table((HTML, HTML), [(HTML, HTML)]), pages.picture(b"\x89PNG" + bytes(30), HTML, HTML))  # fmt: skip
    assert "<script" not in made and "<img src=x" not in made and "onerror=alert(1)&gt;" in made
    for name in NAMES:
        made = pages.page(name, pages.table((name,), [(name,)]))
        made.encode("utf-8")
        assert not set(made) & set(WEAPONS.replace("\n", ""))


MARKDOWN = "a|b\n# c\n[d](javascript:e) ![f](http://g/h.png) <i>{{ 7*7 }}{% raw %} `j` ---\nlicense: mit"


def test_cards_keep_what_others_say_in_its_place(small_model, small_processor):
    assert as_markdown("[a](b)|<c>`d`") == r"[a]\(b)\|&lt;c&gt;\`d\`"
    found = results() | {"data": {"name": MARKDOWN}, "command": f"mvfer evaluate '```\n# {MARKDOWN}'"}
    found["transfer"] = {MARKDOWN: found["transfer"]["ict"]}
    info = {"name": MARKDOWN, "source": MARKDOWN, "license": MARKDOWN}
    card = model_card(small_model, small_processor, results=found, datasets=[info])
    head, _, text = card.removeprefix("---\n").partition("\n---\n")
    assert yaml.safe_load(head)["license"] == "other"
    plain = re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)  # within code nothing is a link
    assert r"{{ 7\*7 }}" in plain and "](javascript" not in plain and "](http://g" not in plain and "<i>" not in plain
    rows = [line for line in text.splitlines() if line.startswith("| a")]
    assert rows and all(line.replace(r"\|", "").count("|") in (4, 6) for line in rows)
    assert text.count("```") % 2 == 0 and sum(line.startswith("# ") for line in plain.splitlines()) == 1


def test_the_card_of_a_data_set_keeps_what_others_say_in_its_place():
    plain = {
        "name": "a",
        "license": "mit",
        "source": "b",
        "source_url": "c",
        "source_version": "d",
        "sharing": "e",
        "citation": "f",
    }
    info = dict.fromkeys(plain, MARKDOWN) | {
        "rows": {"train": 1, "validation": 0, "test": 0}, "subjects": {"train": 1}, "renderer": "r", "seed": 0, "rejected": 0,
        "build": {"languages": ["en", "en\nlicense: mit"], "geometry_only": True, "label_prompts": False}, "synthetic": False,
        "view_angles_deg": [[0, 0]], "channels": ["clay"], "render_settings": {"size_px": 8},
    }  # fmt: skip
    head, _, text = data_card.write(info).removeprefix("---\n").partition("\n---\n")
    metadata = yaml.safe_load(head)
    assert metadata["license"] != "mit" and len(metadata["language"]) == 2 and "](javascript" not in text
    assert [line for line in text.splitlines() if line.startswith("# ")] == [
        line for line in text.splitlines()[:3] if line[:2] == "# "
    ]


def test_logs_take_any_name(tmp_path):
    schema.write_rejected(tmp_path, [{"id": name, "reason": name} for name in NAMES])
    schema.write_json(tmp_path / "a.json", {name: name for name in NAMES})
    text = (tmp_path / schema.REJECTED_FILE).read_text() + (tmp_path / "a.json").read_text()
    assert not set(text) & set(WEAPONS.replace("\n", ""))
    assert [row["id"] for row in schema.read_rejected_file(tmp_path)] == NAMES
    assert json.loads((tmp_path / "a.json").read_text()) == {name: name for name in NAMES}
    assert json.loads(shown_json(json.dumps(WEAPONS, ensure_ascii=False))) == WEAPONS


ROOT = Path(__file__).parents[1]
TAME = ("shown", "shown_lines", "shown_json", "printable", "len")  # what makes text tame, or a number of it
FOREIGN = {
    "args",
    "path",
    "folder",
    "out",
    "fault",
    "chosen",
}  # what these commands call files, folders and parts of them


def foreign(node: ast.AST) -> list[str]:
    """Names in an expression that nothing makes tame."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in TAME:
        return []
    if isinstance(node, ast.Name):
        return [node.id] if node.id in FOREIGN else []
    return [name for child in ast.iter_child_nodes(node) for name in foreign(child)]


@pytest.mark.parametrize(
    "command", ["audit", "check", "distribute", "evaluate", "export", "federate", "forget", "poc", "study"]
)
def test_what_a_command_prints_of_folders_and_names_is_made_tame_first(command):
    tree = ast.parse((ROOT / "mvfer" / "cli" / f"{command}.py").read_text(encoding="utf-8"))
    prints = [
        node for node in ast.walk(tree) if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "print"
    ]
    assert prints
    for call in prints:
        parts = [part.value for node in call.args for part in ast.walk(node) if isinstance(part, ast.FormattedValue)]
        plain = [node for node in call.args if not isinstance(node, ast.JoinedStr)]
        found = [name for part in [*parts, *plain] for name in foreign(part)]
        assert found == [], ast.unparse(call)


def test_a_log_of_a_hostile_name_is_verified_on_tame_lines(tmp_path, capsys):
    path = tmp_path / f"a{CLEAR}{TITLE}b.jsonl"
    log = AuditLog(path, user="somebody", key_file=tmp_path / "key")
    log.write(command="predict", model="m", source=np.zeros(3), settings={}, answer={"a": 1.0}, abstain=None)
    path.write_text(path.read_text().replace("somebody", "else"))
    assert main(["audit", "verify", str(path), "--audit_key", str(tmp_path / "key")]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 1 and all(map(is_tame, lines)) and all("\\x1b[2J" in line for line in lines)
