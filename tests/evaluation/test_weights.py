"""The weights of views and moments are the fusion's own, averaged over scans and per class."""

import copy

import numpy as np
import pytest
import torch

from mvfer.data.schema import load_splits, view_arrays
from mvfer.evaluation.audits.weights import mean_weights
from mvfer.evaluation.embeddings import MOMENTS, embed_split
from mvfer.reports.report import SECTIONS
from processing.prompts_mvfer import EXPRESSIONS
from tests.train.toy import write_toy_data


@pytest.fixture(scope="module")
def uneven(small_model):
    """The small model with fusions that are no longer neutral."""
    model = copy.deepcopy(small_model)
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "fusion" in name and "score" in name:
                parameter.add_(torch.randn_like(parameter))
    return model


@torch.no_grad()
def by_hand(model, processor, row):
    inputs = processor(
        sequences=[{"frames": [list(frame) for frame in view_arrays(row)], "frame_times_s": row["frame_times_s"]}],
        view_angles_deg=row["view_angles_deg"],
        return_tensors="pt",
    )
    output = model.get_image_features(**inputs)
    return output.view_weights[0].numpy(), output.frame_weights[0].numpy()


def test_view_weights_are_those_of_the_model_scan_by_scan(uneven, small_processor, tmp_path):
    split = load_splits(write_toy_data(tmp_path / "toy"))["test"]
    features = embed_split(uneven, small_processor.image_processor, split, batch_size=4, progress=False)
    assert features.frame_weights is None
    with torch.no_grad():
        inputs = small_processor(
            images=[list(view_arrays(row)[0]) for row in split],
            view_angles_deg=split[0]["view_angles_deg"],
            return_tensors="pt",
        )
        expected = uneven.get_image_features(**inputs).view_weights[:, 0].numpy()
    found = np.stack(list(features.view_weights.values()), 1)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert found.std(0).max() > 1e-3 and list(features.view_weights) == ["right_30", "front", "left_30"]
    summary = mean_weights(features, EXPRESSIONS, seed=0)
    assert summary["views"]["overall"]["front"]["mean"] == pytest.approx(found[:, 1].mean())
    sad = features.labels == EXPRESSIONS.index("sadness")
    assert summary["views"]["per_class"]["sadness"]["left_30"] == pytest.approx(found[sad, 2].mean())
    assert summary["frames"] is None and features.select([2]).view_weights["front"] == found[2, 1]


def test_frames_count_by_their_time_and_views_by_their_frames(uneven, small_processor, tmp_path):
    split = load_splits(write_toy_data(tmp_path / "film", frames=3))["test"]
    features = embed_split(uneven, small_processor.image_processor, split, batch_size=4, progress=False)
    views, frames = by_hand(uneven, small_processor, split[0])
    np.testing.assert_allclose(features.frame_weights[0][[0, 2, 4]], 3 * frames, atol=1e-4)
    np.testing.assert_allclose(features.frame_weights[0][1], 1.5 * (frames[0] + frames[1]), atol=1e-4)
    of_views = [weights[0] for weights in features.view_weights.values()]
    np.testing.assert_allclose(of_views, frames @ views, atol=1e-5)
    summary = mean_weights(features, EXPRESSIONS, seed=0)
    assert summary["frames"]["moments"] == MOMENTS.tolist() and set(summary["frames"]["per_class"]) == {
        "happiness",
        "sadness",
        "surprise",
    }
    text = "".join(SECTIONS["weights"](summary))
    assert "Which views counted" in text and "Which moments counted" in text and "equal weights are 0.333" in text


def test_a_view_that_a_scan_lacks_is_not_counted(uneven, small_processor, tmp_path):
    split = load_splits(write_toy_data(tmp_path / "toy"))["test"]
    features = embed_split(uneven, small_processor.image_processor, split, progress=False)
    features.view_weights["front"][:3] = np.nan
    features.view_weights["left_30"][features.labels == EXPRESSIONS.index("happiness")] = np.nan
    summary = mean_weights(features, EXPRESSIONS, seed=0)
    assert summary["views"]["overall"]["front"]["mean"] == pytest.approx(features.view_weights["front"][3:].mean())
    assert "left_30" not in summary["views"]["per_class"]["happiness"]
