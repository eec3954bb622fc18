# ruff: noqa: F811  (fixtures are imported, then named as arguments)
import numpy as np
import pytest
import torch
from PIL import Image
from transformers.dynamic_module_utils import get_class_from_dynamic_module

from modeling_mvfer import MVFERModel, MVFERStream
from modeling_mvfer.stream_mvfer import StreamStep
from modeling_mvfer.zeroshot_mvfer import class_embeddings, class_logits
from mvfer.training.presets import small_config
from tests.tiny import bumpy_face, small_model, small_processor, small_run, write_obj  # noqa: F401

LABELS = ["happiness", "sadness", "surprise"]


@pytest.fixture(scope="module")
def model(small_processor):
    """Fusion and temporal layers that do something."""
    special = {
        f"{kind}_token_id": getattr(small_processor.tokenizer, f"{kind}_token_id") for kind in ("bos", "eos", "pad")
    }
    torch.manual_seed(0)
    config = small_config(vocab_size=len(small_processor.tokenizer), image_size=32, temporal_layers=1, **special)
    model = MVFERModel(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "fusion" in name or "temporal" in name:
                parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def face(amount: float) -> dict:
    vertices, faces = bumpy_face(13)
    vertices = vertices + amount * 0.01 * np.exp(-(((vertices / 0.03) ** 2).sum(1)))[:, None] * [0, 1, 1]
    return {"vertices": vertices.astype(np.float32), "faces": faces}


def photos(seed: int, views: int = 3) -> list[Image.Image]:
    pixels = np.random.default_rng(seed).integers(0, 255, (views, 40, 36, 3), dtype=np.uint8)
    return [Image.fromarray(view) for view in pixels]


@torch.no_grad()
def batch_result(model, processor, **options):
    """The model on whole sequences: probabilities, and the frames' weights."""
    prompts = processor.prompts_for(LABELS, kinds=("actions",), wordings=model.config.prompt_wordings)
    output = model.get_image_features(**options)
    embeds = torch.nn.functional.normalize(output.pooler_output, dim=-1)
    classes = class_embeddings(model, processor.tokenizer, prompts)
    logits = class_logits(embeds, classes, scale=model.logit_scale.exp())[0]
    return logits.softmax(-1), output.frame_weights[0]


def assert_equal(step, expected, tolerance=1e-5):
    probabilities, weights = expected
    torch.testing.assert_close(torch.tensor(list(step.probabilities.values())), probabilities, atol=tolerance, rtol=0)
    torch.testing.assert_close(torch.tensor(step.frame_weights), weights, atol=tolerance, rtol=0)


@pytest.mark.parametrize("magnification", [1.0, 3.0])
def test_a_stream_of_meshes_equals_the_batch_on_the_same_window_at_uneven_times(model, small_processor, magnification):
    image_processor = small_processor.image_processor
    image_processor.magnification, before = magnification, image_processor.magnification
    meshes = [face(amount) for amount in (0, 0.2, 0.7, 1.0, 0.4, 0.1)]
    times = [1.7e9 + t for t in (0, 0.03, 0.11, 0.5, 0.52, 0.9)]
    try:
        stream = MVFERStream(model, small_processor, LABELS, window_s=0.55)
        for t, (mesh, time_s) in enumerate(zip(meshes, times, strict=True)):
            step = stream.push(mesh, time_s)
            window = [s for s in range(t + 1) if times[s] >= time_s - 0.55]
            film = {
                "frames": [meshes[s] for s in window],
                "frame_times_s": [times[s] for s in window],
                "onset": meshes[0],
            }
            inputs = small_processor(sequences=[film], return_tensors="pt")
            assert_equal(step, batch_result(model, small_processor, **inputs))
            assert step.frame_times_s == [times[s] for s in window] and step.time_s == time_s
    finally:
        image_processor.magnification = before
    assert len(window) == 3  # old frames were forgotten on the way
    assert step.apex_time_s == step.frame_times_s[int(np.argmax(step.frame_weights))]


def test_missing_views_equal_masked_ones(model, small_processor):
    angles = [[-30.0, 0.0], [0.0, 0.0], [30.0, 0.0]]
    frames, gone = [photos(t) for t in range(4)], {(0, 1), (2, 0), (2, 1)}
    stream = MVFERStream(model, small_processor, LABELS, view_angles_deg=angles)
    for t, frame in enumerate(frames):
        step = stream.push([None if (t, v) in gone else view for v, view in enumerate(frame)], t / 10)
    inputs = small_processor(sequences=[{"frames": frames, "fps": 10.0}], view_angles_deg=angles, return_tensors="pt")
    for t, v in gone:
        inputs["view_mask"][0, t, v] = False
    assert_equal(step, batch_result(model, small_processor, **inputs))
    with pytest.raises(ValueError, match="at least one view"):
        stream.push([None] * 3, 1.0)
    with pytest.raises(ValueError, match="expected 3 views in every frame"):
        stream.push(photos(9, views=2), 1.0)


def test_a_dropped_frame_equals_one_that_never_was(model, small_processor):
    stream = MVFERStream(model, small_processor, LABELS)
    for t in (0, 1, 3):  # the third is lost
        step = stream.push(photos(t, views=1)[0], t / 25)
    films = [{"frames": [photos(t, views=1) for t in (0, 1, 3)], "frame_times_s": [0.0, 1 / 25, 3 / 25]}]
    assert_equal(step, batch_result(model, small_processor, **small_processor(sequences=films, return_tensors="pt")))


def test_300_frames_cost_one_tower_call_each_and_memory_stays_bounded(model, small_processor):
    stream, seen = MVFERStream(model, small_processor, LABELS, window_s=1e9, window_frames=7), []
    hook = model.vision_model.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(len(kwargs["pixel_values"])), with_kwargs=True
    )
    views = photos(0)
    sizes = []
    for _ in range(300):
        step = stream.push(views)
        sizes.append(sum(f.features.untyped_storage().nbytes() for f in stream._frames))
    hook.remove()
    assert seen == [3] * 300 and len(step.frame_times_s) == 7
    assert sizes[6:] == [7 * 3 * model.config.projection_dim * 4] * 294  # features of 7 frames, and no pixels
    assert step.time_s == pytest.approx(299 / 25)


def test_one_frame_is_the_scan_itself(model, small_processor):
    step = MVFERStream(model, small_processor, LABELS).push(face(1.0))
    inputs = small_processor(meshes=[face(1.0)], return_tensors="pt")
    assert_equal(step, batch_result(model, small_processor, **inputs))
    assert sum(step.probabilities.values()) == pytest.approx(1) and step.frame_weights == [1.0]
    assert step.apex_time_s is None


def test_equal_weights_tell_of_no_apex():
    third = 1 / 3
    assert StreamStep(2.0, {}, None, [0.0, 1.0, 2.0], [third, third + 1e-8, third - 1e-8]).apex_time_s is None
    assert StreamStep(2.0, {}, None, [0.0, 1.0, 2.0], [0.3, 0.4, 0.3]).apex_time_s == 1.0


def test_a_bad_frame_leaves_the_stream_as_it_was(model, small_processor, tmp_path):
    good = [write_obj(tmp_path / f"{t}.obj", *face(t / 2).values()) for t in range(3)]
    stream, other = (MVFERStream(model, small_processor, LABELS) for _ in range(2))
    for push in (lambda: stream.push(str(tmp_path / "missing.obj"), 0.0), lambda: stream.push(good[0], float("nan"))):
        with pytest.raises(ValueError):
            push()
    stream.push(good[0], 0.0)
    (tmp_path / "0.obj").unlink()  # the onset is remembered, not its file
    with pytest.raises(ValueError, match="after 0.0, got 0.0"):
        stream.push(good[1], 0.0)
    stream.push(good[1], 0.1)
    other.push(face(0.0), 0.0)
    other.push(face(0.5), 0.1)
    ours, theirs = stream.push(good[2], 0.2), other.push(face(1.0), 0.2)
    assert ours.probabilities == pytest.approx(theirs.probabilities, abs=1e-4)  # files hold six digits


def test_reset_starts_anew(model, small_processor):
    stream = MVFERStream(model, small_processor, LABELS)
    first = stream.push(face(0.3), 5.0)
    stream.push(face(1.0), 6.0)
    stream.reset()
    assert stream.push(face(0.3), 1.0).probabilities == first.probabilities


@pytest.mark.parametrize("options", [{"window_s": 0}, {"window_frames": 0}, {"prompts": {"joy": ["smile"]}}])
def test_windows_of_nothing_and_prompts_of_nobody_are_refused(model, small_processor, options):
    with pytest.raises(ValueError, match="expected window_s|not among"):
        MVFERStream(model, small_processor, LABELS, **options)


def test_a_model_of_dynamic_images_is_refused(model, small_processor, monkeypatch):
    monkeypatch.setattr(small_processor.image_processor, "frames", "rank_pooled")
    with pytest.raises(ValueError, match="dynamic images"):
        MVFERStream(model, small_processor, LABELS)


def test_the_stream_travels_with_the_model(small_run, small_model, small_processor):
    travelled = get_class_from_dynamic_module("stream_mvfer.MVFERStream", str(small_run))
    assert travelled is not MVFERStream
    ours, theirs = (kind(small_model, small_processor, LABELS).push(face(1.0)) for kind in (MVFERStream, travelled))
    assert ours.probabilities == theirs.probabilities


def test_the_face_of_the_onset_is_searched_once(model, small_processor, monkeypatch):
    from processing import image_processing_mvfer

    searched, search = [], image_processing_mvfer.frame_mesh
    monkeypatch.setattr(
        image_processing_mvfer, "frame_mesh", lambda mesh, **k: searched.append(mesh) or search(mesh, **k)
    )
    stream = MVFERStream(model, small_processor, LABELS)
    for strength in (0.0, 0.5, 1.0):
        stream.push(face(strength))
    assert len(searched) == 1
    stream.reset()
    stream.push(face(1.0))
    assert len(searched) == 2
