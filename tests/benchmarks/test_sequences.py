import numpy as np
import pytest

from benchmarks.sequences import write_apex_set
from mvfer.data.schema import dataset_info, load_splits, view_arrays
from tests.train.toy import write_toy_data


def test_the_apex_set_holds_the_true_apex_frames_as_scans(tmp_path):
    source = write_toy_data(tmp_path / "film", frames=5, apex_frame=3)
    folder = write_apex_set(source, tmp_path / "apex-set")
    for name, films in load_splits(source).items():
        scans = load_splits(folder)[name]
        assert scans["id"] == films["id"] and set(map(tuple, scans["frame_times_s"])) == {(0.0,)}
        np.testing.assert_array_equal(view_arrays(scans[0]), view_arrays(films[0])[3:4])
    assert dataset_info(folder)["render_settings"] == dataset_info(source)["render_settings"]


def test_a_set_that_knows_no_apex_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no row has an apex_time_s"):
        write_apex_set(write_toy_data(tmp_path / "film", frames=2), tmp_path / "apex-set")
