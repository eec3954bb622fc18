"""Pictures to PNGs: whatever is installed, the same pixels come out of them."""

import io

import numpy as np
import pytest
from PIL import Image

from mvfer.data import png
from mvfer.data.png import encode_png
from processing.rendering_mvfer import RenderSettings, render_scan, resolve_backend
from tests.processing.heads import head


@pytest.fixture(params=["Pillow", "numba", "numba and ISA-L"])
def encoder(request, monkeypatch):
    if request.param == "Pillow":
        monkeypatch.setattr(png, "numba_is_installed", lambda: False)
    else:
        pytest.importorskip("numba")
    if request.param == "numba":
        monkeypatch.setattr(png, "isal_zlib", None)
    if request.param == "numba and ISA-L":
        pytest.importorskip("isal")
    return encode_png


@pytest.mark.parametrize("height, width", [(1, 1), (1, 9), (9, 1), (64, 64), (33, 70)])
def test_pixels_come_back(encoder, height, width):
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    for picture in (noise, noise // 64, np.zeros_like(noise), noise[::-1, ::-1]):
        data = encoder(picture)
        with Image.open(io.BytesIO(data)) as opened:
            opened.verify()  # its checksums
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(data), formats=["PNG"])), picture)


def test_views_take_about_as_many_bytes_as_those_of_pillow(encoder, monkeypatch):
    views = render_scan(*head(rows=50, columns=70), RenderSettings(size_px=96))[0]
    size = sum(len(encoder(view)) for view in views)
    monkeypatch.setattr(png, "numba_is_installed", lambda: False)
    assert size < 1.2 * sum(len(encode_png(view)) for view in views)


def test_the_bytes_do_not_depend_on_what_the_process_did_before(monkeypatch):
    views = render_scan(*head(rows=50, columns=70), RenderSettings(size_px=32))[0]
    monkeypatch.setattr("processing.compiled_mvfer.LOOPS", {})
    before = [encode_png(view) for view in views]
    resolve_backend("auto")
    assert [encode_png(view) for view in views] == before
