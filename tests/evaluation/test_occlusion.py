import numpy as np
import pytest

from mvfer.evaluation.occlusion import SIDES, cover_half, cover_halves, draw_sides


def test_the_covered_half_is_background_and_the_rest_is_untouched():
    views = np.full((2, 3, 6, 6, 3), 200, np.uint8)  # (T, V, H, W, 3)
    for side in SIDES:
        covered = cover_half(views, side)
        assert (covered == 0).mean() == 0.5 and (covered[covered > 0] == 200).all()
    assert (cover_half(views, "left")[..., :3, :] == 0).all() and (cover_half(views, "top")[..., :3, :, :] == 0).all()
    assert (views == 200).all()
    with pytest.raises(ValueError, match="expected a side"):
        cover_half(views, "middle")


def test_sides_come_from_the_seed_and_are_balanced():
    sides = draw_sides(2000, 2, seed=1)
    assert sides == draw_sides(2000, 2, seed=1) != draw_sides(2000, 2, seed=2)
    assert all(900 < sum(row.count(side) for row in sides) < 1100 for side in SIDES)


def test_every_view_has_its_own_half_covered():
    covered = cover_halves(np.full((2, 6, 6, 3), 200, np.uint8), ["left", "top"])  # (V, H, W, 3)
    assert (covered[0, :, :3] == 0).all() and (covered[0, :, 3:] == 200).all()
    assert (covered[1, :3] == 0).all() and (covered[1, 3:] == 200).all()
