"""Views rendered while training: where the cameras stand, that nothing but (seed, epoch, row) decides it, and the devices."""

import datasets
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from mvfer.data.augmentation import Augmentation
from mvfer.data.batching import Collator, ViewDataset
from mvfer.data.free_views import FreeViews
from mvfer.data.packed_geometry import pack_mesh, unpack_mesh
from mvfer.training.device_views import Drafts, rendered_batches
from processing import MVFERImageProcessor
from processing.framing_mvfer import FRAMED, frame_face
from processing.rendering_mvfer import RenderSettings, render_scan

from .heads import face_only, head
from .test_batching import equal, png

ANGLES = [[-30.0, 0.0], [0.0, 0.0], [30.0, 0.0]]
SETTINGS = RenderSettings(size_px=24)
FREE = FreeViews(SETTINGS)


def packed_head(jaw: float, *, cropped: bool = False) -> dict:
    vertices, faces = head(rows=30, columns=40, jaw=jaw)
    frame = frame_face(vertices, faces)
    return pack_mesh(frame.apply(vertices), face_only(vertices, faces) if cropped else faces)


def make_split(*, frames: int = 1) -> datasets.Dataset:
    """Four rows of black stored views; the third has another topology and light."""
    mesh = {"vertices": datasets.Value("binary"), "faces": datasets.Value("binary")}
    features = datasets.Features(
        {
            "views": datasets.List(datasets.List(datasets.Image())),
            "view_angles_deg": datasets.List(datasets.List(datasets.Value("float32"))),
            "captions": datasets.List(datasets.Value("string")),
            "frame_times_s": datasets.List(datasets.Value("float32")),
            "geometry": datasets.List(mesh),
            "light_deg": datasets.List(datasets.Value("float32")),
        }
    )
    black = png(np.zeros((24, 24, 3), np.uint8))
    columns = {
        "views": [[[black] * 3] * frames] * 4,
        "view_angles_deg": [ANGLES] * 4,
        "captions": [["jaw dropped", "mouth wide open"]] * 4,
        "frame_times_s": [[t / 25 for t in range(frames)]] * 4,
        "geometry": [[packed_head(row / 10 + t / 20, cropped=row + t == 2) for t in range(frames)] for row in range(4)],
        "light_deg": [None, None, [40.0, 20.0], None],
    }
    return datasets.Dataset.from_dict(columns, features=features)


@pytest.fixture(scope="module")
def split():
    return make_split()


def test_angles_are_spread_over_the_whole_range_and_not_beyond():
    free = FreeViews(SETTINGS, (60.0, 15.0))
    angles = np.concatenate([free.draw(np.random.default_rng(seed)) for seed in range(300)])
    assert angles.shape == (900, 2) and len(np.unique(angles[:, 0])) > 890
    assert (np.abs(angles) <= (60, 15)).all() and (np.abs(angles).max(0) > (58, 14.5)).all()
    assert (np.histogram(angles[:, 0], bins=6, range=(-60, 60))[0] > 110).all()


@pytest.mark.parametrize("range_deg", [(60.0,), (200.0, 0.0), (60.0, 95.0), (-1.0, 5.0), (float("nan"), 5.0)])
def test_a_range_without_cameras_is_refused(range_deg):
    with pytest.raises(ValueError, match="yaw"):
        FreeViews(SETTINGS, range_deg)


def test_a_sample_is_what_its_own_cameras_see(split):
    sample = ViewDataset(split, free_views=FREE)[5, 2]
    vertices, faces = unpack_mesh(split[2]["geometry"][0])
    options = {"frame": FRAMED, "view_angles_deg": sample["view_angles_deg"], "light_deg": (40.0, 20.0)}
    np.testing.assert_array_equal(sample["views"], render_scan(vertices, faces, SETTINGS, **options)[0])
    assert sample["view_mask"].all() and sample["view_angles_deg"].shape == (3, 2)
    assert (np.abs(sample["view_angles_deg"]) <= (60, 15)).all()


def test_a_sample_is_a_function_of_seed_epoch_and_row(split):
    datasets_ = [ViewDataset(split, augmentation=Augmentation(), seed=seed, free_views=FREE) for seed in (3, 3, 4)]
    keys = [(epoch, row) for epoch in range(2) for row in range(4)]
    first, again, other = (
        {key: dataset[key] for key in order} for dataset, order in zip(datasets_, (keys, keys[::-1], keys), strict=True)
    )
    assert all(equal(first[key], again[key]) for key in keys)
    angles = [tuple(samples[key]["view_angles_deg"].ravel()) for samples in (first, other) for key in keys]
    assert len(set(angles)) == 2 * len(keys)


def test_views_left_out_are_black_and_not_rendered(split, monkeypatch):
    dataset = ViewDataset(split, augmentation=Augmentation(view_dropout=0.6), free_views=FREE)
    rendered = []
    original = FreeViews.render

    def counted(self, geometry, angles, light_deg=None):
        rendered.append(len(angles))
        return original(self, geometry, angles, light_deg)

    monkeypatch.setattr(FreeViews, "render", counted)
    masks = []
    for epoch in range(6):
        sample = dataset[epoch, 0]
        masks.append(sample["view_mask"])
        assert not sample["views"][~masks[-1]].any() and sample["views"][masks[-1]].any((1, 2, 3)).all()
    assert rendered == [mask.sum() for mask in masks] and not np.all(masks)


def batches(split, num_workers: int) -> list[dict]:
    dataset = ViewDataset(split, augmentation=Augmentation(view_dropout=0.3), free_views=FREE)
    order = [[(epoch, row) for row in range(4)] for epoch in range(2)]
    collate = Collator(None, MVFERImageProcessor.from_render_settings(SETTINGS))
    return list(DataLoader(dataset, batch_sampler=order, collate_fn=collate, num_workers=num_workers))


@pytest.mark.slow
def test_the_number_of_loader_processes_does_not_matter(split):
    torch.set_num_threads(1)
    alone = batches(split, 0)
    assert all(equal(a, b) for workers in (1, 2) for a, b in zip(alone, batches(split, workers), strict=True))


@pytest.mark.parametrize("frames, num_workers", [(1, 1), (3, 0)])
def test_rendering_a_batch_on_a_device_gives_what_loader_processes_give(frames, num_workers):
    split = make_split(frames=frames)
    dataset = ViewDataset(split, augmentation=Augmentation(view_dropout=0.4), free_views=FREE)
    order = [(1, 2), (1, 0), (1, 3), (1, 1)]
    collate = Collator(None, MVFERImageProcessor.from_render_settings(SETTINGS))
    drafts = DataLoader(Drafts(dataset), batch_sampler=[order], collate_fn=list, num_workers=num_workers)
    (batch,) = rendered_batches(drafts, dataset, collate, torch.device("cpu"))
    assert equal(batch, collate([dataset[key] for key in order]))


def test_pooled_sequences_are_rendered_too():
    pooled = ViewDataset(make_split(frames=3), frames="rank_pooled", free_views=FREE)[0]
    assert pooled["views"].shape == (3, 24, 24, 3) and pooled["views"].std() > 0


def test_rows_without_geometry_are_named(split):
    plain = split.remove_columns(["geometry", "light_deg"])
    with pytest.raises(ValueError, match="lacks the columns \\['geometry', 'light_deg'\\]"):
        ViewDataset(plain, free_views=FREE)
    rows = split.to_list()
    rows[1]["geometry"] = []
    emptied = datasets.Dataset.from_list(rows, features=split.features)
    with pytest.raises(ValueError, match="split 0, row 1: expected the geometry of 1 frames, got 0"):
        ViewDataset(emptied, free_views=FREE)[1]
