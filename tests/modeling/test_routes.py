"""Every way from a saved model to an answer, where our packages are installed and where they are not: all give the same logits.

Each folder is written as users write it. A stranger's process, which has none of our packages and no numba, goes every route on
every folder; its answers are compared with those of `load_run` on the same folder. So are those of our own routes, of which
`python -m pytest -v tests/modeling/test_routes.py` prints a line each.
"""

import contextlib
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    AutoModel,
    AutoModelForImageClassification,
    AutoModelForZeroShotImageClassification,
    AutoProcessor,
    Trainer,
    TrainingArguments,
    pipeline,
)

from modeling_mvfer import Classifier, MVFERForFaceClassification, MVFERStream
from modeling_mvfer.zeroshot_mvfer import class_prompts
from mvfer.cli.main import main
from mvfer.hub.load import load_run
from mvfer.hub.run_folder import save_run
from tests.modeling.stranger import as_a_stranger

pytestmark = pytest.mark.slow
TEXTS = ["lip corners pulled up", "jaw dropped"]
LABELS = ["happiness", "sadness", "surprise"]
ROUTES = """
def logits(model, **faces):
    with torch.no_grad():
        return model.float().eval()(**processor(**faces, return_tensors="pt")).logits_per_image.tolist()

def scores(rows):
    return {row["label"]: row["score"] for row in rows}

import transformers
from transformers import AutoModel, AutoModelForImageClassification, AutoModelForZeroShotImageClassification

photo = Image.open(photo)
options32 = options | {"dtype": "float32"}
for name, folder in folders.items():
    processor = AutoProcessor.from_pretrained(folder, **options)
    model = AutoModel.from_pretrained(folder, **options)
    if name == "save_pretrained":
        model.save_pretrained(again)
        processor.save_pretrained(again)
        transformers.pipeline("zero-shot-mesh-classification", model=folder, **options).save_pretrained(again_by_pipeline)
    found[name] = {
        "AutoModel": logits(model, meshes=[mesh], text=TEXTS),
        "AutoModelForZeroShotImageClassification": logits(
            AutoModelForZeroShotImageClassification.from_pretrained(folder, **options), meshes=[mesh], text=TEXTS
        ),
        "AutoModelForImageClassification": list(
            AutoModelForImageClassification.from_pretrained(folder, num_labels=4, **options).head.weight.shape
        ),
        "mesh pipeline": scores(pipeline("zero-shot-mesh-classification", model=folder, **options32)(mesh, LABELS)),
        "photo pipeline": scores(
            pipeline("zero-shot-image-classification", model=folder, **options32)(photo, candidate_labels=LABELS)
        ),
        "image-feature-extraction": pipeline("image-feature-extraction", model=folder, **options32)(photo),
    }
"""
CLASSIFIER = """
from transformers import AutoModel, AutoModelForImageClassification

processor = AutoProcessor.from_pretrained(folder, **options)
with torch.no_grad():
    inputs = processor(meshes=[mesh], return_tensors="pt")
    model = AutoModelForImageClassification.from_pretrained(folder, **options)
    found["AutoModelForImageClassification"] = model(**inputs).logits.tolist()
    found["AutoModel"] = AutoModel.from_pretrained(folder, **options).get_mesh_features(**inputs).pooler_output.tolist()
found["new head"] = list(AutoModelForImageClassification.from_pretrained(
    folder, num_labels=5, ignore_mismatched_sizes=True, **options
).head.weight.shape)
found["pipeline"] = pipeline("mesh-classification", model=folder, **options)(mesh)
found["stock pipeline"] = pipeline("image-classification", model=folder, **options)(Image.open(photo))
"""
WAYS = ["save_run", "save_pretrained", "load and save", "Trainer", "pipeline", "float16", "bfloat16", "shards"]
NAMES = [*WAYS, "a stranger's", "a stranger's pipeline"]


@pytest.fixture(scope="module")
def photo(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("photo") / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 50, 3), dtype=np.uint8)).save(path)
    return str(path)


@pytest.fixture(scope="module")
def folders(small_model, small_processor, tmp_path_factory) -> dict[str, Path]:
    """A folder for each way of saving."""
    root = tmp_path_factory.mktemp("routes")
    paths = {name: root / name.replace(" ", "_") for name in WAYS}
    save_run(paths["save_run"], small_model, small_processor)
    loaded, processor = load_run(paths["save_run"])
    both = {
        "save_pretrained": (small_model, {}),
        "load and save": (loaded, {}),
        "float16": (load_run(paths["save_run"])[0].half(), {}),
        "bfloat16": (load_run(paths["save_run"])[0].bfloat16(), {}),
        "shards": (loaded, {"max_shard_size": "500KB"}),
    }
    for name, (model, options) in both.items():
        model.save_pretrained(paths[name], **options)
        processor.save_pretrained(paths[name])
    arguments = TrainingArguments(output_dir=str(root / "trainer"), use_cpu=True, report_to=[])
    Trainer(loaded, arguments, processing_class=processor).save_model(str(paths["Trainer"]))
    task = "zero-shot-mesh-classification"
    pipeline(task, model=str(paths["save_run"]), trust_remote_code=True).save_pretrained(paths["pipeline"])
    return paths


@pytest.fixture(scope="module")
def strangers(folders, photo, face_obj, tmp_path_factory) -> tuple[dict, dict[str, Path]]:
    """What the stranger found in each folder, and the folders, with two that it wrote itself."""
    cache = tmp_path_factory.mktemp("stranger")
    own = {"a stranger's": cache / "again", "a stranger's pipeline": cache / "again_by_pipeline"}
    everywhere = folders | own  # its own are written on the way
    values = {"mesh": face_obj, "photo": photo, "TEXTS": TEXTS, "LABELS": LABELS}
    values |= {"again": str(own["a stranger's"]), "again_by_pipeline": str(own["a stranger's pipeline"])}
    values["folders"] = {name: str(path) for name, path in everywhere.items()}
    return as_a_stranger(ROUTES, values, cache=cache), everywhere


@torch.no_grad()
def at_home(folder: Path, mesh: str, photo: str) -> dict:
    """The same answers by `load_run`."""
    model, processor = load_run(folder)
    classify = Classifier.from_prompts(model, processor, LABELS)
    inputs = processor(meshes=[mesh], text=TEXTS, return_tensors="pt")
    logits, found = model(**inputs).logits_per_image, {}
    for name, faces in (("mesh pipeline", {"meshes": [mesh]}), ("photo pipeline", {"images": [[Image.open(photo)]]})):
        probabilities = classify(processor(**faces, return_tensors="pt")).probabilities[0]
        found[name] = dict(zip(LABELS, probabilities.tolist(), strict=True))
    embeds = model(**processor(images=[Image.open(photo)], return_tensors="pt")).image_embeds
    return found | {"logits": logits, "embeds": embeds}


@pytest.mark.parametrize("name", NAMES)
def test_a_stranger_gets_the_logits_of_home_on_every_route(strangers, name, face_obj, photo):
    (found, folders), close = strangers, {"rtol": 0, "atol": 1e-5}
    found, expected = found[name], at_home(folders[name], face_obj, photo)
    for route in ("AutoModel", "AutoModelForZeroShotImageClassification"):
        torch.testing.assert_close(torch.tensor(found[route]), expected["logits"], **close)
    for route in ("mesh pipeline", "photo pipeline"):
        assert found[route] == pytest.approx(expected[route], abs=1e-5)
    torch.testing.assert_close(torch.tensor(found["image-feature-extraction"]), expected["embeds"], **close)
    assert found["AutoModelForImageClassification"] == [4, expected["embeds"].shape[1]]


@torch.no_grad()
@pytest.mark.parametrize("name", ["save_pretrained", "shards", "Trainer"])
def test_at_home_the_auto_classes_give_our_own_classes_and_the_same_logits(folders, name, face_obj, photo):
    folder, expected = str(folders[name]), at_home(folders[name], face_obj, photo)["logits"]
    inputs = AutoProcessor.from_pretrained(folder)(meshes=[face_obj], text=TEXTS, return_tensors="pt")
    for auto in (AutoModel, AutoModelForZeroShotImageClassification):
        model = auto.from_pretrained(folder).eval()
        assert type(model).__module__ == "modeling_mvfer.modeling_mvfer"
        torch.testing.assert_close(model(**inputs).logits_per_image, expected, rtol=0, atol=1e-5)
    assert type(AutoModelForImageClassification.from_pretrained(folder)) is MVFERForFaceClassification


def by_forward(folder: str, mesh: str) -> dict[str, float]:
    model, processor = load_run(folder)
    prompts = class_prompts(processor, model.config, LABELS)
    texts = [text for described in prompts.values() for text in described]
    with torch.no_grad():
        outputs = model(**processor(meshes=[mesh], text=texts, return_tensors="pt"))
    return scores_of(processor.post_process_zero_shot(outputs, prompts)[0])


def by_command(folder: str, mesh: str) -> dict[str, float]:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert main(["predict", mesh, "--model", folder, "--labels", *LABELS, "--json"]) == 0
    return scores_of(json.loads(printed.getvalue())["scores"])


def by_stream(folder: str, mesh: str) -> dict[str, float]:
    return dict(MVFERStream(*load_run(folder), LABELS).push(mesh, 0.0).probabilities)


def by_task(task: str) -> Callable[[str, str], dict[str, float]]:
    return lambda folder, mesh: scores_of(
        pipeline(task, model=folder, trust_remote_code=True)(mesh, candidate_labels=LABELS)
    )


def by_onnx(folder: str, mesh: str) -> dict[str, float]:
    session = pytest.importorskip("onnxruntime").InferenceSession
    pytest.importorskip("onnxscript")
    graphs = Path(folder).with_name("graphs")
    with contextlib.redirect_stdout(io.StringIO()):
        assert main(["export", folder, "--out", str(graphs), "--labels", *LABELS]) == 0
    facts, processor = json.loads((graphs / "export.json").read_text()), load_run(folder)[1]

    def run(name: str, inputs) -> np.ndarray:
        graph = session(graphs / f"{name}.onnx")
        return graph.run(None, {one.name: np.asarray(inputs[one.name]) for one in graph.get_inputs()})[0]

    faces = processor(meshes=[mesh], return_tensors="np")
    views = run("views", {"view_mask": np.ones(faces["pixel_values"].shape[:2], dtype=bool), **faces})
    texts = {
        label: run("texts", processor(text=prompts, return_tensors="np")) for label, prompts in facts["prompts"].items()
    }
    likelihood = np.array([np.exp(facts["scale"] * views @ embeds.T).mean() for embeds in texts.values()])
    return dict(zip(texts, (likelihood / likelihood.sum()).tolist(), strict=True))


def scores_of(rows: list[dict]) -> dict[str, float]:
    return {row["label"]: row["score"] for row in rows}


OURS = {
    "forward and post_process_zero_shot": by_forward,
    "mvfer predict": by_command,
    "MVFERStream, one frame": by_stream,
    "pipeline zero-shot-mesh-classification": by_task("zero-shot-mesh-classification"),
    "pipeline zero-shot-image-classification": by_task("zero-shot-image-classification"),
    "mvfer export": by_onnx,
}


@pytest.mark.parametrize("route", OURS)
def test_at_home_every_route_gives_the_probabilities_of_the_classifier(folders, route, face_obj, photo):
    folder = str(folders["save_run"])
    assert OURS[route](folder, face_obj) == pytest.approx(at_home(folder, face_obj, photo)["mesh pipeline"], abs=1e-5)


@torch.no_grad()
def test_at_home_every_way_to_features_gives_the_same(folders, face_obj, photo):
    folder = str(folders["save_run"])
    model, processor = load_run(folder)
    inputs = processor(meshes=[face_obj], return_tensors="pt")
    features, close = model.get_image_features(**inputs).pooler_output, {"rtol": 0, "atol": 1e-5}
    torch.testing.assert_close(model.get_mesh_features(**inputs).pooler_output, features, **close)
    torch.testing.assert_close(model(**inputs).image_embeds, torch.nn.functional.normalize(features, dim=-1), **close)
    found = torch.tensor(pipeline("image-feature-extraction", model=folder, trust_remote_code=True)(photo))
    torch.testing.assert_close(found, at_home(folder, face_obj, photo)["embeds"], **close)


@torch.no_grad()
def test_a_stranger_uses_a_classifier_on_every_route(small_model, small_processor, face_obj, photo, tmp_path):
    model = MVFERForFaceClassification.from_model(small_model, LABELS)
    model.save_pretrained(tmp_path / "tuned")
    small_processor.save_pretrained(tmp_path / "tuned")
    values = {"folder": str(tmp_path / "tuned"), "mesh": face_obj, "photo": photo}
    found = as_a_stranger(CLASSIFIER, values, cache=tmp_path)
    inputs, close = small_processor(meshes=[face_obj], return_tensors="pt"), {"rtol": 0, "atol": 1e-5}
    logits = model(**inputs).logits
    torch.testing.assert_close(torch.tensor(found["AutoModelForImageClassification"]), logits, **close)
    features = small_model.get_mesh_features(**inputs).pooler_output
    torch.testing.assert_close(torch.tensor(found["AutoModel"]), features, **close)
    assert found["new head"] == [5, features.shape[1]]
    expected = dict(zip(LABELS, logits.softmax(-1)[0].tolist(), strict=True))
    assert {row["label"]: row["score"] for row in found["pipeline"]} == pytest.approx(expected, abs=1e-5)
    assert {row["label"] for row in found["stock pipeline"]} == set(LABELS)


@pytest.mark.parametrize(
    "code",
    [
        "from mvfer import MVFERProcessor; MVFERProcessor.from_pretrained(FOLDER)",
        "import processing; from transformers import AutoModel; AutoModel.from_pretrained(FOLDER)",
        "import modeling_mvfer; from transformers import AutoProcessor; AutoProcessor.from_pretrained(FOLDER)",
        "import mvfer; from transformers import pipeline; pipeline('zero-shot-mesh-classification', model=mvfer.model())",
    ],
)
def test_no_question_is_asked_where_a_part_of_the_package_is_imported(small_run, code):
    program = f"FOLDER = {str(small_run)!r}\n{code}"
    done = subprocess.run([sys.executable, "-c", program], input="", capture_output=True, text=True)
    assert done.returncode == 0 and "y/N" not in done.stdout, done.stderr[-2000:]
