"""Faces and words behind one call, saved and loaded, here and where our packages do not exist."""

import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoProcessor, CLIPImageProcessorPil, CLIPProcessor

from mvfer.data.tokenizer import build_tokenizer
from processing import MVFERImageProcessor, MVFERProcessor

from .test_image_processing import head, photo, write_obj


@pytest.fixture(scope="module")
def processor():
    tokenizer = build_tokenizer(["a smiling face", "jaw dropped, left lip corner pulled up"])
    return MVFERProcessor(MVFERImageProcessor.from_render_settings({"size_px": 24}), tokenizer)


def test_meshes_and_text_go_in_together(processor, tmp_path):
    path = str(write_obj(tmp_path / "face.obj", head()))
    inputs = processor(meshes=[path], text=["a smiling face", "jaw dropped"], return_tensors="pt")
    assert set(inputs) == {"pixel_values", "view_mask", "view_angles_deg", "input_ids", "attention_mask"}
    assert inputs["pixel_values"].shape == (1, 3, 3, 24, 24)
    assert inputs["attention_mask"].tolist() == [[1, 1, 1, 1, 1], [1, 1, 1, 1, 0]]
    assert set(inputs) <= set(processor.model_input_names) | {"input_ids", "attention_mask"}


def test_each_part_alone_equals_its_own_processor(processor):
    text = processor(text=["a smiling face"], return_tensors="pt")
    assert set(text) == {"input_ids", "attention_mask"}
    torch.testing.assert_close(
        text["input_ids"], processor.tokenizer(["a smiling face"], return_tensors="pt")["input_ids"]
    )
    for faces in (dict(images=[photo()]), dict(images=[[photo()] * 2]), dict(sequences=[{"frames": [head()] * 3}])):
        ours, own = processor(**faces, return_tensors="pt"), processor.image_processor(**faces, return_tensors="pt")
        assert set(ours) == set(own)
        for name in own:
            torch.testing.assert_close(ours[name], own[name])


def test_settings_of_both_parts_can_be_given_in_the_call(processor):
    inputs = processor(
        sequences=[{"frames": [head()] * 5}],
        text=["a smiling face"],
        num_frames=2,
        view_angles_deg=[[10, 0]],
        padding="max_length",
        return_tensors="pt",
    )
    assert inputs["pixel_values"].shape == (1, 2, 1, 3, 24, 24)
    assert inputs["input_ids"].shape == (1, 64)


def test_without_return_tensors_text_stays_lists(processor):
    inputs = processor(text="a smiling face")
    assert isinstance(inputs["input_ids"], list)


def test_prompts_come_from_the_prompt_bank(processor):
    prompts = processor.prompts_for(["happiness", "a raised chin"])
    assert list(prompts) == ["happiness", "a raised chin"] and all(prompts.values())


@pytest.mark.parametrize(
    "call, message",
    [
        (dict(), "expected images, meshes, sequences or text, got none"),
        (dict(images=[photo()], meshes=[head()]), "expected one of images, meshes, sequences"),
        (dict(text=[]), "non-empty list of strings"),
        (dict(text=[1]), "non-empty list of strings"),
        (dict(meshes=["no/such/face.obj"]), "no/such/face.obj"),
    ],
)
def test_bad_calls_are_refused(processor, call, message):
    with pytest.raises(ValueError, match=message):
        processor(**call, return_tensors="pt")


def test_it_comes_back_from_disk_through_the_auto_classes(processor, tmp_path):
    processor.save_pretrained(tmp_path)
    expected = processor(meshes=[head()], text=["jaw dropped"], return_tensors="pt")
    for loaded in (MVFERProcessor.from_pretrained(tmp_path), AutoProcessor.from_pretrained(tmp_path)):
        assert type(loaded) is MVFERProcessor and type(loaded.image_processor) is MVFERImageProcessor
        again = loaded(meshes=[head()], text=["jaw dropped"], return_tensors="pt")
        for name in expected:
            torch.testing.assert_close(again[name], expected[name])
    assert type(AutoImageProcessor.from_pretrained(tmp_path)) is MVFERImageProcessor


def test_the_saved_folder_holds_the_code_it_needs_and_nothing_that_stays_home(processor, tmp_path):
    processor.save_pretrained(tmp_path)
    code = {path.name for path in tmp_path.glob("*.py")}
    assert {"processing_mvfer.py", "image_processing_mvfer.py", "meshes_mvfer.py", "rendering_mvfer.py"} <= code
    assert all(name.endswith("_mvfer.py") for name in code)
    saved = json.loads((tmp_path / "processor_config.json").read_text())
    assert saved["auto_map"]["AutoProcessor"] == "processing_mvfer.MVFERProcessor"
    assert str(tmp_path.parent) not in (tmp_path / "processor_config.json").read_text()


ELSEWHERE = """
import sys
from types import SimpleNamespace

class NoPackagesOfOurs:
    def find_spec(self, name, path=None, target=None):
        ours = {"processing", "modeling_mvfer", "dataset_scripts", "mvfer", "train"}
        if name.partition(".")[0] in ours:
            raise ImportError(f"{name} is not installed here")

sys.meta_path.insert(0, NoPackagesOfOurs())
import torch
torch.set_num_threads(1)
from PIL import Image
from transformers import AutoImageProcessor, AutoProcessor, CLIPImageProcessorPil, CLIPProcessor

folder, mesh, picture, out = sys.argv[1:]
processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
assert type(processor).__module__.startswith("transformers_modules."), type(processor).__module__
assert type(processor.image_processor).__module__.startswith("transformers_modules.")
batch = dict(processor(meshes=[mesh], text=["jaw dropped"], return_tensors="pt"))
images = AutoImageProcessor.from_pretrained(folder, trust_remote_code=True)
batch["photo"] = images(images=[Image.open(picture)], return_tensors="pt")["pixel_values"]
torch.save(batch, out)
"""


@pytest.mark.slow
def test_a_process_without_our_packages_loads_it_as_remote_code(processor, tmp_path):
    folder = tmp_path / "model"
    processor.save_pretrained(folder)
    mesh, picture = write_obj(tmp_path / "face.obj", head()), tmp_path / "photo.png"
    photo().save(picture)
    (tmp_path / "elsewhere.py").write_text(ELSEWHERE)
    environment = {
        "PATH": "/usr/bin:/bin",
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-I", "elsewhere.py", folder, mesh, picture, "batch.pt"]
    subprocess.run([str(part) for part in command], cwd=tmp_path, env=environment, check=True, timeout=120)
    batch = torch.load(tmp_path / "batch.pt")
    expected = dict(processor(meshes=[mesh], text=["jaw dropped"], return_tensors="pt"))
    expected["photo"] = processor(images=[Image.open(picture)], return_tensors="pt")["pixel_values"]
    for name in expected:
        torch.testing.assert_close(batch[name], expected[name])


def test_saving_twice_gives_the_same_files(processor, tmp_path):
    for name in ("a", "b"):
        processor.save_pretrained(tmp_path / name)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_random_pixels_and_a_render_get_the_same_mean_and_spread(processor):
    pixels = np.random.default_rng(0).integers(0, 255, (24, 24, 3), dtype=np.uint8)
    as_photo = processor(images=[Image.fromarray(pixels)], return_tensors="pt")["pixel_values"][0]
    torch.testing.assert_close(as_photo, processor.image_processor.normalize_views(pixels))


def test_a_plain_clip_gives_its_tokenizer_and_how_it_reads_photos(processor, tmp_path):
    size = {"height": 24, "width": 24}
    clip = CLIPProcessor(
        CLIPImageProcessorPil(
            size={"shortest_edge": 30}, crop_size=size, image_mean=[0.1, 0.2, 0.3], image_std=[0.5] * 3
        ),
        processor.tokenizer,
    )
    clip.save_pretrained(tmp_path)
    loaded = MVFERProcessor.from_pretrained(tmp_path)
    assert type(loaded.image_processor) is MVFERImageProcessor and loaded.image_processor.size_px == 24
    moment = [photo(), photo(), photo()]
    inputs = loaded(images=[moment], text=["jaw dropped"], return_tensors="pt")
    assert inputs["pixel_values"].shape == (1, 3, 3, 24, 24)
    theirs = clip(images=moment, text=["jaw dropped"], return_tensors="pt")
    torch.testing.assert_close(inputs["pixel_values"][0], theirs["pixel_values"])
    assert torch.equal(inputs["input_ids"], theirs["input_ids"])


def test_the_backend_of_a_machine_is_not_stored(processor, tmp_path):
    assert processor.image_processor.render_backend == "auto"
    MVFERImageProcessor(render_backend="torch").save_pretrained(tmp_path)
    file = tmp_path / "preprocessor_config.json"
    assert json.loads(file.read_text())["render_backend"] == "auto"
    earlier = file.read_text().replace('"render_backend": "auto"', '"render_backend": "numba"')
    file.write_text(earlier)
    assert MVFERImageProcessor.from_pretrained(tmp_path).render_backend == "auto"
    assert MVFERImageProcessor.from_pretrained(tmp_path, render_backend="torch").render_backend == "torch"


def test_logits_become_ranked_labels_and_prompts_count_together(processor):
    logits = torch.tensor([[1.0, 3.0, 2.0], [0.0, 0.0, 5.0]])
    outputs = SimpleNamespace(logits_per_image=logits)
    rows = processor.post_process_zero_shot(outputs, ["a", "b", "c"])
    expected = logits.softmax(-1)
    assert [row["label"] for row in rows[0]] == ["b", "c", "a"]
    assert [row["score"] for row in rows[0]] == pytest.approx(sorted(expected[0].tolist(), reverse=True))
    both = processor.post_process_zero_shot(outputs, {"a": ["x", "y"], "b": ["z"]}, top_k=1)
    likelihood = torch.stack([logits.exp()[:, :2].mean(-1), logits.exp()[:, 2]], -1)
    best = (likelihood / likelihood.sum(-1, keepdim=True)).max(-1)
    assert [one["label"] for (one,) in both] == ["ab"[k] for k in best.indices]
    assert [one["score"] for (one,) in both] == pytest.approx(best.values.tolist())
    with pytest.raises(ValueError, match="expected 3 texts"):
        processor.post_process_zero_shot(outputs, ["a", "b"])
