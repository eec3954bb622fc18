"""Textures are read from the mesh's own folder alone, and only if they are pictures of a sensible size."""

import numpy as np
import pytest
from PIL import Image

from processing.meshes_mvfer import load_mesh

from .mesh_files import VT, ply, save, wrl


def textured_obj(folder, texture, *, library="m.mtl"):
    save(folder / "m.mtl", f"newmtl skin\nmap_Kd {texture}\n")
    return save(folder / "m.obj", f"mtllib {library}\nusemtl skin\n{VT}f 1/1 2/2 3/3\n")


@pytest.fixture
def secret(tmp_path):
    """A mesh folder with an image next to it, outside."""
    (tmp_path / "meshes").mkdir()
    Image.new("RGB", (2, 2)).save(tmp_path / "secret.png")
    return tmp_path / "secret.png"


OUTSIDE = ["../secret.png", "..\\secret.png", "tex/../../secret.png", "{secret}", "C:\\secret.png", "file://{secret}"]


@pytest.mark.parametrize("name", [*OUTSIDE, "\\\\host\\share\\secret.png", "https://example.org/secret.png"])
def test_texture_outside_the_folder_is_forbidden(secret, name):
    name = name.format(secret=secret)
    with pytest.raises(ValueError, match=r"m\.obj: refers to .*secret\.png.*outside its own folder"):
        load_mesh(textured_obj(secret.parent / "meshes", name))
    assert load_mesh(secret.parent / "meshes" / "m.obj", geometry_only=True).texture is None


def test_texture_link_out_of_the_folder_is_forbidden(secret):
    folder = secret.parent / "meshes"
    (folder / "skin.png").symlink_to(secret)
    with pytest.raises(ValueError, match=r"m\.obj: refers to 'skin\.png', outside"):
        load_mesh(textured_obj(folder, "skin.png"))


def test_a_folder_that_only_looks_like_a_hub_cache_gives_no_way_out(secret):
    folder = secret.parent / "meshes" / "datasets--a--b" / "snapshots" / "abc"
    folder.mkdir(parents=True)
    (folder.parents[1] / "blobs").symlink_to(secret.parent)
    (folder / "skin.png").symlink_to("../../blobs/secret.png")
    with pytest.raises(ValueError, match=r"m\.obj: refers to 'skin\.png', outside"):
        load_mesh(textured_obj(folder, "skin.png"))


def test_link_within_the_folder_is_fine(secret):
    folder = secret.parent / "meshes"
    Image.new("RGB", (2, 2), (5, 6, 7)).save(folder / "real.png")
    (folder / "skin.png").symlink_to("real.png")
    assert load_mesh(textured_obj(folder, "skin.png")).texture[0, 0].tolist() == [5, 6, 7]


@pytest.mark.parametrize("name", ["Skin.PNG", "skin.png", "SKIN.png"])
def test_names_are_found_in_another_case(tmp_path, name):
    (tmp_path / "Tex").mkdir()
    Image.new("RGB", (2, 2), (5, 6, 7)).save(tmp_path / "Tex" / "Skin.png")
    assert load_mesh(textured_obj(tmp_path, f"tex/{name}", library="M.MTL")).texture[0, 0].tolist() == [5, 6, 7]


def test_the_exact_name_goes_before_one_in_another_case(tmp_path):
    for name, color in (("SKIN.png", 1), ("skin.png", 2), ("Skin.png", 3)):
        Image.new("RGB", (2, 2), (color,) * 3).save(tmp_path / name)
    assert load_mesh(textured_obj(tmp_path, "skin.png")).texture[0, 0].tolist() == [2, 2, 2]


def test_another_case_is_no_way_out_of_the_folder(secret):
    folder = secret.parent / "meshes"
    (folder / "Skin.png").symlink_to(secret)
    with pytest.raises(ValueError, match=r"m\.obj: refers to 'Skin\.png', outside"):
        load_mesh(textured_obj(folder, "skin.png"))


@pytest.mark.parametrize("dtype, most", [(np.uint16, 65535), (np.float32, 1.0)])
def test_textures_of_16_bits_and_of_floats_look_as_they_do_in_8(tmp_path, dtype, most):
    Image.fromarray((np.array([[0, 0.2], [0.6, 1]]) * most).astype(dtype)).save(tmp_path / "a.tif")
    assert load_mesh(textured_obj(tmp_path, "a.tif")).texture[..., 1].tolist() == [[0, 51], [153, 255]]


def test_textures_are_not_turned_as_their_coordinates_refer_to_stored_pixels(tmp_path):
    image = Image.fromarray(np.arange(24, dtype=np.uint8).reshape(2, 4, 3))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "skin.png", exif=exif)
    assert load_mesh(textured_obj(tmp_path, "skin.png")).texture.shape == (2, 4, 3)


def test_material_file_outside_the_folder_is_forbidden(secret):
    with pytest.raises(ValueError, match=r"m\.obj: refers to '\.\./m\.mtl', outside"):
        load_mesh(textured_obj(secret.parent / "meshes", "a.png", library="../m.mtl"))


def test_wrl_texture_outside_the_folder_is_forbidden(secret):
    look = 'appearance Appearance { texture ImageTexture { url ["../secret.png"] } }'
    text = (
        wrl()
        .replace("geometry", look + " geometry")
        .replace("coordIndex", "texCoord TextureCoordinate { point [0 0 1 0 0 1] } coordIndex")
    )
    with pytest.raises(ValueError, match=r"a\.wrl: refers to '\.\./secret\.png', outside"):
        load_mesh(save(secret.parent / "meshes" / "a.wrl", text))


def test_ply_texture_outside_the_folder_is_forbidden(secret):
    text = ply("0 0 0 0 0\n1 0 0 1 0\n0 1 0 0 1\n3 0 1 2\n").decode()
    text = text.replace("1.0\n", "1.0\ncomment TextureFile ../secret.png\n", 1)
    text = text.replace("float z\n", "float z\nproperty float s\nproperty float t\n")
    with pytest.raises(ValueError, match=r"a\.ply: refers to '\.\./secret\.png', outside"):
        load_mesh(save(secret.parent / "meshes" / "a.ply", text))


def test_texture_that_is_no_image(tmp_path):
    save(tmp_path / "skin.png", "not an image")
    with pytest.raises(
        ValueError, match=r"m\.obj: its texture 'skin\.png' is not readable \(no picture of a known kind"
    ):
        load_mesh(textured_obj(tmp_path, "skin.png"))


def test_texture_of_absurd_size_is_refused_before_decoding(tmp_path):
    Image.new("1", (20000, 8000)).save(tmp_path / "skin.png")
    with (
        pytest.warns(Image.DecompressionBombWarning),
        pytest.raises(ValueError, match="20000 x 8000 pixels, more than"),
    ):
        load_mesh(textured_obj(tmp_path, "skin.png"))


def test_texture_that_is_a_postscript_program_is_not_run(tmp_path):
    save(tmp_path / "skin.eps", "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    with pytest.raises(ValueError, match=r"its texture 'skin\.eps' is not readable"):
        load_mesh(textured_obj(tmp_path, "skin.eps"))
