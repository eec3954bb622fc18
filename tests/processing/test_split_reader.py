import numpy as np
import pytest
import torch

from mvfer.data.schema import load_splits, view_arrays
from mvfer.data.split_reader import SplitReader, frames_of, model_inputs
from processing import MVFERImageProcessor
from processing.rank_pooling_mvfer import rank_pool
from processing.view_batches_mvfer import sample_frames
from tests.train.toy import ANGLES, write_toy_data

SIZE = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}


class Somewhere:
    """Stands for a model."""

    device, dtype = torch.device("cpu"), torch.float64


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    return load_splits(write_toy_data(tmp_path_factory.mktemp("data") / "toy"))["test"]  # nine rows


@pytest.fixture(scope="module")
def sequences(tmp_path_factory):
    return load_splits(write_toy_data(tmp_path_factory.mktemp("data") / "film", frames=7))["test"]


def test_every_row_comes_once_and_in_order_as_the_processor_would_give_it(scans):
    processor = MVFERImageProcessor(**SIZE)
    reader = SplitReader(Somewhere, processor, scans, batch_size=4)
    batches = list(reader)
    assert [list(batch.rows) for batch in batches] == [[0, 1, 2, 3], [4, 5, 6, 7], [8]] and len(reader) == 3
    pixels = torch.cat([batch.inputs["pixel_values"] for batch in batches])
    expected = processor(
        images=[list(view_arrays(row)[0]) for row in scans], view_angles_deg=ANGLES, return_tensors="pt"
    )
    torch.testing.assert_close(pixels, expected["pixel_values"].double())
    assert reader.num_views == 3 and batches[2].inputs["view_mask"].tolist() == [[True] * 3]
    assert frames_of(batches[0].samples[0]).shape == (1, 3, 32, 32, 3)


def test_only_pixels_are_of_the_model_s_precision(sequences):
    inputs = next(iter(SplitReader(Somewhere, MVFERImageProcessor(**SIZE), sequences))).inputs
    kinds = {name: value.dtype for name, value in inputs.items()}
    assert kinds["pixel_values"] == torch.float64 and kinds["frame_mask"] == kinds["view_mask"] == torch.bool
    assert kinds["view_angles_deg"] == kinds["frame_times_s"] == torch.float32


@pytest.mark.parametrize(("own", "asked", "read"), [(3, None, 3), (3, 5, 5), (8, None, 7)])
def test_as_many_frames_are_read_as_the_processor_says_or_as_are_asked_for(sequences, own, asked, read):
    reader = SplitReader(Somewhere, MVFERImageProcessor(**SIZE, num_frames=own), sequences, num_frames=asked)
    samples = next(iter(reader)).samples
    chosen = sample_frames(sequences[0]["frame_times_s"], read)
    np.testing.assert_array_equal(samples[0]["views"], view_arrays(sequences[0])[chosen])


def test_a_dynamic_image_is_made_at_once_or_of_the_frames_that_are_kept(sequences):
    processor = MVFERImageProcessor(**SIZE, frames="rank_pooled")
    at_once = next(iter(SplitReader(Somewhere, processor, sequences)))
    kept = next(iter(SplitReader(Somewhere, processor, sequences, keep_frames=True)))
    pooled = rank_pool(view_arrays(sequences[0]))
    np.testing.assert_array_equal(at_once.samples[0]["views"], pooled)
    np.testing.assert_array_equal(kept.samples[0]["views"], view_arrays(sequences[0]))
    assert at_once.inputs.keys() == kept.inputs.keys() == {"pixel_values", "view_mask", "view_angles_deg"}
    assert all(torch.equal(at_once.inputs[name], kept.inputs[name]) for name in at_once.inputs)
    assert frames_of(at_once.samples[0]).shape == (1, 3, 32, 32, 3)


def test_changed_samples_are_collated_as_the_read_ones(scans):
    reader = SplitReader(Somewhere, MVFERImageProcessor(**SIZE), scans)
    batch = next(iter(reader))
    dark = [sample | {"views": np.zeros_like(sample["views"])} for sample in batch.samples]
    black = reader.image_processor.normalize_views(np.zeros((9, 3, 32, 32, 3), np.uint8)).double()
    torch.testing.assert_close(reader.collate(dark)["pixel_values"], black)
    again = model_inputs(Somewhere, reader.image_processor, batch.samples)
    assert all(torch.equal(again[name], value) for name, value in batch.inputs.items())


def test_a_split_without_rows_is_refused(scans):
    with pytest.raises(ValueError, match="empty split"):
        SplitReader(Somewhere, MVFERImageProcessor(**SIZE), scans.select([]))
