"""Attributions add up, point at what was planted, and come back to the right place of the mesh."""

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import trimesh

from modeling_mvfer.classifier_mvfer import Classifier
from modeling_mvfer.zeroshot_mvfer import class_logits
from mvfer.cli import main as cli
from mvfer.studies.explain import attribute_views, background, colors_of, heat_of, heat_on_vertices, log_odds
from processing.framing_mvfer import frame_upright
from processing.meshes_mvfer import Mesh
from tests.tiny import bumpy_face

LABELS = ["happiness", "sadness", "surprise"]
ANGLES = [(-30.0, 0.0), (0.0, 0.0), (30.0, 0.0)]


def test_attributions_add_up_to_the_change_of_the_log_odds(small_model, small_processor, face_obj):
    inputs = small_processor(meshes=[face_obj], return_tensors="pt")
    classifier = Classifier.from_prompts(small_model, small_processor, LABELS)
    found = attribute_views(classifier, inputs, "sadness", steps=128)
    with torch.no_grad():
        here = log_odds(classifier, inputs, "sadness")
        empty = dict(inputs) | {"pixel_values": background(inputs["pixel_values"])}
        change = here - log_odds(classifier, empty, "sadness")
    assert float(found.sum()) == pytest.approx(float(change), rel=0.02, abs=0.02)
    with pytest.raises(ValueError, match="a label of"):
        attribute_views(classifier, inputs, "boredom")


class OnePatch:
    """A model that looks at eight by eight pixels of the front view alone."""

    def get_image_features(self, pixel_values, **_):
        lit = pixel_values[0, 1, :, 8:16, 20:28].mean()
        return SimpleNamespace(pooler_output=torch.stack([lit, 1 - lit])[None])


def test_the_heat_is_where_the_model_looks():
    classes = {"lit": torch.tensor([[1.0, 0.0]]), "dark": torch.tensor([[0.0, 1.0]])}
    classifier = Classifier(OnePatch(), list(classes), partial(class_logits, class_embeds=classes, scale=1.0))
    pixels = torch.zeros(1, 3, 3, 32, 32)
    pixels[:, :, :, 4:28, 4:28] = 1.0
    heat = heat_of(attribute_views(classifier, {"pixel_values": pixels}, "lit"))
    assert heat[[0, 2]].max() == 0 and heat.max() == 1
    assert {index // 8 for index in np.argwhere(heat[1] > 0.9)[:, 0]} == {1}
    assert heat[1, 12, 24] == 1 and heat[1, 24, 12] == 0


def test_heat_of_a_view_comes_back_to_what_it_sees():
    mesh = Mesh(*bumpy_face())  # a face alone, all of which is seen
    framed = frame_upright(mesh.vertices, mesh.faces).apply(mesh.vertices)
    size = 64
    heat = np.zeros((3, size, size))
    heat[1, :, size // 2 :] = 1.0  # the right half of the front view is the subject's left side
    warmth = heat_on_vertices(heat, framed, mesh.faces, ANGLES)
    left, right = framed[:, 0] > 0.15, framed[:, 0] < -0.15
    seen = np.isfinite(warmth)
    assert seen.mean() > 0.5
    assert (warmth[left & seen] > 0).mean() > 0.9 and np.nanmax(warmth[right]) == 0
    back = framed * np.array([1, 1, -1]) - np.array([0, 0, 3.0])  # a second face behind the first, which hides it
    both = np.concatenate([framed, back]), np.concatenate([mesh.faces, mesh.faces[:, ::-1] + len(framed)])
    hidden = heat_on_vertices(heat + 1, both[0], both[1], ANGLES[1:2])[len(framed) :]
    assert np.isfinite(hidden).mean() < 0.1


def test_colours_tell_for_from_against():
    red, blue, grey = colors_of(np.array([1.0, -1.0, np.nan])).astype(int)
    assert red[0] > red[2] + 80 and blue[2] > blue[0] + 80 and np.ptp(grey) < 10


def test_the_command_writes_a_coloured_mesh_and_a_picture(small_run, face_obj, tmp_path, capsys):
    out = tmp_path / "explained.ply"
    command = [
        "explain",
        face_obj,
        "--model",
        str(small_run),
        "--labels",
        *LABELS,
        "--label",
        "sadness",
        "--out",
        str(out),
    ]
    assert cli.main(command) == 0
    colors = trimesh.load(out, process=False).visual.vertex_colors
    assert len(np.unique(colors, axis=0)) > 10 and out.with_suffix(".png").stat().st_size > 5_000
    assert "speaks for sadness" in capsys.readouterr().out
    assert cli.main([*command[:-1], "explained.obj"]) == 2
    assert ".ply or .glb" in capsys.readouterr().err
