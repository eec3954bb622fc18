"""Dynamic images: the closed form, a slow twin of its definition, and what every user of it relies on."""

import numpy as np
import pytest
import torch

from mvfer.data.augmentation import Augmentation
from mvfer.data.batching import Collator, ViewDataset
from processing import Mesh, MVFERImageProcessor, render_mesh
from processing.rank_pooling_mvfer import rank_pool, rank_pooling_weights

from .test_batching import make_split
from .test_image_processing import SIZE, head, photo


def pooled_by_definition(values: np.ndarray) -> np.ndarray:
    """Sum over q > t of V_q - V_t, V_t the mean of the first t frames; what the closed form stands for."""
    means = [values[: t + 1].mean(0) for t in range(len(values))]
    return sum((means[q] - means[t] for q in range(len(means)) for t in range(q)), np.zeros(values.shape[1:]))


def test_weights_match_a_case_worked_by_hand():
    # T = 3: H = 1, 3/2, 11/6; 2 * 3 - 4 * 11/6, 2 * 2 - 4 * (11/6 - 1), 2 * 1 - 4 * (11/6 - 3/2)
    np.testing.assert_allclose(rank_pooling_weights(3), [-4 / 3, 2 / 3, 2 / 3])
    np.testing.assert_allclose(rank_pooling_weights(2), [-0.5, 0.5])
    assert rank_pooling_weights(1).tolist() == [0.0]
    with pytest.raises(ValueError, match="num_frames >= 1"):
        rank_pooling_weights(0)


@pytest.mark.parametrize("length", [1, 2, 7, 300])
def test_the_closed_form_equals_the_loop_over_pairs_of_running_means(length):
    values = np.random.default_rng(length).normal(size=(length, 5))
    np.testing.assert_allclose(rank_pooling_weights(length) @ values, pooled_by_definition(values), atol=1e-9)


def test_pixels_match_a_case_worked_by_hand():
    views = np.full((3, 2, 1, 1, 3), 100, np.uint8)  # (T, V, H, W, 3)
    views[:, 0, 0, 0, 0], views[:, 0, 0, 0, 1] = [100, 130, 160], [100, 85, 70]
    # the first view: 100 * -4/3 + 130 * 2/3 + 160 * 2/3 = 60 is its peak, -30 the other; the second view stands still
    assert rank_pool(views)[:, 0, 0].tolist() == [[255, 64, 128], [128, 128, 128]]


@pytest.mark.parametrize("length", [1, 300])
def test_a_still_sequence_leaves_exactly_nothing_however_long(length):
    frame = np.random.default_rng(0).integers(0, 256, (1, 2, 8, 8, 3), dtype=np.uint8)
    assert (rank_pool(np.repeat(frame, length, 0)) == 128).all()


def test_the_order_of_frames_matters_and_a_view_does_not_see_the_others():
    views = np.random.default_rng(1).integers(0, 256, (6, 3, 8, 8, 3), dtype=np.uint8)
    pooled = rank_pool(views)
    assert not np.array_equal(rank_pool(views[::-1]), pooled)
    np.testing.assert_array_equal(rank_pool(views[:, 1:]), pooled[1:])


@pytest.mark.parametrize("views", [np.zeros((2, 3, 8, 8, 3), np.float32), np.zeros((3, 8, 8, 3), np.uint8)])
def test_other_arrays_are_refused(views):
    with pytest.raises(ValueError, match="expected uint8 views"):
        rank_pool(views)


@pytest.fixture(scope="module")
def processor():
    return MVFERImageProcessor.from_render_settings({"size_px": SIZE}, frames="rank_pooled", num_frames=5)


def test_the_processor_pools_sequences_of_meshes_to_one_scan(processor):
    meshes = [head(0.05 * t) for t in range(5)]
    batch = processor(sequences=[{"frames": meshes}], return_tensors="pt")
    assert set(batch) == {"pixel_values", "view_mask", "view_angles_deg"}
    views = render_mesh([Mesh(**mesh) for mesh in meshes], processor.render_settings)
    torch.testing.assert_close(batch["pixel_values"][0], processor.normalize_views(rank_pool(views)))


def test_the_processor_pools_photos_at_the_size_of_the_model(processor):
    film = [[photo(seed=t), photo(seed=9)] for t in range(4)]
    batch = processor(sequences=[{"frames": film}], return_tensors="pt")
    plain = processor(sequences=[{"frames": film}], frames="sequence", return_tensors="pt")["pixel_values"][0]
    mean, std = (torch.tensor(v)[:, None, None] for v in (processor.image_mean, processor.image_std))
    views = ((plain * std + mean) * 255).round().to(torch.uint8).movedim(2, -1).numpy()
    torch.testing.assert_close(batch["pixel_values"][0], processor.normalize_views(rank_pool(views)))


def test_the_setting_survives_the_disk_and_one_moment_is_refused(processor, tmp_path):
    processor.save_pretrained(tmp_path)
    loaded = MVFERImageProcessor.from_pretrained(tmp_path)
    assert (loaded.frames, loaded.num_frames) == ("rank_pooled", 5)
    for faces in ({"meshes": [head()]}, {"images": [photo()]}):
        with pytest.raises(ValueError, match="pass sequences="):
            loaded(**faces)
    with pytest.raises(ValueError, match="expected one of sequence, rank_pooled"):
        MVFERImageProcessor(frames="apex")


def test_training_reads_what_the_processor_gives():
    split = make_split(frames=[4, 9])
    data = ViewDataset(split, num_frames=4, frames="rank_pooled")
    processor = MVFERImageProcessor.from_render_settings({"size_px": 16}, frames="rank_pooled", num_frames=4)
    batch = Collator(None, processor, phrases=False)([data[i] | {"captions": [], "known_captions": []} for i in (0, 1)])
    films = [{"frames": [list(frame) for frame in pixels]} for pixels in split.pixels]
    expected = processor(sequences=films, return_tensors="pt")
    torch.testing.assert_close(batch["pixel_values"], expected["pixel_values"])
    assert "frame_mask" not in batch


def test_varying_a_dynamic_image_never_changes_what_grey_means():
    split = make_split(frames=[4, 4])
    change = Augmentation(view_dropout=0, occlusion=0, shift=0, mirror=False, gain=0.5, noise=0, drop_phrases=0)
    processor = MVFERImageProcessor.from_render_settings({"size_px": 16}, frames="rank_pooled")
    varied, plain = (ViewDataset(split, augmentation=one, frames="rank_pooled") for one in (change, None))
    seen, expected = (
        Collator(None, processor, phrases=False)([data[3, 0]])["pixel_values"] for data in (varied, plain)
    )
    torch.testing.assert_close(seen, expected, rtol=0, atol=0)


def test_scans_without_motion_cannot_be_pooled():
    with pytest.raises(ValueError, match="every row is a single scan"):
        ViewDataset(make_split(), frames="rank_pooled")
