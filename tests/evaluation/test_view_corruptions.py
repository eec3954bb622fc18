import numpy as np
import pytest

from mvfer.evaluation.audits.view_corruptions import SEVERITIES, VIEW_CORRUPTIONS, applicable, drop_frames, inapplicable

CHANNELS = ("clay", "curvature", "depth")
COLORED = ("red", "green", "depth")


@pytest.fixture
def views():
    """A grey disc on background, two frames of three views: `(T, V, H, W, 3)`."""
    rows, columns = np.mgrid[:64, :64]
    face = ((rows - 31.5) ** 2 + (columns - 31.5) ** 2 < 24**2) * (100 + columns)
    return np.broadcast_to(face[..., None], (2, 3, 64, 64, 3)).astype(np.uint8)


def corrupt(name, views, severity, seed=0):
    channels = COLORED if name == "texture" else CHANNELS
    return VIEW_CORRUPTIONS[name](views, severity, np.random.default_rng(seed), channels)


@pytest.mark.parametrize("name", VIEW_CORRUPTIONS)
def test_every_corruption_is_worse_in_every_grade_and_leaves_its_input_alone(name, views):
    before = views.copy()
    change = []
    for severity in SEVERITIES:
        changed = corrupt(name, views, severity)
        assert changed.shape == views.shape and changed.dtype == np.uint8
        np.testing.assert_array_equal(changed, corrupt(name, views, severity))  # the generator decides, nothing else
        change.append(np.abs(changed.astype(int) - views).mean())
    np.testing.assert_array_equal(views, before)
    assert change[0] > 0 and all(np.diff(change) > 0)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_patches_cover_the_stated_share_each_view_its_own_place(severity):
    bright = np.full((1, 3, 64, 64, 3), 200, np.uint8)
    own, same = corrupt("patches", bright, severity), corrupt("same_patch", bright, severity)
    assert (own == 0).mean() == pytest.approx(severity / 10, abs=0.01)
    assert (same == 0).mean() == pytest.approx(severity / 10, abs=0.01)
    assert (own[:, 0] != own[:, 1]).any() and (same[:, 0] == same[:, 1]).all()


def test_only_one_view_fades_and_is_gone_in_grade_five(views):
    changed = corrupt("unequal_views", views, 5)
    touched = [not np.array_equal(changed[:, v], views[:, v]) for v in range(3)]
    assert sum(touched) == 1 and not changed[:, touched.index(True)].any()


def test_noise_leaves_the_background_empty(views):
    assert not corrupt("noise", views, 5)[views == 0].any()


def test_a_shift_and_a_zoom_move_and_grow_the_face(views):
    def middle_and_area(changed):
        rows, columns = np.nonzero(changed[0, 0, ..., 0])
        return np.array([rows.mean(), columns.mean()]), len(rows)

    middle, area = middle_and_area(views)
    moved, _ = middle_and_area(corrupt("shift", views, 3))
    assert np.linalg.norm(moved - middle) == pytest.approx(0.1 * 64, abs=0.5)
    zoomed_middle, zoomed = middle_and_area(corrupt("scale", views, 3))
    assert np.abs(zoomed_middle - middle).max() < 0.5
    assert min(abs((zoomed / area) ** 0.5 - 1.15), abs((zoomed / area) ** 0.5 - 0.85)) < 0.03


def test_light_changes_shading_alone_and_is_left_out_where_there_is_none(views):
    changed = corrupt("light", views, 3)
    assert (changed[..., 0] != views[..., 0]).any() and (changed[..., 1:] == views[..., 1:]).all()
    assert "light" in applicable(CHANNELS) and "light" not in applicable(("normal_x", "normal_y", "depth"))


def test_texture_fades_to_one_grey_and_leaves_geometry_and_background_alone(views):
    colored = views.copy()
    colored[..., 0] //= 2  # less red than green
    gone, face = corrupt("texture", colored, 5), views[..., 0] > 0
    assert len(np.unique(gone[face][:, :2])) == 1  # red and green alike, everywhere
    assert gone[face][0, 0] == pytest.approx(colored[face][:, :2].mean(), abs=0.51)
    assert (gone[~face] == 0).all() and (gone[..., 2] == views[..., 2]).all()
    assert corrupt("texture", colored, 2)[face][:, :2].std() == pytest.approx(
        0.6 * colored[face][:, :2].std(), rel=0.01
    )
    empty = np.zeros_like(views)
    np.testing.assert_array_equal(corrupt("texture", empty, 3), empty)


def test_what_changes_nothing_is_left_out_with_the_reason():
    assert "texture" in applicable(COLORED) and inapplicable(COLORED) == {}
    assert inapplicable(CHANNELS) == {"texture": "the model sees geometry alone, no colour"}
    assert set(inapplicable(("normal_x", "normal_y", "depth"))) == {"light", "texture"}
    assert set(applicable(CHANNELS)) == set(VIEW_CORRUPTIONS) - {"texture"}


def test_dropped_frames_leave_the_others_in_order():
    for severity, left in zip(SEVERITIES, (8, 6, 4, 3, 2), strict=True):
        kept = drop_frames(10, severity, np.random.default_rng(0))
        assert len(kept) == left and (np.diff(kept) > 0).all()
    assert len(drop_frames(1, 5, np.random.default_rng(0))) == 1
