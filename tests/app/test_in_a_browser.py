"""The app in headless Chromium, end to end: what a visitor drops, sees and is told. Needs gradio, playwright and chromium."""

import os
import re
import shutil
import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from mvfer.app.examples import write_smile
from tests.app.test_desk import ball

pytest.importorskip("gradio")
playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no chromium")]
EXAMPLES = Path(__file__).parents[2] / "examples"
ROOT = EXAMPLES.parent
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
PATIENCE_MS = 120_000


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The address of a running app, and the folder of its temporary files."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    temporary = tmp_path_factory.mktemp("temporary")
    env = os.environ | {"TMPDIR": str(temporary), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "mvfer", "app", "--port", str(port)]
    with subprocess.Popen(command, env=env, cwd=temporary, stderr=subprocess.PIPE, text=True) as process:
        said = next((line for line in process.stderr if "http://" in line), "it ended before it listened")
        assert f"http://127.0.0.1:{port}" in said, said
        yield f"http://127.0.0.1:{port}", temporary
        process.terminate()
        assert process.wait(60) == 0, "SIGTERM ends it in order"
    assert list(temporary.iterdir()) == [], "nothing is kept"


@pytest.fixture(scope="module")
def browser():
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with playwright.sync_playwright() as runner:
        yield runner.chromium.launch(executable_path=CHROMIUM, args=flags)


@pytest.fixture
def visit(server, browser):
    """`visit(viewport)`: the page of a new visitor. In the end no console has an error, and nobody else was asked."""
    address, _ = server
    contexts, faults = [], []

    def note(request) -> None:
        if not request.url.startswith((address, "data:", "blob:")):
            faults.append(f"asked for {request.url}")

    def open_page(viewport=DESKTOP):
        contexts.append(browser.new_context(viewport=viewport))
        page = contexts[-1].new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", note)
        page.goto(address)
        page.wait_for_selector("#files input[type=file]", state="attached")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert faults == []


def drop(page, *files: str | Path):
    page.set_input_files("#files input[type=file]", [str(file) for file in files])


def result(page, containing: str) -> str:
    """The result's text, once it says so."""
    page.wait_for_function("text => document.querySelector('#result').innerText.includes(text)", arg=containing)
    return page.inner_text("#result")


def screenshot(page, folder: Path, name: str) -> None:
    """Of the whole page, which is no wider than its window; `MVFER_SCREENSHOTS` names a folder to look at them later."""
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), "nothing is cut off at the side"
    page.screenshot(path=str(Path(os.environ.get("MVFER_SCREENSHOTS", folder)) / f"{name}.png"), full_page=True)


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_the_law_is_on_the_first_screen_and_an_example_is_told(viewport, visit, tmp_path):
    page, name = visit(viewport), f"example_{viewport['width']}"
    law = page.locator("text=Art. 5(1)(f)").first.bounding_box()
    assert law is not None and law["y"] + law["height"] <= viewport["height"]
    assert "for trying out, not for use" in page.inner_text("body") and "Nothing is stored" in page.inner_text("body")
    screenshot(page, tmp_path, f"first_{viewport['width']}")
    page.click("button:has-text('happiness')")
    shown = result(page, "Example: happiness")
    assert "weight 0." in shown and "front" in shown
    heights = page.evaluate("[...document.querySelectorAll('#result .bar span')].map(span => span.offsetHeight)")
    assert max(heights) < 30, "the name of a label stands on one line"
    page.click("#where")
    page.wait_for_selector("text=Where it was read")
    screenshot(page, tmp_path, name)


def test_a_dropped_mesh_is_told_and_words_typed_live_are_told_anew(visit, tmp_path):
    page = visit()
    drop(page, EXAMPLES / "surprise.ply")
    assert re.search(r"surprise\s+> 99.9 %|surprise\s+\d+\.\d %", result(page, "surprise.ply"))
    page.fill("#labels textarea", "lip corners pulled up\nmouth wide open")
    shown = result(page, "mouth wide open")
    assert "cannot say when to abstain" in shown and "neutral" not in shown
    page.fill("#labels textarea", "")
    result(page, "no label; type one a line")


def test_a_zip_of_frames_is_a_sequence_with_a_timeline(visit, tmp_path):
    with zipfile.ZipFile(tmp_path / "smile.zip", "w") as archive:
        for path in write_smile(tmp_path):
            archive.write(path, Path(path).name)
    page = visit(PHONE)
    drop(page, tmp_path / "smile.zip")
    shown = result(page, "Over time")
    assert "17 meshes, read as a sequence in the order of the numbers in their names" in shown
    assert page.locator("#result polyline").count() == 5
    screenshot(page, tmp_path, "sequence_390")


def test_photos_are_views_and_the_model_says_that_it_does_not_know_photos(visit, tmp_path):
    for camera in range(3):
        Image.radial_gradient("L").rotate(20 * camera).convert("RGB").save(tmp_path / f"cam{camera}.png")
    page = visit()
    drop(page, *sorted(tmp_path.glob("cam*.png")))
    assert "learnt from drawings of shape, not from photos" in result(page, "The model abstains.")
    assert page.locator("#result img").count() == 3
    screenshot(page, tmp_path, "photos_1280")


def test_what_cannot_be_read_or_is_no_face_is_told_in_words(visit, tmp_path):
    (tmp_path / "broken.ply").write_text("ply\nnot really")
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr("../evil.ply", "x")
    page = visit(PHONE)
    drop(page, tmp_path / "broken.ply")
    assert "broken.ply: " in result(page, "This could not be read.")
    drop(page, tmp_path / "evil.zip")
    result(page, "a place outside of itself")
    screenshot(page, tmp_path, "bad_390")
    drop(page, ball(tmp_path))
    result(page, "No face was found in this scan")


def test_ten_visitors_at_once_each_get_their_own_answer(visit, tmp_path):
    pages = [visit() for _ in range(10)]
    names = ["happiness", "neutral", "surprise"]
    for number, page in enumerate(pages):  # three with the very same file, under names of their own
        file = tmp_path / f"visitor_{number}.ply"
        shutil.copy(EXAMPLES / f"{names[number % 3]}.ply", file)
        drop(page, file)
    told = []
    for number, page in enumerate(pages):
        shown = result(page, f"visitor_{number}.ply")
        assert not any(f"visitor_{other}.ply" in shown for other in range(10) if other != number)
        told.append(shown.replace(f"visitor_{number}.ply", ""))
    assert told == [told[number % 3] for number in range(10)] and len(set(told)) == 3, "the same of the same file"
