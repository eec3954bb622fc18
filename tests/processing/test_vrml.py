"""VRML scenes: what is shown, what is not, and what is not supported."""

import pytest

from processing.meshes_mvfer import load_mesh

from .mesh_files import SHAPE, assert_refused, save, wrl

TWO = [SHAPE.format(f"0 0 {z}, 1 0 {z}, 0 1 {z}", "0 1 2 -1") for z in (1, 2)]
SCRIPT = """DEF S Script {{
  {0}
  url "javascript: function t() {{ return \\"#\\"; }}
  // over two lines"
  directOutput TRUE
}}
"""


def depths(path):
    """z of all vertices, which tells the shapes apart."""
    return sorted(set(load_mesh(path).vertices[:, 2].tolist()))


@pytest.mark.parametrize("choice, seen", [("whichChoice 0", [1]), ("whichChoice 1", [2])])
@pytest.mark.parametrize("order", ["{0} choice [ {1} {2} ]", "choice [ {1}, {2} ] {0}", "{0} children [ {1} {2} ]"])
def test_a_switch_shows_its_choice_alone(tmp_path, choice, seen, order):
    text = "#VRML V2.0 utf8\nSwitch { " + order.format(choice, *TWO) + " }\n"
    assert depths(save(tmp_path / "a.wrl", text)) == seen


def test_a_switch_within_transforms_and_uses_shows_its_choice(tmp_path):
    switch = f"DEF W Switch {{ whichChoice 1 choice [ Group {{ children [ {TWO[0]} ] }} Group {{ children [ {TWO[1]} ] }} ] }}"
    text = f"#VRML V2.0 utf8\n{switch}\nTransform {{ translation 0 0 10 children [ USE W ] }}\n"
    assert depths(save(tmp_path / "a.wrl", text)) == [2, 12]
    single = f"#VRML V2.0 utf8\nSwitch {{ whichChoice 0 choice {TWO[0]} }}"
    assert depths(save(tmp_path / "one.wrl", single)) == [1]


@pytest.mark.parametrize("choice, number", [("", -1), ("whichChoice -1", -1), ("whichChoice 7", 7)])
def test_a_switch_that_shows_nothing_is_said(tmp_path, choice, number):
    switch = f"Switch {{ {choice} choice [ {TWO[0]} ] }}\n"
    assert_refused(
        save(tmp_path / "a.wrl", "#VRML V2.0 utf8\n" + switch), f"left out: Switch with whichChoice {number}"
    )
    with pytest.warns(UserWarning, match=rf"b\.wrl: .*left out: Switch with whichChoice {number}"):
        assert depths(save(tmp_path / "b.wrl", "#VRML V2.0 utf8\n" + switch + TWO[1])) == [2]


def test_a_switch_whose_choice_is_no_number_is_refused(tmp_path):
    text = f"#VRML V2.0 utf8\nSwitch {{ whichChoice x choice [ {TWO[0]} ] }}"
    assert_refused(save(tmp_path / "a.wrl", text), "whichChoice is no number")


@pytest.mark.parametrize(
    "declarations",
    [
        "eventIn SFTime t",
        "eventIn SFTime t eventOut SFBool seen field SFFloat speed 2.5",
        'field SFNode node USE S field MFFloat list [ 1 2 3 ] field SFVec3f place 0 1 2 field SFString name "x # }"',
        "field SFNode node Transform { translation 1 2 3 } field MFNode nodes [ Group { } ] eventOut SFTime u",
        "inputOnly SFTime t initializeOnly SFInt32 count 3 exposedField SFBool on TRUE",
    ],
)
def test_what_a_script_declares_is_skipped(tmp_path, declarations):
    text = "#VRML V2.0 utf8\n" + SCRIPT.format(declarations) + TWO[0] + "\nROUTE S.u TO S.t\n"
    assert depths(save(tmp_path / "a.wrl", text)) == [1]


def test_a_byte_order_mark_is_skipped(tmp_path):
    assert depths(save(tmp_path / "a.wrl", "\ufeff" + wrl())) == [0]
    assert_refused(save(tmp_path / "b.wrl", "\ufeff#VRML V1.0 ascii\nSeparator { }"), "VRML 1.0, expected VRML 2.0")


@pytest.mark.parametrize(
    "node, name", [('Inline { url "face.wrl" }', "Inline"), ("Shape { geometry Sphere { } }", "Sphere")]
)
def test_surfaces_that_are_no_face_sets_are_named(tmp_path, node, name):
    assert_refused(save(tmp_path / "a.wrl", "#VRML V2.0 utf8\n" + node), f"no IndexedFaceSet .* left out: {name}")
    with pytest.warns(UserWarning, match=f"left out: {name}"):
        load_mesh(save(tmp_path / "b.wrl", wrl() + node))
