from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mvfer.data import schema
from mvfer.studies.apex import apex_errors, apex_of_distances, apex_of_weights, nearest_frames
from tests.train.toy import ANGLES


def test_the_heaviest_present_frame_is_the_apex():
    weights, mask = np.array([[0.1, 0.6, 0.3], [0.4, 0.0, 0.6]]), np.array([[1, 1, 1], [1, 1, 0]], bool)
    assert apex_of_weights(weights, mask).tolist() == [1, 0]


def test_the_frame_farthest_from_the_first_present_one_is_the_apex_whatever_its_length():
    turn = np.deg2rad([0.0, 20, 50, 10])
    frames = np.stack([np.cos(turn), np.sin(turn)], -1) * np.array([[1], [9], [0.1], [5]])
    assert apex_of_distances(frames[None], np.ones((1, 4), bool)).tolist() == [2]
    assert apex_of_distances(frames[None], np.array([[0, 1, 0, 1]], bool)).tolist() == [3]  # seen from the second


@pytest.mark.parametrize("length", [1, 300])
def test_any_length_has_an_apex(length):
    mask = np.ones((1, length), bool)
    assert 0 <= apex_of_distances(np.random.default_rng(0).normal(size=(1, length, 4)), mask)[0] < length
    times = np.arange(length)[None] / 25
    assert nearest_frames(times, mask, np.array([1e9])).tolist() == [length - 1]


class Brightness:
    """Stands for a model: a frame's weight is its brightness, its feature turns with it."""

    training, device, dtype = False, torch.device("cpu"), torch.float32

    def eval(self):
        return self

    def train(self, mode):
        return self

    def get_image_features(self, pixel_values, frame_mask, **_):
        bright = pixel_values.mean((2, 3, 4, 5))
        features = torch.stack([torch.cos(bright), torch.sin(bright)], -1)
        return SimpleNamespace(frame_weights=bright.softmax(-1) * frame_mask, frame_features=features)


def rows_with_apex(folder, apexes):
    rows = []
    for number, (length, apex) in enumerate(apexes):
        light = 200 - 30 * np.abs(np.arange(length) - (apex or 0))
        views = np.broadcast_to(light.clip(0)[:, None, None, None, None], (length, 3, 32, 32, 3)).astype(np.uint8)
        name = f"film-{number}"
        rows.append(
            {
                "id": name,
                "subject": f"s{number}",
                "expression": 0,
                "captions": [],
                "caption_source": "none",
                "views": schema.encode_views(views, name),
                "view_angles_deg": ANGLES,
                "split": "test",
                "frame_times_s": [t / 10 for t in range(length)],
                "apex_time_s": None if apex is None else apex / 10,
            }  # fmt: skip
        )
    schema.write_shard(schema.shard_path(folder, "test", 0, 1), rows)
    return schema.load_splits(folder)["test"]


def test_errors_are_counted_in_frames_over_the_rows_whose_apex_is_known(small_processor, tmp_path):
    split = rows_with_apex(tmp_path, [(9, 2), (6, 5), (5, None)])
    found = apex_errors(Brightness(), small_processor.image_processor, split, seed=0, batch_size=2)
    assert found["num_sequences"] == 2
    assert found["frame_weights"]["mean"] == 0
    assert found["middle_frame"]["mean"] == ((4 - 2) + (5 - 3)) / 2
    with pytest.raises(ValueError, match="known apex_time_s"):
        apex_errors(Brightness(), small_processor.image_processor, split.select([2]), seed=0)


def test_a_real_model_is_asked_the_same_way(small_model, small_processor, tmp_path):
    split = rows_with_apex(tmp_path, [(4, 1), (7, 3)])
    found = apex_errors(small_model, small_processor.image_processor, split, seed=0)
    assert found["frame_weights"]["mean"] == (1 + 3) / 2  # untrained weights are equal: the first frame
    assert 0 <= found["onset_distance"]["mean"] <= 4
