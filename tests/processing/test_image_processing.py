"""Photos, meshes and sequences in; padded, normalised pixel values out."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor, CLIPImageProcessorPil

from processing import Mesh, MVFERImageProcessor, RenderSettings, render_mesh
from processing.view_batches_mvfer import normalize_views, pad_views, sample_frames

SIZE = 24
ANGLES = [[-30.0, 0.0], [0.0, 0.0], [30.0, 0.0]]


def head(bump: float = 0.3) -> dict:
    """An egg with a nose, as arrays."""
    latitude, longitude = np.meshgrid(
        np.linspace(0.1, 3.0, 24), np.linspace(0, 2 * np.pi, 32, endpoint=False), indexing="ij"
    )
    x, y, z = np.sin(latitude) * np.sin(longitude), 1.3 * np.cos(latitude), np.sin(latitude) * np.cos(longitude)
    z = z + bump * np.exp(-(x**2 + y**2) / 0.05) * (z > 0)
    corner = (np.arange(23)[:, None] * 32 + np.arange(32)).reshape(-1)
    right = (np.arange(23)[:, None] * 32 + (np.arange(32) + 1) % 32).reshape(-1)
    faces = np.concatenate([np.stack([corner, corner + 32, right], 1), np.stack([right, corner + 32, right + 32], 1)])
    return {"vertices": np.stack([x, y, z], -1).reshape(-1, 3).astype(np.float32), "faces": faces}


def write_obj(path, mesh: dict):
    lines = [f"v {x:.7f} {y:.7f} {z:.7f}" for x, y, z in mesh["vertices"]]
    lines += ["f {} {} {}".format(*(face + 1)) for face in mesh["faces"]]
    path.write_text("\n".join(lines) + "\n")
    return path


def photo(width: int = 40, height: int = 30, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def processor():
    return MVFERImageProcessor.from_render_settings({"size_px": SIZE})


def test_photos_are_processed_as_clip_processes_them(processor):
    clip = CLIPImageProcessorPil(size={"shortest_edge": SIZE}, crop_size={"height": SIZE, "width": SIZE})
    photos = [photo(), photo(30, 50, 1), photo(SIZE, SIZE, 2)]
    ours = processor(images=photos, return_tensors="pt")
    assert set(ours) == {"pixel_values"}
    torch.testing.assert_close(ours["pixel_values"], clip(images=photos, return_tensors="pt")["pixel_values"])


def test_one_photo_is_a_batch_of_one(processor):
    assert processor(photo(), return_tensors="pt")["pixel_values"].shape == (1, 3, SIZE, SIZE)


def test_arrays_tensors_and_gray_photos_are_photos(processor):
    rgb = np.asarray(photo(SIZE, SIZE))
    expected = processor(images=[photo(SIZE, SIZE)], return_tensors="pt")["pixel_values"]
    same = [
        rgb,
        torch.from_numpy(rgb.copy()),
        np.moveaxis(rgb, -1, 0),
        rgb.astype(np.float32),
        rgb.astype(np.float64) / 255,
        photo(SIZE, SIZE).convert("RGBA"),
    ]
    for twin in same:
        torch.testing.assert_close(processor(images=[twin], return_tensors="pt")["pixel_values"], expected)
    gray = photo().convert("L")
    torch.testing.assert_close(
        processor(images=[gray], return_tensors="pt")["pixel_values"],
        processor(images=[np.asarray(gray)], return_tensors="pt")["pixel_values"],
    )


def test_photos_may_be_files_and_arrays_may_have_an_alpha_channel(processor, tmp_path):
    photo().save(tmp_path / "face.png")
    expected = processor(images=[photo()], return_tensors="pt")["pixel_values"]
    for name in (tmp_path / "face.png", str(tmp_path / "face.png")):
        torch.testing.assert_close(processor(images=[name], return_tensors="pt")["pixel_values"], expected)
    alpha = np.asarray(photo().convert("RGBA"))
    torch.testing.assert_close(processor(images=[alpha], return_tensors="pt")["pixel_values"], expected)


GRAY = np.asarray(photo(SIZE, SIZE).convert("L"))


def deep_photos(folder):
    """One photo in 8 bits, and in more: files, opened images, arrays."""
    deep = {
        "u16.png": GRAY.astype(np.uint16) * 257,
        "u16.tif": GRAY.astype(np.uint16) * 257,
        "f32.tif": GRAY / np.float32(255),
    }
    deep |= {"f255.tif": GRAY.astype(np.float32), "i32.tif": GRAY.astype(np.int32) * 257}
    for name, pixels in deep.items():
        Image.fromarray(pixels).save(folder / name)
    return deep


def test_photos_of_16_bits_and_of_floats_look_as_they_do_in_8(processor, tmp_path):
    expected = processor(images=[Image.fromarray(GRAY)], return_tensors="pt")["pixel_values"]
    deep = deep_photos(tmp_path)
    for name in deep:
        with Image.open(tmp_path / name) as opened:
            for form in (tmp_path / name, opened):
                assert torch.equal(processor(images=[form], return_tensors="pt")["pixel_values"], expected), name
    for array in (deep["u16.png"], np.repeat(deep["u16.png"][..., None], 3, -1), deep["f32.tif"]):
        assert torch.equal(processor(images=[array], return_tensors="pt")["pixel_values"], expected)
    rank_pooled = [processor(sequences=[{"frames": [form] * 2}]) for form in (Image.fromarray(GRAY), deep["u16.png"])]
    np.testing.assert_array_equal(*(batch["pixel_values"] for batch in rank_pooled))


@pytest.mark.parametrize(
    "pixels", [np.full((8, 8), 1e4, np.float32), np.full((8, 8), -1, np.int32), np.full((8, 8), 70000)]
)
def test_photos_of_an_unknown_range_are_refused_not_clipped(processor, tmp_path, pixels):
    Image.fromarray(pixels.astype(np.float32 if pixels.dtype.kind == "f" else np.int32)).save(tmp_path / "odd.tif")
    with pytest.raises(ValueError, match=r"odd\.tif: not readable as a photo \(expected pixels in"):
        processor(images=[tmp_path / "odd.tif"])


def test_photos_that_lie_on_their_side_are_turned_as_file_and_as_image(processor, tmp_path):
    lying = photo(SIZE, SIZE)
    exif = lying.getexif()
    exif[0x0112] = 6  # orientation: turn clockwise to look at it
    lying.save(tmp_path / "lying.png", exif=exif)
    upright = Image.fromarray(np.rot90(np.asarray(lying), -1))
    expected = processor(images=[upright], return_tensors="pt")["pixel_values"]
    with Image.open(tmp_path / "lying.png") as opened:
        for form in (tmp_path / "lying.png", opened):
            assert torch.equal(processor(images=[form], return_tensors="pt")["pixel_values"], expected)


def test_a_caller_who_has_scaled_already_says_so(processor):
    pixels = np.asarray(photo(SIZE, SIZE))
    scaled = processor(images=[(pixels / 255).astype(np.float32)], do_rescale=False, return_tensors="pt")[
        "pixel_values"
    ]
    expected = processor(images=[pixels], return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(scaled, expected, atol=0.02, rtol=0)  # the resize to the same size rounds


def test_nested_photos_are_views_and_missing_ones_are_masked(processor):
    batch = processor(images=[[photo(), photo(seed=1)], [photo(seed=2)]], return_tensors="pt")
    assert set(batch) == {"pixel_values", "view_mask"}
    assert batch["pixel_values"].shape == (2, 2, 3, SIZE, SIZE)
    assert batch["view_mask"].tolist() == [[True, True], [True, False]]
    alone = processor(images=[photo(seed=1)], return_tensors="pt")["pixel_values"][0]
    torch.testing.assert_close(batch["pixel_values"][0, 1], alone)


@pytest.mark.parametrize("angles", [ANGLES, [ANGLES], np.array(ANGLES), torch.tensor([ANGLES])])
def test_photos_of_one_moment_may_say_where_they_were_taken_from(processor, angles):
    batch = processor(images=[[photo()] * 3], view_angles_deg=angles, return_tensors="pt")
    torch.testing.assert_close(batch["view_angles_deg"], torch.tensor([ANGLES]))


def test_angles_may_differ_from_sample_to_sample(processor):
    batch = processor(
        images=[[photo()] * 2, [photo()]], view_angles_deg=[[[-20, 0], [20, 5]], [[0, 0]]], return_tensors="pt"
    )
    assert batch["view_angles_deg"].tolist() == [[[-20, 0], [20, 5]], [[0, 0], [0, 0]]]


def test_one_normalisation_serves_any_number_of_axes():
    views = np.random.default_rng(0).integers(0, 255, (2, 4, 3, 5, 6, 3), dtype=np.uint8)
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)
    expected = (np.moveaxis(views, -1, -3) / 255 - np.reshape(mean, (3, 1, 1))) / np.reshape(std, (3, 1, 1))
    for given in (views, torch.from_numpy(views)):
        pixels = normalize_views(given, mean=mean, std=std)
        torch.testing.assert_close(pixels, torch.from_numpy(expected).float())
        assert pixels.is_contiguous()
    with pytest.raises(ValueError, match="uint8 views"):
        normalize_views(views.astype(np.float32), mean=mean, std=std)


def test_a_mesh_becomes_its_rendered_views_normalised(processor):
    batch = processor(meshes=[head()], return_tensors="pt")
    views = render_mesh(Mesh(**head()), processor.render_settings)[0]
    assert views.any()
    torch.testing.assert_close(batch["pixel_values"][0], processor.normalize_views(views))
    torch.testing.assert_close(batch["view_angles_deg"], torch.tensor([ANGLES]))
    assert batch["view_mask"].tolist() == [[True] * 3]


def test_a_mesh_is_the_same_as_path_mesh_trimesh_and_dict(processor, tmp_path):
    trimesh = pytest.importorskip("trimesh")
    path = write_obj(tmp_path / "head.obj", head())
    given = [path, str(path), Mesh(**head()), trimesh.Trimesh(**head(), process=False), head()]
    batch = processor(meshes=given, return_tensors="pt")["pixel_values"]
    for i in range(1, len(given)):
        assert (batch[i] - batch[0]).abs().gt(0.02).float().mean() < 1e-3  # the file rounds coordinates
    for one in given:
        assert processor(meshes=one, return_tensors="pt")["pixel_values"].shape == (1, 3, 3, SIZE, SIZE)


def test_render_settings_can_be_overridden_in_a_call_and_stay_as_they_were(processor):
    before = processor.to_dict()
    batch = processor(meshes=[head()], view_angles_deg=[[0, 0], [45, 10]], channels=["depth"] * 3, return_tensors="pt")
    assert batch["pixel_values"].shape[:2] == (1, 2)
    settings = dataclasses.replace(
        processor.render_settings, view_angles_deg=((0, 0), (45, 10)), channels=("depth",) * 3
    )
    torch.testing.assert_close(
        batch["pixel_values"][0], processor.normalize_views(render_mesh(Mesh(**head()), settings)[0])
    )
    assert processor.to_dict() == before
    assert processor(meshes=[head()], crop_size=16, return_tensors="pt")["pixel_values"].shape[-1] == 16


def test_the_up_axis_of_a_file_can_be_given(processor, tmp_path):
    upright = head()
    lying = upright | {"vertices": upright["vertices"][:, [0, 2, 1]] * [1, -1, 1]}  # z up, face towards -y
    files = write_obj(tmp_path / "y.obj", upright), write_obj(tmp_path / "z.obj", lying)
    one = processor(meshes=[files[0]], return_tensors="pt")["pixel_values"]
    other = processor(meshes=[files[1]], up_axis="z", return_tensors="pt")["pixel_values"]
    assert (one - other).abs().gt(0.02).float().mean() < 1e-3


def test_a_sequence_is_sampled_uniformly_and_padded(processor):
    frames = [head(0.02 * t) for t in range(9)]
    sequences = [{"frames": frames, "fps": 10.0}, {"frames": frames[:2], "frame_times_s": [0.5, 1.0]}]
    batch = processor(sequences=sequences, num_frames=3, return_tensors="pt")
    assert batch["pixel_values"].shape == (2, 3, 3, 3, SIZE, SIZE)
    assert batch["frame_mask"].tolist() == [[True] * 3, [True, True, False]]
    assert batch["view_mask"].tolist() == [[[True] * 3] * 3, [[True] * 3] * 2 + [[False] * 3]]
    torch.testing.assert_close(batch["frame_times_s"], torch.tensor([[0.0, 0.4, 0.8], [0.0, 0.5, 0.0]]))
    torch.testing.assert_close(batch["view_angles_deg"], torch.tensor([ANGLES] * 2))
    views = render_mesh([Mesh(**frames[t]) for t in (0, 4, 8)], processor.render_settings)  # framed once, on the first
    torch.testing.assert_close(batch["pixel_values"][0], processor.normalize_views(views))


def test_a_sequence_of_photos_has_one_or_several_views(processor):
    film = {"frames": [photo(seed=t) for t in range(4)]}
    batch = processor(sequences=[film], return_tensors="pt")
    assert batch["pixel_values"].shape == (1, 4, 1, 3, SIZE, SIZE) and "view_angles_deg" not in batch
    pair = {"frames": [[photo(seed=t), photo(seed=9)] for t in range(3)]}
    batch = processor(sequences=[pair, film], return_tensors="pt")
    assert batch["pixel_values"].shape == (2, 4, 2, 3, SIZE, SIZE)
    assert batch["view_mask"].sum(2).tolist() == [[2, 2, 2, 0], [1, 1, 1, 1]]


def test_frames_are_chosen_by_time_not_by_number():
    times = np.concatenate([np.arange(10) * 0.01, [0.5, 1.0]])
    assert sample_frames(times, 3).tolist() == [0, 10, 11]
    assert sample_frames(np.arange(100) / 25, 8).tolist() == [0, 14, 28, 42, 57, 71, 85, 99]
    assert sample_frames([0.0, 1.0, 2.0], 1).tolist() == [1]
    assert sample_frames([0.0], 8).tolist() == [0]
    rng = np.random.default_rng(0)
    jittered = [tuple(sample_frames(np.arange(100) / 25, 8, rng=rng)) for _ in range(20)]
    assert len(set(jittered)) == 20 and all(f[0] == 0 and f[-1] == 99 and list(f) == sorted(set(f)) for f in jittered)


def test_arrays_come_back_as_the_caller_asks(processor):
    assert isinstance(processor(meshes=[head()])["pixel_values"], np.ndarray)
    assert isinstance(processor(meshes=[head()], return_tensors="np")["view_mask"], np.ndarray)


def test_settings_survive_the_disk_and_the_auto_class(tmp_path):
    settings = RenderSettings(
        view_angles_deg=((0, 0), (20, 5)), size_px=32, supersampling=2, channels=("depth", "mask", "clay")
    )
    processor = MVFERImageProcessor.from_render_settings(settings, num_frames=5, up_axis="z")
    processor.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "preprocessor_config.json").read_text())
    assert saved["view_angles_deg"] == [[0.0, 0.0], [20.0, 5.0]] and saved["channels"] == ["depth", "mask", "clay"]
    for loaded in (MVFERImageProcessor.from_pretrained(tmp_path), AutoImageProcessor.from_pretrained(tmp_path)):
        assert type(loaded) is MVFERImageProcessor
        assert loaded.render_settings == dataclasses.replace(settings, backend="auto") == processor.render_settings
        assert (loaded.num_frames, loaded.up_axis, loaded.size_px) == (5, "z", 32)
        assert loaded.to_dict() == processor.to_dict()


def test_a_plain_clip_configuration_loads_with_default_cameras(tmp_path):
    clip = CLIPImageProcessorPil(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}, image_mean=[0.1, 0.2, 0.3]
    )
    clip.save_pretrained(tmp_path)
    processor = MVFERImageProcessor.from_pretrained(tmp_path)
    assert processor.render_settings == RenderSettings(size_px=32, backend="auto")
    assert list(processor.image_mean) == [0.1, 0.2, 0.3]


NAN = np.full((8, 8, 3), np.nan)


@pytest.mark.parametrize(
    "call, message",
    [
        (dict(), "expected one of images, meshes, sequences, got none"),
        (dict(images=[photo()], meshes=[head()]), r"got \['images', 'meshes'\]"),
        (dict(images=[]), "images: expected at least one, got an empty list"),
        (dict(images=[[photo()], []]), r"images\[1\]: expected at least one photo, got an empty list"),
        (dict(images=[photo(), [photo()]]), "got a mixture"),
        (dict(images=[[[photo()]]]), r"images\[0\]: expected a photo .* got list"),
        (dict(images=[NAN]), "NaN or infinity"),
        (dict(images=[np.full((8, 8, 3), -3.0)]), r"expected pixels in 0..255 or 0..1, got -3..-3"),
        (dict(images=[np.zeros((0, 8, 3), np.uint8)]), r"got an array \(0, 8, 3\) of uint8"),
        (dict(images=[Mesh(**head())]), "meshes go into meshes="),
        (dict(images=["face.obj"]), r"images\[0\]: expected a photo .* got str; meshes go into meshes="),
        (dict(images=["missing.png"]), "missing.png: not readable as a photo"),
        (dict(images=[np.full((8, 8, 3), 1000)]), "got 1e.03..1e.03"),
        (dict(images=[5]), "got int"),
        (dict(images=5), "images: expected a list, got int"),
        (
            dict(images=[[photo()] * 3], view_angles_deg=[[0, 0]]),
            r"expected finite \(V, 2\) per sample for \[3\] views",
        ),
        (dict(images=[[photo()]], view_angles_deg="front"), "view_angles_deg: expected"),
        (dict(meshes=[]), "meshes: expected at least one, got an empty list"),
        (dict(meshes=["missing.obj"]), "missing.obj"),
        (dict(meshes=[head(), {"vertices": np.zeros((3, 3)), "faces": np.array([[0, 1, 9]])}]), r"meshes\[1\]"),
        (dict(meshes=[photo()]), r"meshes\[0\]"),
        (dict(meshes=[head()], channels=["clay", "beauty", "depth"]), "channels"),
        (dict(meshes=[head()], channels=["red", "green", "blue"]), "texture or vertex colors"),
        (dict(meshes=[head()], view_angles_deg=[[0, 120]]), "view_angles_deg"),
        (dict(sequences=[[head()]]), r"sequences\[0\]: expected"),
        (dict(sequences=[{"frames": []}]), r"sequences\[0\], frames: expected at least one"),
        (dict(sequences=[{"frames": [head()], "fsp": 3}]), r"unknown keys \['fsp'\]"),
        (dict(sequences=[{"frames": [head()], "fps": 0}]), "expected fps > 0, got 0"),
        (
            dict(sequences=[{"frames": [head()] * 2, "frame_times_s": [1.0, 1.0]}]),
            r"sequences\[0\]: expected one increasing",
        ),
        (dict(sequences=[{"frames": [head()] * 2, "frame_times_s": [1.0]}]), "expected 2 frame_times_s"),
        (dict(sequences=[{"frames": [head()]}], num_frames=0), "expected num_frames >= 1, got 0"),
        (dict(sequences=[{"frames": [head()]}, {"frames": [photo()]}]), "meshes or sequences of photos, got both"),
        (dict(sequences=[{"frames": [head(), photo()]}]), r"sequences\[0\], frame 1"),
        (dict(sequences=[{"frames": [[photo()], [photo(), photo()]]}]), "expected 1 photos in every frame"),
    ],
)
def test_bad_input_is_refused_with_what_we_got_and_what_we_expect(processor, call, message):
    with pytest.raises(ValueError, match=message):
        processor(**call, return_tensors="pt")


@pytest.mark.parametrize(
    "setting", [dict(num_frames=0), dict(channels=["clay"]), dict(render_backend="gpu"), dict(supersampling=0)]
)
def test_a_processor_cannot_be_made_with_settings_that_make_no_sense(setting):
    with pytest.raises(ValueError):
        MVFERImageProcessor(**setting)


def test_samples_that_do_not_fit_together_are_not_padded():
    with pytest.raises(ValueError, match="one image size"):
        pad_views([np.zeros((1, 4, 4, 3)), np.zeros((1, 5, 5, 3))])
    with pytest.raises(ValueError, match="sample 1: expected view_angles_deg"):
        pad_views([np.zeros((1, 4, 4, 3))] * 2, view_angles_deg=[np.zeros((1, 2)), None])
