"""The order and the times of files of one sequence, by their names."""

import numpy as np
import pytest

from mvfer.data.frame_times import frame_times


def test_numbers_give_the_order_that_a_shell_does_not():
    paths = [f"a/f{number}.obj" for number in (1, 10, 11, 2, 3, 4, 5, 6, 7, 8, 9)]
    found = frame_times(paths, 10)
    assert found.paths == [f"a/f{number}.obj" for number in range(1, 12)]
    assert found.times_s == pytest.approx(np.arange(11) / 10)
    assert found.said == "in the order of the numbers in their names, at 10 frames per second"


def test_lost_frames_leave_gaps():
    found = frame_times(["f7.obj", "f10.obj", "f8.obj", "f9.obj", "f14.obj"], 25)
    assert found.paths[-1] == "f14.obj" and found.times_s == pytest.approx([0, 0.04, 0.08, 0.12, 0.28])
    assert found.said.endswith("; 3 numbers are missing and leave gaps")


@pytest.mark.parametrize("numbers", [(10, 20, 30, 40), (1700000000123, 1700000000163, 1700000000204)])
def test_numbers_that_do_not_count_frames_give_the_order_alone(numbers):
    found = frame_times([f"f{number}.obj" for number in reversed(numbers)], 25)
    assert found.paths == [f"f{number}.obj" for number in numbers]
    assert found.times_s == pytest.approx(np.arange(len(numbers)) / 25)


@pytest.mark.parametrize(
    "paths, times",
    [
        (["f_1.2s.obj", "f_0.04s.obj", "f_0.5s.obj"], [0.04, 0.5, 1.2]),
        (["120ms.ply", "40ms.ply", "80ms.ply"], [0.04, 0.08, 0.12]),
        (["x1_t=2s.obj", "x2_t=1s.obj"], [1, 2]),
    ],
)
def test_times_in_names_are_taken(paths, times):
    found = frame_times(paths, 25)
    assert found.times_s == pytest.approx(times) and found.said == "times from their names"
    assert sorted(found.paths) == sorted(paths) and frame_times(found.paths, 25) == found


def test_the_number_may_be_that_of_a_folder():
    assert frame_times(["s/10/face.obj", "s/9/face.obj"], 25).paths == ["s/9/face.obj", "s/10/face.obj"]


@pytest.mark.parametrize(
    "paths",
    [
        ["b.obj", "a.obj"],
        ["b2.obj", "a1.obj"],
        ["f2_v1.obj", "f1_v2.obj"],
        ["f02.obj", "f2.obj"],
        ["f1.obj", "f1.obj", "f0.obj"],
        ["1s.obj", "2.obj"],
        ["1s.obj", "1.0s.obj"],
        ["only.obj"],
    ],
)
def test_names_that_say_nothing_keep_the_order_given(paths):
    found = frame_times(paths, 25)
    assert found.paths == paths and found.times_s == pytest.approx(np.arange(len(paths)) / 25)
    assert found.said == "in the order given, at 25 frames per second"


def test_the_order_given_can_be_asked_for():
    assert frame_times(["f2.obj", "f10.obj", "f1.obj"], 25, as_given=True).paths == ["f2.obj", "f10.obj", "f1.obj"]
