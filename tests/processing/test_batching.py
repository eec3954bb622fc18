"""From rows to training batches: determinism, mirroring, dropout, unique captions and their targets."""

import io

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from mvfer.data.augmentation import Augmentation, Changes, draw_changes, drop_phrases, mirror_cameras, split_phrases
from mvfer.data.batching import Collator, ViewDataset
from mvfer.data.tokenizer import build_tokenizer
from mvfer.data.view_changes import change_views, gather_changes
from processing import MVFERImageProcessor

ANGLES = [[-30.0, 0.0], [0.0, 0.0], [30.0, 0.0]]
CAPTIONS = [
    ["jaw dropped, left lip corner pulled up", "mouth wide open"],
    ["jaw dropped"],
    ["jaw dropped"],
    ["眉の内側が上がる、左の口角が上がる"],
]
CHANNELS = ("clay", "curvature", "depth")
NOTHING = Augmentation(view_dropout=0, occlusion=0, shift=0, mirror=False, gain=0, noise=0, drop_phrases=0)


def png(pixels: np.ndarray) -> dict:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return {"bytes": buffer.getvalue(), "path": None}


def make_split(*, frames: list[int] = (1, 1, 1, 1), size_px: int = 16, views: int = 3) -> datasets.Dataset:
    rng = np.random.default_rng(0)
    pixels = [rng.integers(1, 255, (n, views, size_px, size_px, 3), dtype=np.uint8) for n in frames]
    features = datasets.Features(
        {
            "views": datasets.List(datasets.List(datasets.Image())),
            "view_angles_deg": datasets.List(datasets.List(datasets.Value("float32"))),
            "captions": datasets.List(datasets.Value("string")),
            "frame_times_s": datasets.List(datasets.Value("float32")),
        }
    )
    columns = {
        "views": [[[png(view) for view in frame] for frame in row] for row in pixels],
        "view_angles_deg": [ANGLES[:views]] * len(frames),
        "captions": CAPTIONS[: len(frames)],
        "frame_times_s": [[t / 25 for t in range(n)] for n in frames],
    }
    split = datasets.Dataset.from_dict(columns, features=features)
    split.pixels = pixels
    return split


@pytest.fixture(scope="module")
def split():
    return make_split()


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer([text for texts in CAPTIONS for text in texts])


@pytest.fixture(scope="module")
def collate(tokenizer):
    return Collator(tokenizer, MVFERImageProcessor.from_render_settings({"size_px": 16}))


def equal(a: dict, b: dict) -> bool:
    a, b = flat(a), flat(b)
    return a.keys() == b.keys() and all(np.array_equal(a[key], b[key]) for key in a)


def flat(sample: dict) -> dict:
    """A sample with what happens to its views spread out."""
    return {key: value for key, value in sample.items() if key != "changes"} | vars(sample.get("changes", NOTHING))


def changed(views: np.ndarray, changes: list[Changes], *, kept=None, channels=CHANNELS, device="cpu") -> np.ndarray:
    """Views `(B, V, H, W, 3)` or `(B, T, V, H, W, 3)` after what happens to each scan."""
    mask = np.ones(views.shape[:-3], bool) if kept is None else np.broadcast_to(kept, views.shape[:-3])
    columns = {name: column.to(device) for name, column in gather_changes(changes).items()}
    return change_views(
        torch.from_numpy(views).to(device), torch.tensor(mask).to(device), columns, channels=channels
    ).numpy()


def varied(dataset: ViewDataset, epoch: int, row: int) -> np.ndarray:
    """A sample's views `(V, H, W, 3)` as they are learnt from."""
    sample = dataset[epoch, row]
    return changed(sample["views"][None], [sample["changes"]], kept=sample["view_mask"])[0]


def draw(augmentation: Augmentation, views: np.ndarray, *, seed: int = 0, mirrored: bool = False) -> Changes:
    size = views.shape[-3:-1]
    rng = np.random.default_rng(seed)
    return draw_changes(rng, augmentation, views=views.shape[-4], size=size, mirrored=mirrored)[0]


def mirrored(views: np.ndarray, angles: np.ndarray, channels=CHANNELS) -> tuple[np.ndarray, np.ndarray]:
    """Views `(T, V, H, W, 3)` of the mirrored face, and the angles of their cameras."""
    order, angles = mirror_cameras(np.float32(angles))
    flip = draw(NOTHING, views, mirrored=True)
    return changed(views[None][:, :, order], [flip], channels=channels)[0], angles


def test_without_augmentation_a_row_comes_back_as_it_was_stored(split):
    sample = ViewDataset(split)[0]
    np.testing.assert_array_equal(sample["views"], split.pixels[0][0])
    np.testing.assert_array_equal(sample["view_angles_deg"], ANGLES)
    assert sample["view_mask"].all()
    assert sample["captions"] == CAPTIONS[0][:1] and sample["known_captions"] == CAPTIONS[0]


def test_rows_decoded_one_by_one_equal_rows_kept_in_memory(split):
    kept, by_row = ViewDataset(split), ViewDataset(split, memory_budget_bytes=0)
    assert all(equal(kept[i], by_row[i]) for i in range(4))


def test_several_splits_follow_one_another(split):
    both = ViewDataset([split, split])
    assert len(both) == 8 and both.num_views == 3
    assert equal(both[5] | {"source": 0, "draw": 0}, ViewDataset(split)[1] | {"draw": 0})
    assert both[5]["source"] == 1


def test_a_sample_is_a_function_of_seed_epoch_and_row(split):
    dataset, again = (ViewDataset(split, augmentation=Augmentation(), seed=3) for _ in range(2))
    order = [(epoch, row) for epoch in range(3) for row in range(4)]
    forward = {key: dataset[key] for key in order}
    assert all(equal(forward[key], again[key]) for key in reversed(order))
    assert not equal(forward[0, 1], forward[1, 1])
    assert not equal(forward[0, 1], ViewDataset(split, augmentation=Augmentation(), seed=4)[0, 1])


def test_stored_views_survive_augmentation(split):
    dataset = ViewDataset(split, augmentation=Augmentation(occlusion=1.0))
    for epoch in range(4):
        varied(dataset, epoch, 0)
    np.testing.assert_array_equal(dataset._views[0], split.pixels[0])


def test_view_dropout_never_drops_every_view(split):
    dataset = ViewDataset(split, augmentation=Augmentation(view_dropout=1.0))
    kept = [dataset[epoch, row]["view_mask"].sum() for epoch in range(20) for row in range(4)]
    assert set(kept) == {1}


def test_view_dropout_drops_about_as_many_views_as_asked(split):
    dataset = ViewDataset(split, augmentation=Augmentation(view_dropout=0.3))
    kept = np.mean([dataset[epoch, row]["view_mask"].mean() for epoch in range(100) for row in range(4)])
    assert 0.65 < kept < 0.77


def test_a_poor_sensor_sees_coarser_or_noisier_views_and_leaves_the_background_dark():
    views = np.zeros((1, 2, 64, 64, 3), np.uint8)
    views[:, :, 16:48, 16:48] = 128
    views[:, :, 31, 31] = 255
    poor, seen = Augmentation(**{**vars(NOTHING), "poor_sensor": 1.0}), set()
    for seed in range(20):
        after = changed(views, [draw(poor, views, seed=seed)])
        assert not after[..., :8, :, :].any()
        coarse = (after[:, :, 31, 31] < 240).all() and after[:, :, 20:28, 20:28].std() == 0
        noisy = after[:, :, 20:28, 20:28].std() > 2  # its deviation is 0.01 to 0.1 of 255
        seen.add((coarse, bool(noisy)))
    assert {(True, False), (False, True)} <= seen
    np.testing.assert_array_equal(changed(views, [draw(NOTHING, views)]), views)


@pytest.mark.parametrize("factor", [1.3, 2, 3.7])
def test_coarser_views_are_those_of_a_box_filter_and_linear_interpolation(factor):
    views = np.random.default_rng(0).integers(0, 256, (1, 1, 48, 64, 3), dtype=np.uint8)
    image, small = Image.fromarray(views[0, 0]), (round(64 / factor), round(48 / factor))
    expected = np.asarray(image.resize(small, Image.Resampling.BOX).resize((64, 48), Image.Resampling.BILINEAR))
    found = changed(views, [Changes(False, 1.0, factor, 0.0, 0, np.zeros((1, 2), int), np.zeros((1, 4), int))])
    assert np.abs(found[0, 0].astype(int) - expected).max() <= 2  # it rounds once, Pillow in between too


def test_what_happens_to_a_scan_does_not_depend_on_its_batch():
    views = np.random.default_rng(0).integers(0, 256, (6, 3, 32, 32, 3), dtype=np.uint8)
    options = Augmentation(view_dropout=0, occlusion=0.5, poor_sensor=0.5)
    changes = [draw(options, views, seed=seed, mirrored=seed % 2 == 1) for seed in range(6)]
    together = changed(views, changes)
    alone = np.stack([changed(views[i : i + 1], changes[i : i + 1])[0] for i in range(6)])
    np.testing.assert_array_equal(together, alone)
    assert len({after.tobytes() for after in changed(np.full_like(views, 99), changes)}) == 6


def test_frames_of_a_sequence_are_changed_alike_but_for_noise():
    one = np.random.default_rng(0).integers(1, 256, (1, 1, 2, 32, 32, 3), dtype=np.uint8)
    film = np.repeat(one, 3, axis=1)
    still = Augmentation(view_dropout=0, occlusion=1.0, noise=0)
    after = changed(film, [draw(still, film)])
    assert (after[0, 0] != film[0, 0]).any() and (after[0] == after[0, :1]).all()
    noisy = changed(film, [draw(Augmentation(**{**vars(NOTHING), "noise": 0.05}), film)])
    assert (noisy[0, 0] != noisy[0, 1]).mean() > 0.5


def test_views_that_are_left_out_and_frames_that_are_none_are_black():
    film = np.full((2, 2, 2, 8, 8, 3), 200, np.uint8)
    mask = np.ones((2, 2, 2), bool)
    mask[0, :, 1] = mask[1, 1] = False
    after = changed(film, [draw(NOTHING, film)] * 2, kept=mask)
    np.testing.assert_array_equal(after, film * mask[..., None, None, None])


def test_scans_with_fewer_views_share_a_batch():
    views = np.random.default_rng(0).integers(0, 256, (1, 1, 8, 8, 3), dtype=np.uint8)
    few, many = (draw(Augmentation(view_dropout=0), np.zeros((1, n, 8, 8, 3))) for n in (1, 3))
    padded = np.concatenate([views, np.zeros((1, 2, 8, 8, 3), np.uint8)], axis=1)
    kept = np.array([[True, False, False], [True] * 3])
    both = changed(np.concatenate([padded, np.zeros_like(padded)]), [few, many], kept=kept)
    np.testing.assert_array_equal(both[0, :1], changed(views, [few])[0])


def test_mirror_flips_pixels_and_puts_the_view_of_yaw_minus_a_where_the_view_of_yaw_a_was():
    views = np.random.default_rng(0).integers(0, 255, (1, 3, 4, 5, 3), dtype=np.uint8)
    after, angles = mirrored(views, ANGLES)
    np.testing.assert_array_equal(angles, ANGLES)
    for place, source in enumerate((2, 1, 0)):
        np.testing.assert_array_equal(after[0, place], views[0, source, :, ::-1])


def test_mirror_negates_yaw_where_the_cameras_are_not_symmetric():
    views = np.random.default_rng(0).integers(0, 255, (1, 2, 4, 5, 3), dtype=np.uint8)
    after, angles = mirrored(views, [[0, 5], [40, 10]])
    np.testing.assert_array_equal(angles, [[0, 5], [-40, 10]])
    np.testing.assert_array_equal(after[0], views[0, :, :, ::-1])


def test_mirror_twice_is_nothing():
    views = np.random.default_rng(0).integers(0, 255, (2, 3, 4, 5, 3), dtype=np.uint8)
    for channels in (CHANNELS, ("normal_x", "normal_y", "normal_z")):
        once = mirrored(views, ANGLES, channels)
        twice, angles = mirrored(*once, channels)
        np.testing.assert_array_equal(twice, views)
        np.testing.assert_array_equal(angles, ANGLES)


def test_a_mirrored_render_is_the_render_of_the_mirrored_mesh():
    from processing import RenderSettings, render_scan
    from processing.framing_mvfer import FaceFrame

    rng = np.random.default_rng(1)
    axis = np.linspace(-0.8, 0.8, 15)
    x, y = np.meshgrid(axis, axis)
    z = 0.4 - 0.3 * x**2 + 0.1 * rng.standard_normal(x.shape) + 0.2 * x  # a lopsided face
    vertices = np.stack([x, y, z], -1).reshape(-1, 3)
    corner = (np.arange(14)[:, None] * 15 + np.arange(14)).reshape(-1)
    faces = np.concatenate(
        [np.stack([corner, corner + 1, corner + 15], 1), np.stack([corner + 1, corner + 16, corner + 15], 1)]
    )
    channels = ("normal_x", "normal_y", "depth")
    settings = RenderSettings(view_angles_deg=((-30, 0), (0, 0), (30, 0)), size_px=32, channels=channels)
    frame = FaceFrame((0.0, 0.0, 0.0), 1.0)
    views = render_scan(vertices, faces, settings, frame=frame)
    twin = render_scan(vertices * [-1, 1, 1], faces[:, ::-1].copy(), settings, frame=frame)
    after, _ = mirrored(views, settings.view_angles_deg, channels)
    difference = np.abs(after.astype(int) - twin.astype(int))
    assert (difference <= 1).mean() > 0.98  # edge pixels may fall to the other side
    assert np.abs(views.astype(int) - twin.astype(int)).mean() > 10 * difference.mean()


def test_mirrored_samples_rename_sides_and_others_do_not(split):
    dataset = ViewDataset(split, augmentation=Augmentation(**{**vars(NOTHING), "mirror": True}))
    seen = set()
    for epoch in range(20):
        sample, views = dataset[epoch, 3], varied(dataset, epoch, 3)
        is_mirrored = not np.array_equal(views, split.pixels[3][0])
        if is_mirrored:
            np.testing.assert_array_equal(views, split.pixels[3][0][::-1, :, ::-1])
        np.testing.assert_array_equal(sample["view_angles_deg"], ANGLES)
        expected = "眉の内側が上がる、右の口角が上がる" if is_mirrored else "眉の内側が上がる、左の口角が上がる"
        assert sample["captions"] == [expected] and sample["known_captions"] == [expected]
        seen.add(is_mirrored)
        english = dataset[epoch, 0]
        side = "left" if np.array_equal(varied(dataset, epoch, 0), split.pixels[0][0]) else "right"
        assert f"jaw dropped, {side} lip corner pulled up" in english["known_captions"]
    assert seen == {True, False}


def test_shift_moves_views_by_at_most_the_stated_fraction():
    split = make_split(size_px=64, frames=[1])
    dataset = ViewDataset(split, augmentation=Augmentation(**{**vars(NOTHING), "shift": 3 / 64}))
    shifts = set()
    for epoch in range(10):
        for before, after in zip(split.pixels[0][0], varied(dataset, epoch, 0), strict=True):
            found = [
                (down, right)
                for down in range(-3, 4)
                for right in range(-3, 4)
                if np.array_equal(after[4:-4, 4:-4], np.roll(before, (down, right), (0, 1))[4:-4, 4:-4])
            ]
            assert len(found) == 1
            shifts.add(found[0])
    assert len(shifts) > 10


def test_gain_changes_shading_and_leaves_geometry_and_background(split):
    dataset = ViewDataset(split, augmentation=Augmentation(**{**vars(NOTHING), "gain": 0.1}))
    sample = varied(dataset, 1, 0).astype(float)
    before = split.pixels[0][0]
    np.testing.assert_array_equal(sample[..., 1:], before[..., 1:])
    assert np.any(sample[..., 0] != before[..., 0])
    assert np.all(np.abs(sample[..., 0] - before[..., 0]) <= 0.1 * before[..., 0] + 0.5)


def test_noise_has_the_stated_size_and_spares_the_background():
    views = np.full((1, 2, 64, 64, 3), 128, dtype=np.uint8)
    views[:, 1] = 0
    options = Augmentation(**{**vars(NOTHING), "noise": 0.02})
    noisy = changed(views, [draw(options, views)])
    assert abs(noisy[:, 0].std() - 0.02 * 255) < 0.4 and abs(noisy[:, 0].mean() - 128) < 0.2
    assert noisy[:, 1].max() == 0
    levels = noisy[0, 0].astype(int) - 128
    assert abs(np.corrcoef(levels[..., 0].ravel(), levels[..., 1].ravel())[0, 1]) < 0.05
    assert abs(np.corrcoef(levels[:, 1:].ravel(), levels[:, :-1].ravel())[0, 1]) < 0.05


def test_occlusion_blanks_a_rectangle_or_a_half_of_every_view_when_certain(split):
    dataset = ViewDataset(split, augmentation=Augmentation(**{**vars(NOTHING), "occlusion": 1.0}))
    shares = []
    for epoch in range(20):
        for view in (varied(dataset, epoch, 0) == 0).all(-1):
            rows, columns = np.nonzero(view.any(1))[0], np.nonzero(view.any(0))[0]
            assert view.sum() == len(rows) * len(columns)
            shares.append(view.mean())
    halves = np.mean(np.array(shares) == 0.5)
    assert 0.3 < halves < 0.7 and all(0.03 < share < 0.3 or share == 0.5 for share in shares)


def test_phrases_are_split_in_english_and_japanese_and_never_all_dropped():
    assert split_phrases("inner brows raised, jaw dropped") == ["inner brows raised", "jaw dropped"]
    assert split_phrases("眉が上がる、口が開く") == ["眉が上がる", "口が開く"]
    assert split_phrases("") == []
    rng = np.random.default_rng(0)
    shortened = {drop_phrases("a b, c d, e", rng, chance=0.9) for _ in range(200)}
    assert {"a b", "c d", "e"} <= shortened and "" not in shortened
    assert {drop_phrases("甲、乙", rng, chance=0.5) for _ in range(50)} == {"甲", "乙", "甲、乙"}


def test_augmentation_refuses_chances_that_are_none():
    with pytest.raises(ValueError, match="view_dropout"):
        Augmentation(view_dropout=1.5)


def test_captions_are_encoded_once_and_targets_mark_every_sample_they_hold_for(split, collate, tokenizer):
    dataset = ViewDataset(split)
    batch = collate([dataset[i] for i in range(4)])
    texts = tokenizer.batch_decode(batch["input_ids"], skip_special_tokens=True)
    assert len(texts) == 3  # "jaw dropped" is shared
    expected = [[1, 0, 0], [0, 1, 0], [0, 1, 0], [0, 0, 1]]
    torch.testing.assert_close(batch["text_targets"], torch.tensor(expected, dtype=torch.bool))


def test_a_batch_caption_that_is_known_to_hold_for_another_sample_is_no_negative(collate):
    views = np.zeros((1, 16, 16, 3), dtype=np.uint8)
    batch = collate(
        [
            {"views": views, "captions": ["jaw dropped"], "known_captions": ["jaw dropped", "mouth wide open"]},
            {"views": views, "captions": ["mouth wide open"]},
        ]
    )
    assert batch["text_targets"].tolist() == [[True, True], [False, True]]


def test_phrase_targets_mark_each_action_of_each_sample(split, collate, tokenizer):
    dataset = ViewDataset(split)
    batch = collate([dataset[i] for i in range(4)])
    phrases = tokenizer.batch_decode(batch["phrase_input_ids"], skip_special_tokens=True)
    assert phrases[:2] == ["jaw dropped", "left lip corner pulled up"] and len(phrases) == 4
    expected = [[1, 1, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 1, 1]]
    torch.testing.assert_close(batch["phrase_targets"], torch.tensor(expected, dtype=torch.bool))


def test_what_names_a_side_is_also_said_of_the_other(split, tokenizer):
    processor = MVFERImageProcessor.from_render_settings({"size_px": 16})
    views = np.zeros((1, 16, 16, 3), dtype=np.uint8)
    texts = ["left lip corner pulled up, jaw dropped", "right lip corner pulled up", "jaw dropped"]
    samples = [{"views": views, "captions": [text]} for text in texts]
    batch = Collator(tokenizer, processor, sides=True)(samples)
    said = [text.replace(" ,", ",") for text in tokenizer.batch_decode(batch["input_ids"], skip_special_tokens=True)]
    assert said == [*texts, "right lip corner pulled up, jaw dropped", "left lip corner pulled up"]
    assert batch["text_targets"].tolist() == [[row == text for text in range(5)] for row in range(3)]
    phrases = tokenizer.batch_decode(batch["phrase_input_ids"], skip_special_tokens=True)
    assert phrases == ["left lip corner pulled up", "jaw dropped", "right lip corner pulled up"]
    assert batch["phrase_opposites"].tolist() == [2, -1, 0]
    assert "phrase_opposites" not in Collator(tokenizer, processor)(samples)


def test_a_phrase_dropped_from_the_caption_is_still_true_of_the_sample(split, collate):
    dataset = ViewDataset(split, augmentation=Augmentation(**{**vars(NOTHING), "drop_phrases": 0.5}))
    both = next(s for e in range(50) if (s := dataset[e, 0])["captions"] == ["jaw dropped"])
    other = next(s for e in range(50) if (s := dataset[e, 0])["captions"] == ["left lip corner pulled up"])
    assert collate([both, other])["phrase_targets"].all()


def test_pixels_are_normalised_as_the_image_processor_normalises_photos(split, collate):
    batch = collate([ViewDataset(split)[0]])
    photos = [Image.fromarray(view) for view in split.pixels[0][0]]
    slow = collate.image_processor(images=photos, return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(batch["pixel_values"][0], slow)


def test_views_rendered_at_another_size_are_resized_to_the_models(split, tokenizer):
    collate = Collator(tokenizer, MVFERImageProcessor.from_render_settings({"size_px": 8}))
    assert collate([ViewDataset(split)[0]])["pixel_values"].shape == (1, 3, 3, 8, 8)


def test_unequal_numbers_of_views_are_padded_and_masked(collate):
    samples = [{"views": np.full((v, 16, 16, 3), v, np.uint8), "view_angles_deg": np.zeros((v, 2))} for v in (1, 3)]
    batch = collate(samples)
    assert batch["pixel_values"].shape == (2, 3, 3, 16, 16)
    assert batch["view_mask"].tolist() == [[True, False, False], [True, True, True]]
    assert batch["view_angles_deg"].shape == (2, 3, 2)


def test_without_any_caption_there_is_an_empty_text_that_is_true_of_no_sample(collate, tokenizer):
    batch = collate([{"views": np.zeros((3, 16, 16, 3), np.uint8)}] * 2)
    assert tokenizer.batch_decode(batch["input_ids"], skip_special_tokens=True) == [""]
    assert batch["text_targets"].tolist() == [[False], [False]] and "phrase_input_ids" not in batch


def test_sequences_are_sampled_in_time_padded_and_masked(tokenizer):
    split = make_split(frames=[20, 3])
    collate = Collator(tokenizer, MVFERImageProcessor.from_render_settings({"size_px": 16}), phrases=False)
    dataset = ViewDataset(split, num_frames=5)
    batch = collate([dataset[0], dataset[1]])
    assert batch["pixel_values"].shape == (2, 5, 3, 3, 16, 16)
    assert batch["frame_mask"].tolist() == [[True] * 5, [True] * 3 + [False] * 2]
    assert batch["view_mask"].shape == (2, 5, 3) and not batch["view_mask"][1, 3:].any()
    assert batch["frame_times_s"][0, [0, -1]].tolist() == pytest.approx([0, 19 / 25])
    pixels = {"pixel_values", "view_mask", "view_angles_deg", "frame_mask", "frame_times_s"}
    assert set(batch) == pixels | {"input_ids", "attention_mask", "text_targets"}


def test_a_loader_with_workers_gives_what_the_main_process_gives(split, collate):
    dataset = ViewDataset(split, augmentation=Augmentation(), seed=1)
    batches = [[(0, 2), (0, 1)], [(1, 3), (1, 0)]]
    alone, spread = (
        list(torch.utils.data.DataLoader(dataset, batch_sampler=batches, collate_fn=collate, num_workers=n))
        for n in (0, 1)
    )
    for one, other in zip(alone, spread, strict=True):
        torch.testing.assert_close(one, other)


def test_rows_that_make_no_sense_are_refused(split):
    with pytest.raises(ValueError, match="captions"):
        ViewDataset(split.remove_columns("captions"))
    with pytest.raises(ValueError, match="0 rows|rows"):
        ViewDataset(split.select([]))
    wrong = split.remove_columns("view_angles_deg").add_column("view_angles_deg", [ANGLES[:2]] * 4)
    with pytest.raises(ValueError, match=r"expected \(frames, views\) \(1, 2\) .* got \(1, 3\)"):
        ViewDataset(wrong)
    broken = [[[{"bytes": b"no picture", "path": None}] * 3]] * 4
    with pytest.raises(ValueError, match="row 0: the views cannot be read"):
        ViewDataset(split.remove_columns("views").add_column("views", broken))


def test_paraphrases_of_one_meaning_are_positives_of_one_another():
    from mvfer.data.batching import meaning

    assert meaning("cheeks raised, lip corners pulled up") == meaning("smiling mouth, cheeks pushed up")
    assert meaning("口角が上がっている") == meaning("corners of the mouth lifted")
    assert meaning("left eye closed") != meaning("right eye closed")
    assert meaning("a scar, smiling mouth") == {"a scar", "12"}


def with_units(split, units: list[dict]):
    named = [[{"name": name, "intensity": value} for name, value in row.items()] for row in units]
    return split.add_column("action_units", named)


FRESH = [{"12L": 0.9, "26": 0.4}, {"26": 0.9}, {"26": 0.6}, {"12L": 0.8, "1": 0.3}]


def fresh_split():
    split = with_units(make_split(), FRESH)
    captions = [["jaw dropped, left lip corner pulled up"], ["jaw dropped"], ["jaw lowered"], ["眉の内側が上がる"]]
    return split.remove_columns("captions").add_column("captions", captions)


def test_fresh_captions_are_said_anew_in_every_epoch_and_are_true():
    from mvfer.data.wording import facts, languages_of, meaning, mirrored_units, units_of

    options = {"captions": "fresh", "languages": ("en", "ja"), "seed": 1}
    plain = Augmentation(**{**vars(NOTHING), "mirror": True})
    dataset, again = (ViewDataset(fresh_split(), augmentation=plain, **options) for _ in range(2))
    drawn = [dataset[epoch, 0] for epoch in range(60)]
    for epoch, sample in enumerate(drawn):
        assert sample["captions"] == again[epoch, 0]["captions"]
        (caption,) = sample["captions"]
        units = FRESH[0] if "12L" in meaning(caption) else mirrored_units(FRESH[0])
        assert units_of(meaning(caption)) == set(units) and meaning(caption) <= facts(units)
    texts = {sample["captions"][0] for sample in drawn}
    assert len(texts) > 40 and languages_of(texts) == ["en", "ja"]


def test_rows_whose_captions_are_not_their_units_keep_them_and_stored_captions_do_not_change():
    plain = Augmentation(**{**vars(NOTHING), "mirror": False})
    fresh = ViewDataset(fresh_split(), augmentation=plain, captions="fresh")
    assert all(fresh[epoch, 3]["captions"] == ["眉の内側が上がる"] for epoch in range(5))
    stored = ViewDataset(fresh_split(), augmentation=plain)
    assert all(stored[epoch, 1]["captions"] == ["jaw dropped"] for epoch in range(5))
    with pytest.raises(ValueError, match="stored or fresh"):
        ViewDataset(fresh_split(), captions="new")


def test_degrees_are_true_of_what_shows_them_and_of_nothing_else(collate):
    dataset = ViewDataset(fresh_split())
    strong, middle = dataset[1], dataset[2]  # 26 at 0.9 and at 0.6
    strong["captions"], middle["captions"] = ["jaw strongly lowered"], ["lower jaw dropped"]
    weak = dataset[1] | {"captions": ["jaw slightly lowered"], "known_captions": ["jaw slightly lowered"]}
    batch = collate([strong, middle, weak])
    expected = [[True, True, False], [False, True, False], [False, True, True]]
    assert batch["text_targets"].tolist() == expected == batch["phrase_targets"].tolist()


def test_a_phrase_of_several_actions_is_true_where_all_of_them_are(collate):
    views = np.zeros((1, 16, 16, 3), dtype=np.uint8)
    texts = ["smiling with parted lips", "lips parted", "smiling, lips parted, brows lowered"]
    batch = collate([{"views": views, "captions": [text]} for text in texts])
    phrases = ["smiling with parted lips", "lips parted", "smiling", "brows lowered"]
    expected = [[True, True, True, False], [False, True, False, False], [True, True, True, True]]
    assert batch["phrase_targets"].tolist() == expected and len(phrases) == batch["phrase_input_ids"].shape[0]
    assert batch["text_targets"].tolist() == [[True, False, False], [False, True, False], [False, False, True]]
