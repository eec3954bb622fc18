"""What happens to views in training: mirrored, shifted, brighter, coarser, noisier and hidden, for a whole batch at once."""

import numpy as np
import pytest
import torch
from PIL import Image

from mvfer.data.augmentation import Augmentation, Changes, draw_changes, mirror_cameras
from mvfer.data.batching import ViewDataset
from mvfer.data.view_changes import change_views, gather_changes
from tests.processing.test_batching import ANGLES, NOTHING, make_split

CHANNELS = ("clay", "curvature", "depth")


@pytest.fixture(scope="module")
def split():
    return make_split()


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


def test_stored_views_survive_augmentation(split):
    dataset = ViewDataset(split, augmentation=Augmentation(occlusion=1.0))
    for epoch in range(4):
        varied(dataset, epoch, 0)
    np.testing.assert_array_equal(dataset._views[0], split.pixels[0])


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
