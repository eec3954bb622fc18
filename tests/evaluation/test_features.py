import numpy as np
import pytest
import torch

from mvfer.data.schema import load_splits, view_arrays
from mvfer.evaluation.classifiers import present_classes, validation_accuracy
from mvfer.evaluation.embeddings import embed_split
from tests.train.toy import write_toy_data


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    return load_splits(write_toy_data(tmp_path_factory.mktemp("data") / "toy"))["test"]


@torch.no_grad()
def embed_by_hand(model, processor, row, views=slice(None)):
    """The slow way: the photos of one row through the processor."""
    inputs = processor(
        images=[list(view_arrays(row)[0])[views]], view_angles_deg=row["view_angles_deg"][views], return_tensors="pt"
    )
    return torch.nn.functional.normalize(model.get_image_features(**inputs).pooler_output, dim=-1)[0].numpy()


def test_embeddings_are_those_of_the_processor_row_by_row(small_model, small_processor, split):
    features = embed_split(small_model, small_processor.image_processor, split, batch_size=4, progress=False)
    slow = np.stack([embed_by_hand(small_model, small_processor, row) for row in split])
    np.testing.assert_allclose(features.image_embeds, slow, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(features.image_embeds, axis=1), 1, atol=1e-5)
    assert features.ids == split["id"] and features.labels.tolist() == split["expression"]


def test_a_view_alone_is_the_model_given_only_that_view(small_model, small_processor, split):
    options = {"each_view": True, "progress": False}
    features = embed_split(small_model, small_processor.image_processor, split, batch_size=4, **options)
    assert list(features.by_view) == ["right_30", "front", "left_30"]
    left = np.stack([embed_by_hand(small_model, small_processor, row, slice(2, 3)) for row in split])
    np.testing.assert_allclose(features.by_view["left_30"], left, atol=1e-5)


def test_occlusion_changes_the_embeddings_and_batches_do_not(small_model, small_processor, split):
    options = {"occlusion_seed": 0, "progress": False}
    small = embed_split(small_model, small_processor.image_processor, split, batch_size=2, **options)
    large = embed_split(small_model, small_processor.image_processor, split, batch_size=64, **options)
    np.testing.assert_allclose(small.half_occluded, large.half_occluded, atol=1e-5)
    assert np.abs(small.half_occluded - small.image_embeds).max() > 1e-3


def test_a_split_without_rows_is_refused(small_model, small_processor, split):
    with pytest.raises(ValueError, match="empty split"):
        embed_split(small_model, small_processor.image_processor, split.select([]))


def test_the_training_mode_of_the_model_is_restored(small_model, small_processor, split):
    small_model.train()
    score = validation_accuracy(small_model, small_processor, split)
    was_training = small_model.training
    small_model.eval()
    assert was_training and 0 <= score <= 1


def test_only_classes_that_occur_are_candidates(split):
    assert present_classes(split) == ["happiness", "sadness", "surprise"]
    assert present_classes(split.filter(lambda label: label == 4, input_columns="expression")) == ["happiness"]
