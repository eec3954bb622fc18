"""Every page does what it says: snippets run, flags exist, links lead somewhere, and the first page stays short."""

import re
import shutil
import tomllib
import warnings
from pathlib import Path

import pytest
from PIL import Image

import mvfer
from mvfer.hub.run_folder import save_run
from tests.data.layouts import write_plain_obj
from tests.snippets import commands, compare, parse_command, run_command, run_python, snippets
from tests.tiny import bumpy_face, write_obj
from tests.train.toy import write_toy_data

ROOT = Path(__file__).parents[1]
PAGES = ["README.md", "README.ja.md", "CONTRIBUTING.md", "examples/README.md"]
PAGES += sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.md"))
ONLY_PARSED = ("docs/results.md",)  # its commands made the tables, in hours
# Not run, as it takes minutes, a network, a package that is not there or somebody's licence; its own parser reads it instead.
TOO_LONG = (
    "accelerate launch ",
    "torchrun",
    "python train.py",
    "python -m benchmarks.",
    "python -m tests.fuzz",
    "python -m tests.kills",
    "python -m tests.endurance",
    "python -m dataset_scripts.build_anny",
    "python -m dataset_scripts.build_ict_facekit",
    "python -m dataset_scripts.build_valid",
    "python -m dataset_scripts.build_bu3dfe",
    "python -m dataset_scripts.build_bosphorus",
    "python -m dataset_scripts.push",
    "mvfer evaluate --dataset data/bu3dfe",
    "mvfer push",
    "mvfer adapt",
    "mvfer app",
    "mvfer export",
    "python -m dataset_scripts.build_folder --source somebody/",
    "mvfer federate",
    "mvfer distribute",
)
SHELL = (
    "git clone",
    "cd ",
    "pip install",
    "make ",
    "pre-commit ",
    "ruff ",
    "python -m pytest",
    "python -m tests.bombs",
    "python examples/numpy_views.py",  # which tests/modeling/test_onnx.py runs, and the next one
    "python examples/onnx_predict.py",
)  # not our parsers
ROOMS = ("benchmarks", "dataset_scripts", "docs", "examples", "modeling_mvfer", "mvfer", "processing", "tests")


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def walk(tmp_path_factory) -> Path:
    """What the pages speak of, in small: scans, photos, a sequence, data sets, and runs, which are the bundled model."""
    folder = tmp_path_factory.mktemp("walk")
    shutil.copytree(ROOT / "examples", folder / "examples")
    model, processor = mvfer.load_run(mvfer.model())
    for name in ("first", "demo", "mine", "words"):
        save_run(folder / "runs" / name, model, processor)
        shutil.copy(Path(mvfer.model()) / "results.json", folder / "runs" / name)
        (folder / "runs" / name / "train_config.json").write_text('{"dataset": ["data/anny"]}')
    for name in ("anny", "ict", "own", "recent"):
        write_toy_data(folder / "data" / name, size_px=64, subjects=(8, 6, 6), aim_y=processor.image_processor.aim_y)
    vertices, faces = bumpy_face()
    (folder / "sequence").mkdir()
    for i in range(3):
        write_obj(folder / "sequence" / f"{i}.obj", vertices * [1, 1 + 0.05 * i, 1], faces)
    write_obj(folder / "face.obj", vertices, faces)
    for label in ("happiness", "neutral"):
        (folder / "scans" / label).mkdir(parents=True)
        for i, person in enumerate(("anna", "ben", "cleo")):
            write_plain_obj(folder / "scans" / label / f"{person}_1.obj", i / 3 + 0.1 * (label == "neutral"))
    for i, person in enumerate(("anna", "ben", "cleo")):
        for j, moment in enumerate(("happy_1", "neutral_1")):
            (folder / "photos" / person / moment).mkdir(parents=True)
            for camera in range(3):
                photo = Image.linear_gradient("L").rotate(40 * i + 15 * j + camera).convert("RGB").resize((96, 96))
                photo.save(folder / "photos" / person / moment / f"cam{camera}.jpg")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_snippets_of_a_page_do_what_it_says(page, walk, monkeypatch, tmp_path):
    monkeypatch.chdir(shutil.copytree(walk, tmp_path / "here"))
    names: dict = {}
    for snippet in snippets(text_of(page)):
        if snippet.language == "python":
            run_python(snippet.code, names)
        elif snippet.language == "bash":
            printed = "".join(follow(words, parse_only=page in ONLY_PARSED) for words in commands(snippet.code))
            if snippet.output:
                compare(snippet.output, printed, where=snippet.code)


def follow(words: list[str], *, parse_only: bool) -> str:
    """Run a command of a page, or read its flags where it is one of `TOO_LONG`; what it printed."""
    line = " ".join(words)
    if line.startswith(SHELL):
        check_shell(line)
        return ""
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message=".*found in sys.modules", category=RuntimeWarning
        )  # modules run twice
        if parse_only or line.startswith(TOO_LONG):
            parse_command(words)
            return ""
        in_here = ["--num_proc", "1", "--key_file", "key"] if "dataset_scripts.build_folder" in words else []
        status, printed = run_command([*words, *in_here])
    assert status == 0, f"{line}: exit status {status}"
    return printed


def check_shell(line: str) -> None:
    """What can be said of lines that only a shell reads: extras and targets exist."""
    extras = tomllib.loads(text_of("pyproject.toml"))["project"]["optional-dependencies"]
    for named in re.findall(r"\[([\w,]+)\]", line) if line.startswith("pip") else ():
        assert not set(named.split(",")) - set(extras), f"{line}: pyproject.toml has the extras {', '.join(extras)}"
    if line.startswith("make "):
        assert re.search(rf"^{line.split()[1]}:", text_of("Makefile"), re.MULTILINE), f"{line}: no such target"


def test_a_stale_flag_or_a_wrong_output_is_noticed():
    with pytest.raises(SystemExit):
        parse_command("mvfer evaluate --dataset d --out o --no_such_flag".split())
    with pytest.raises(SystemExit):
        parse_command("accelerate launch train.py --dataset d --no_such_flag".split())
    parse_command("python -m benchmarks.presets --dataset d --out o --view_dropout 0.6".split())
    with pytest.raises(SystemExit):
        parse_command("python -m benchmarks.presets --dataset d --out o --no_such_flag".split())
    run_python("x = 0.1234\nx  # 0.1236\n", {})
    with pytest.raises(AssertionError, match="the page says"):
        run_python("x = 0.1234\nx  # 0.1334\n", {})


def test_the_first_page_is_short():
    words = re.findall(r"\S*\w\S*", text_of("README.md"))
    assert len(words) <= 900
    assert len(text_of("CONTRIBUTING.md").splitlines()) <= 80


@pytest.mark.parametrize("page", PAGES)
def test_prose_is_wrapped(page):
    prose = re.sub(r"^```.*?^```$", "", text_of(page), flags=re.MULTILINE | re.DOTALL)
    lines = [line for line in prose.splitlines() if not line.startswith(("|", "[", "!", "<")) and "](" not in line]
    assert [line for line in lines if len(line) > 100] == []


@pytest.mark.parametrize("page", [*PAGES, "model_card.md", "CHANGELOG.md"])
def test_links_and_named_files_are_there(page):
    text, folder = text_of(page), (ROOT / page).parent
    targets = re.findall(r"\]\((?!https?:)([^)\s]*)\)", text) + re.findall(r'src="([^"]+)"', text)
    for target in targets:
        file, _, anchor = target.partition("#")
        path = folder / file if file else ROOT / page
        assert path.exists(), f"{page}: {target} leads nowhere"
        assert not anchor or anchor in anchors(path), f"{page}: {target}: no such heading"
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    for named in re.findall(rf"`((?:{'|'.join(ROOMS)})/[\w./-]*)`", prose):
        assert page == "CHANGELOG.md" or "NAME" in named or (ROOT / named).exists(), f"{page}: {named} is not there"


def anchors(path: Path) -> set[str]:
    """The headings of a page as links name them."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_example_is_listed():
    for path in (ROOT / "examples").glob("*.py"):
        assert path.name in text_of("examples/README.md")
