"""Sets that keep geometry: what is added, that nothing else changes, that it shows what was shown, and who is warned."""

import numpy as np
import pyarrow.parquet as pq
import pytest
from datasets import load_dataset

from dataset_scripts.push import push
from dataset_scripts.validate import validate
from mvfer.data import schema
from mvfer.data.free_views import FreeViews
from mvfer.data.packed_geometry import unpack_mesh
from processing.rendering_mvfer import RenderSettings

from .layouts import bu3dfe, rows_of, write_picture, write_wrl

CLAY = ("--channels", "clay", "curvature", "depth")


def seen_again(row, settings: RenderSettings) -> np.ndarray:
    """The row's geometry from the cameras of its stored views."""
    return FreeViews(settings).render(row["geometry"], np.array(row["view_angles_deg"]), row["light_deg"])


def assert_same_pictures(row, settings: RenderSettings) -> None:
    """Equal but for the rounding of vertices: nearly everywhere to one level of 255, and elsewhere at edges only."""
    apart = np.abs(seen_again(row, settings).astype(int) - schema.view_arrays(row)).max(-1)
    assert apart.mean() < 0.1 and (apart > 1).mean() < 0.005


@pytest.mark.parametrize("settings", [{}, {"vary_geometry": True}, {"kind": "4d", "num_frames": 3}], ids=str)
def test_kept_geometry_seen_from_the_stored_angles_gives_the_stored_views(build_faces, tmp_path, settings):
    render = RenderSettings(size_px=64, supersampling=2)
    build_faces(tmp_path, render=render, keep_geometry=True, subjects=(1, 0, 0), **settings)
    rows = schema.load_splits(tmp_path, decode=False)["train"].to_list()
    assert {len(row["geometry"]) for row in rows} == {settings.get("num_frames", 1)}
    assert any(row["light_deg"] for row in rows) == bool(settings.get("vary_geometry"))
    for row in rows:
        assert_same_pictures(row, render)


def test_geometry_adds_two_columns_and_changes_no_other(build_faces, tmp_path):
    plain, kept = tmp_path / "plain", tmp_path / "kept"
    infos = build_faces(plain), build_faces(kept, keep_geometry=True)
    tables = [pq.read_table(schema.shard_path(folder, "train", 0, 1)) for folder in (plain, kept)]
    assert tables[1].column_names == [*tables[0].column_names, "geometry", "light_deg"]
    assert tables[1].drop_columns(["geometry", "light_deg"]).to_pylist() == tables[0].to_pylist()
    assert "geometry" not in infos[0] and "keep_geometry" not in infos[0]["build"]
    assert infos[1]["geometry"] is True and infos[1]["build"]["keep_geometry"] is True
    assert schema.load_splits(kept)["train"].features == schema.features(geometry=True)
    assert load_dataset("parquet", data_dir=str(kept))["test"].features == schema.features(geometry=True)


def test_one_topology_is_written_once_per_group_of_rows(build_faces, tmp_path):
    build_faces(tmp_path, keep_geometry=True)
    metadata = pq.read_metadata(schema.shard_path(tmp_path, "train", 0, 1))
    sizes = {
        c.path_in_schema: c.total_compressed_size
        for c in map(metadata.row_group(0).column, range(metadata.num_columns))
    }
    mesh = schema.load_splits(tmp_path)["train"][0]["geometry"][0]
    rows = metadata.num_rows
    assert rows > 10 and sizes["geometry.list.element.faces"] < 1.2 * len(mesh["faces"]) + 100
    assert sizes["geometry.list.element.vertices"] < 1.2 * rows * len(mesh["vertices"]) + 100


def test_the_card_says_that_geometry_is_inside(build_faces, build, tmp_path):
    build_faces(tmp_path / "synthetic", keep_geometry=True)
    assert "**Geometry is inside.**" in (tmp_path / "synthetic" / "README.md").read_text()
    out = build("bu3dfe", bu3dfe(tmp_path / "BU_3DFE"), "--geometry_only", "--keep_geometry")
    card = (out / "README.md").read_text()
    assert "**Geometry is inside.**" in card and "identifies a person" in card and "not to be passed on" in card


def test_recorded_scans_keep_their_geometry_and_it_is_not_shared(build, tmp_path):
    out = build("bu3dfe", bu3dfe(tmp_path / "BU_3DFE"), "--keep_geometry", *CLAY, "--size_px", 64)
    render = RenderSettings.from_dict(schema.dataset_info(out)["render_settings"])
    for row in rows_of(out)[:3]:
        assert_same_pictures(row, render)
    assert schema.dataset_info(out)["may_share"] is False
    with pytest.raises(ValueError, match="not to be passed on"):
        push(out, "somebody/faces", api=object())


def test_sequences_of_changing_topology_keep_one_mesh_per_frame(build, tmp_path):
    for person in ("F001", "M001", "M043"):
        for number in range(3):
            write_wrl(tmp_path / "BU_4DFE" / person / "Happy" / f"{number:03d}.wrl", number / 10)
    row = rows_of(build("bu4dfe", tmp_path / "BU_4DFE", "--keep_geometry", *CLAY))[0]
    vertices = [unpack_mesh(mesh)[0] for mesh in row["geometry"]]
    assert len(vertices) == 3 and 0.01 < np.abs(vertices[1] - vertices[0]).max() < 0.5


def test_colours_and_photos_are_refused(build, tmp_path, capsys):
    build("bu3dfe", bu3dfe(tmp_path / "BU_3DFE"), "--keep_geometry", status=1)
    message = capsys.readouterr().err
    assert "shapes without colours" in message and "red, green, blue" in message and "--geometry_only" in message
    write_picture(tmp_path / "photos" / "happiness" / "ann.png")
    build("folder", tmp_path / "photos", "--keep_geometry", status=1)
    assert "photos have no geometry" in capsys.readouterr().err


def test_validate_finds_damaged_geometry(build_faces, tmp_path):
    build_faces(tmp_path, keep_geometry=True)
    assert validate(tmp_path).failures == []
    path = schema.shard_path(tmp_path, "test", 0, 1)
    rows = pq.read_table(path).to_pylist()
    rows[0]["geometry"][0]["vertices"] = b"damaged"
    rows[1]["geometry"] = []
    schema.write_shard(path, rows, geometry=True)
    assert any("test: rows without sound geometry: 2" in text for text in validate(tmp_path).failures)
