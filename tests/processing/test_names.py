"""Names of materials and files in OBJ and MTL, as foreign programs write them."""

import os
import warnings

import pytest
from PIL import Image

from processing.meshes_mvfer import load_mesh
from processing.names_mvfer import spellings, split_library_names, without_comment, without_options

from .mesh_files import VT, V, save

COLOR = (5, 6, 7)
HEAD, MTL = "mtllib m.mtl\nusemtl skin\n", "newmtl skin\nmap_Kd face.png\n"


def textured(folder, *, head=HEAD, mtl=MTL, image="face.png", library="m.mtl", others=()):
    """An OBJ that begins with `head`, its library and its picture; texts may be bytes. `others`: (name, text)."""
    folder.mkdir(exist_ok=True)
    Image.new("RGB", (2, 2), COLOR).save(folder / image)
    for name, text in ((library, mtl), *others):
        save(folder / name, text)
    head = head if isinstance(head, bytes) else head.encode()
    return save(folder / "m.obj", head + f"{VT}f 1/1 2/2 3/3\n".encode())


def read_quietly(path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return load_mesh(path)


NAMED = {
    "tabs": dict(head="mtllib\tm.mtl\nusemtl\tskin\n", mtl="newmtl\tskin\nmap_Kd\tface.png\n"),
    "indented with tabs": dict(mtl="\tnewmtl skin\n\tKd 1 1 1\n\tmap_Kd\tface.png\n"),
    "old line ends": dict(mtl="newmtl skin\rmap_Kd face.png\r"),
    "keywords in capitals": dict(mtl="newmtl skin\nMAP_KD face.png\n"),
    "comments": dict(head="mtllib m.mtl # m\nusemtl skin # s\n", mtl="newmtl skin # s\nmap_Kd face.png # f\n"),
    "a number sign in names": dict(head="mtllib m.mtl\nusemtl skin#2\n", mtl=MTL.replace("skin", "skin#2")),
    "a number sign after a blank": dict(mtl=MTL.replace("face", "face #2"), image="face #2.png"),
    "blanks": dict(
        head="mtllib my m.mtl\nusemtl my skin\n",
        mtl="newmtl my skin\nmap_Kd my face.png\n",
        library="my m.mtl",
        image="my face.png",
    ),
    "quotes": dict(head='mtllib "m.mtl"\nusemtl skin\n', mtl=MTL.replace("face.png", '"face.png"')),
    "two libraries in a line": dict(
        head="mtllib a.mtl m.mtl\nusemtl skin\n", others=[("a.mtl", "newmtl b\nKd 1 1 1\n")]
    ),
    "two libraries, a blank in one": dict(
        head="mtllib a b.mtl m.mtl # two\nusemtl skin\n", others=[("a b.mtl", "newmtl b\n")]
    ),
    "two lines of libraries": dict(head="mtllib a.mtl\nmtllib m.mtl\nusemtl skin\n", others=[("a.mtl", "newmtl b\n")]),
    "options": dict(mtl=MTL.replace("face", "-s 1 1 1 -o 0 0 -clamp on -bm 0.5 -mm 0 1 my face"), image="my face.png"),
    "a name like an option": dict(mtl=MTL.replace("face", "-face"), image="-face.png"),
    "web address": dict(mtl=MTL.replace("face", "my%20face"), image="my face.png"),
    "no usemtl": dict(head="mtllib m.mtl\n", mtl=MTL + "newmtl plain\n"),
    "backslash in a comment": dict(head="# exported to C:\\scans\\\n" + HEAD),
    "UTF-8": dict(mtl=MTL.replace("face", "visage_é"), image="visage_é.png"),
    "byte order mark": dict(mtl="\ufeff" + MTL),
}
ENCODED = {"latin-1": "déjà_é", "cp932": "顔表", "gbk": "脸部", "cp1252": "œuvre"}


@pytest.mark.parametrize("options", NAMED.values(), ids=NAMED)
def test_a_texture_is_found_however_it_is_named(tmp_path, options):
    assert read_quietly(textured(tmp_path / "scan", **options)).texture[0, 0].tolist() == list(COLOR)


@pytest.mark.parametrize("encoding, name", ENCODED.items())
@pytest.mark.parametrize("obj_encoding", ["same", "utf-8"])
def test_names_in_the_encodings_of_windows_are_found(tmp_path, encoding, name, obj_encoding):
    head = f"mtllib {name}.mtl\nusemtl {name}\n".encode(encoding if obj_encoding == "same" else obj_encoding)
    mtl = f"newmtl {name}\nmap_Kd {name}.png\n".encode(encoding)
    path = textured(tmp_path / "scan", head=head, mtl=mtl, library=f"{name}.mtl", image=f"{name}.png")
    assert read_quietly(path).texture[0, 0].tolist() == list(COLOR)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no file names of bytes")
def test_a_file_whose_own_name_is_no_utf8_is_found(tmp_path):
    path = textured(tmp_path / "scan", mtl=MTL.encode().replace(b"face", b"visage_\xe9"))
    try:
        (path.parent / "face.png").rename(os.fsdecode(os.fsencode(path.parent) + b"/visage_\xe9.png"))
    except OSError:
        pytest.skip("this file system takes UTF-8 alone")
    assert read_quietly(path).texture[0, 0].tolist() == list(COLOR)


SAID = {
    "latin-1": (dict(mtl=MTL.encode().replace(b"face", b"visag\xe9")), "its texture visagé.png is missing"),
    "comment": (dict(mtl=MTL.replace("face.png", "gone.png # f")), "its texture gone.png is missing"),
    "one of two libraries": (
        dict(head="mtllib gone.mtl m.mtl\nusemtl skin\n"),
        "its material file gone.mtl is missing",
    ),
    "no such material": (
        dict(head="mtllib m.mtl\nusemtl Haut\n"),
        "its material Haut is in none of its material files",
    ),
    "several, none chosen": (dict(head="mtllib m.mtl\n", mtl=MTL + "newmtl b\nmap_Kd b.png\n"), "several textures"),
}


@pytest.mark.parametrize("options, message", SAID.values(), ids=SAID)
def test_a_texture_that_is_lost_is_a_warning(tmp_path, options, message):
    path = textured(tmp_path / "scan", **options)
    with pytest.warns(UserWarning, match=message) as caught:
        load_mesh(path)
    assert str(caught[0].message).startswith(f"{path}: ") and str(caught[0].message).encode()  # it can be printed


@pytest.mark.parametrize("name", ["%2e%2e/secret.png", "-s 1 1 1 ../secret.png", "x # ../../secret.png"])
def test_no_way_of_writing_a_name_leads_out_of_the_folder(tmp_path, name):
    Image.new("RGB", (2, 2)).save(tmp_path / "secret.png")
    path = textured(tmp_path / "scan", mtl=f"newmtl skin\nmap_Kd {name}\n")
    with pytest.raises(ValueError, match=r"m\.obj: refers to .*secret\.png.*outside its own folder"):
        load_mesh(path)


TRIANGLE_LINES = {
    "a folder in the last comment": "# D:\\scans\\p01\\\n" + V + "f 1 2 3\n",
    "a folder in a comment between": V + "# D:\\scans\\\nf 1 2 3\n",
    "a group that ends in a backslash": V + "g D:\\\nf 1 2 3\n",
    "a comment behind data": V.replace("v 0 1 0", "v 0 1 0 # D:\\") + "f 1 2 3\n",
    "data over several lines": V.replace("v 0 1 0", "v \\\n0 \\ \t\n 1 0") + "f 1 \\\n\t2\\\n 3\n",
    "data over lines of Windows": (V + "f 1 2 \\\n3\n").replace("\n", "\r\n"),
    "indented data over lines": V + "  f 1 \\\n    2 3\n",
}


@pytest.mark.parametrize("text", TRIANGLE_LINES.values(), ids=TRIANGLE_LINES)
def test_only_data_go_on_after_a_backslash(tmp_path, text):
    mesh = load_mesh(save(tmp_path / "a.obj", text))
    assert mesh.vertices.tolist() == [[0, 0, 0], [1, 0, 0], [0, 1, 0]] and mesh.faces.tolist() == [[0, 1, 2]]


@pytest.mark.parametrize(
    "value, name",
    [
        ("skin.png", "skin.png"),
        ("-clamp on my skin.png", "my skin.png"),
        ("-t 1 0.5 2e-1 skin.png", "skin.png"),
        ("-s 1 1 7.png", "7.png"),
        ("-imfchan r -texres 512 skin.png", "skin.png"),
        ("-unknown skin.png", "-unknown skin.png"),
        ("-s 1 1 1", "1"),
    ],
)
def test_options_of_a_texture_are_cut_off_by_their_numbers_of_values(value, name):
    assert without_options(value) == name


def test_long_lines_take_no_long_time():
    for text in ("-s 1 1 1 " * 20000, "a " * 20000, " " * 20000 + "#", ".mtl " * 20000, "1 " * 20000):
        assert without_options(text) is not None and without_comment(text) is not None and split_library_names(text)


def test_spellings_begin_with_utf8_and_keep_the_bytes():
    assert spellings("skin") == ["skin"] and spellings("顔") == ["顔"]
    latin = b"\xe9.png".decode("utf-8", "surrogateescape")
    assert spellings(latin)[0] == "é.png" and spellings(latin)[-1] == latin
