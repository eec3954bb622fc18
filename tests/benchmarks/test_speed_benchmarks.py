"""The benchmarks of speed: what is compared does the same, what is fitted is right. The figures are nobody's test."""

import pytest

from benchmarks import growth, pixels, steps
from benchmarks.build_speed import encode_all, encode_before
from processing.rendering_mvfer import RenderSettings, render_scan
from tests.processing.heads import head


def test_the_peer_of_pixels_draws_the_same_pictures(tmp_path):
    pytest.importorskip("embreex")
    pixels.write_head(tmp_path / "head.obj", 9_000)
    assert pixels.check(tmp_path / "head.obj") > 0.95


def test_a_peer_that_draws_something_else_is_an_error(tmp_path, monkeypatch):
    pytest.importorskip("embreex")
    pixels.write_head(tmp_path / "head.obj", 9_000)
    shaded = pixels.shaded
    monkeypatch.setattr(pixels, "shaded", lambda view: shaded(view)[..., ::-1, :])
    with pytest.raises(ValueError, match="draws something else"):
        pixels.check(tmp_path / "head.obj")


@pytest.mark.parametrize("power", [0.35, 1.0, 2.0])
def test_the_exponent_of_growth(power):
    assert growth.exponent({size: 3 * size**power for size in (1, 2, 4, 8)}) == pytest.approx(power)


def test_every_step_from_a_file_to_pixels_runs(tmp_path):
    pixels.write_head(tmp_path / "head.obj", 9_000)
    found = {name: run() for name, run in steps.steps(tmp_path / "head.obj", 64, 1, "torch").items()}
    assert found["all"]["pixel_values"].shape == (1, 3, 3, 64, 64) and len(found) > 6


def test_views_take_no_more_bytes_than_they_took():
    vertices, faces = head(rows=50, columns=70)
    views = render_scan(vertices, faces, RenderSettings(size_px=64))[0]
    assert 0 < encode_all(views) < encode_before(views)
