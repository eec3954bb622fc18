"""The benchmark of framing, small: it runs, and what it counts is what it says."""

import numpy as np
import pytest

from benchmarks.framing import error_of, measure_share, summary, table
from benchmarks.no_faces import FRESH_NO_FACES
from dataset_scripts.synthetic.scan_disturbances import DISTURBANCES, Head
from processing.framing_mvfer import FRAMED
from tests.processing.heads import head


def test_every_disturbance_keeps_landmarks_with_the_head_and_a_surface():
    vertices, faces = head(rows=60, columns=80)
    clean = Head(vertices, faces, vertices[[0, 10, 20, 30]])
    for name, disturb in DISTURBANCES.items():
        scan = disturb(clean, np.random.default_rng(1))
        assert len(scan.faces) > 100 and scan.faces.max() < len(scan.vertices), name
        assert np.isfinite(scan.vertices).all() and scan.landmarks.shape == (4, 3), name
    mirrored = DISTURBANCES["mirrored"](clean, np.random.default_rng(1))
    assert mirrored.is_mirrored and error_of(FRAMED, clean, clean) < 1e-6


@pytest.mark.parametrize("name", FRESH_NO_FACES)
def test_every_thing_that_is_no_face_has_a_surface_and_is_another_each_time(name):
    vertices, faces = head(rows=60, columns=80)
    clean = Head(vertices, faces, vertices[[0, 10, 20, 30]])
    one, other = (FRESH_NO_FACES[name](clean, np.random.default_rng(seed)) for seed in (1, 2))
    assert len(one.faces) > 40 and one.faces.max() < len(one.vertices) and np.isfinite(one.vertices).all()
    assert one.faces.shape != other.faces.shape or not np.allclose(one.vertices, other.vertices)


def test_what_is_off_is_silent_only_if_nothing_of_the_frame_was_inferred():
    off = {"disturbance": "hair", "plain_error": 1.0, "found_error": 0.06, "found_is_face": True, "found_likeness": 0.9}
    found = summary([off | {"found_inferred": ("size",)}, off | {"found_inferred": ()}])["hair"]
    assert (found["silent"], found["inferred"], found["inferred_off"]) == (50.0, 1, 1)


@pytest.mark.slow
def test_a_small_run_finds_more_than_the_plain_measure():
    pytest.importorskip("anny")
    rows = measure_share(0, 1, len(DISTURBANCES), 5, "anny", None, False)
    found = summary(rows)
    assert found["all"]["cases"] == len(DISTURBANCES)
    assert found["all"]["found_within"] > found["all"]["plain_within"]
    assert "| all | 20 |" in table(found)
