"""What somebody dropped on the app, made into one input.

In: paths of uploaded files, zip files among them, and an empty folder of one's own. Out: an [`Upload`], whose files lie in that
folder. A zip is looked at before anything of it is written: how many files, how large, and where they would go.
"""

import shutil
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from processing.images_mvfer import PHOTO_SUFFIXES, PictureError, read_picture
from processing.meshes_mvfer import MESH_SUFFIXES

COMPANIONS = (".mtl", ".bin")  # what a mesh file names; its textures are photos
MAX_FRAMES = 240  # meshes of one sequence
MAX_PHOTOS = 16  # of one moment
MAX_FILES = 2000  # in a zip
MAX_BYTES = 512 * 2**20  # of all files, unpacked
MAX_PIXELS = 50_000_000  # of a photo
_CHUNK = 2**20
_KINDS = f"meshes ({', '.join(MESH_SUFFIXES)}), photos ({', '.join(PHOTO_SUFFIXES)}), or a zip of these"


@dataclass(frozen=True)
class Upload:
    """One input.

    Attributes:
        kind (`str`): "meshes", one or the frames of a sequence; or "photos", of one moment.
        paths (`list[str]`): of these, sorted by name.
        name (`str`): what to call it.
    """

    kind: str
    paths: list[str]
    name: str


def gather(files: Sequence[str | Path], folder: str | Path) -> Upload:
    """Copy or unpack the files into `folder`, and see what they are.

    Raises:
        ValueError: `"name: reason; remedy"`, for a damaged or hostile zip, too much of anything, and nothing to read.
    """
    folder, given = Path(folder), [Path(file) for file in files]
    if not given:
        raise ValueError(f"no file; drop {_KINDS}")
    gone = [file.name for file in given if not file.is_file()]
    if gone:
        raise ValueError(f"{gone[0]}: no longer there, as it waited too long; drop it again")
    loose = [file for file in given if file.suffix.lower() != ".zip"]
    _check_size(sum(file.stat().st_size for file in loose), "these files")
    for file in loose:
        shutil.copyfile(file, _free(folder / file.name))
    for number, file in enumerate(file for file in given if file.suffix.lower() == ".zip"):
        unpack(file, folder / f"zip_{number}")
    found = sorted(str(path) for path in folder.rglob("*") if path.is_file())
    meshes = [path for path in found if path.lower().endswith(MESH_SUFFIXES)]
    photos = [path for path in found if path.lower().endswith(PHOTO_SUFFIXES)]
    name = given[0].name if len(given) == 1 else f"{given[0].name} and {len(given) - 1} more"
    if meshes:  # photos beside them are textures
        _check_count(len(meshes), MAX_FRAMES, "meshes", "leave frames out")
        return Upload("meshes", meshes, name)
    if not photos:
        raise ValueError(f"{name}: nothing in it that can be read; drop {_KINDS}")
    _check_count(len(photos), MAX_PHOTOS, "photos", "drop those of one moment, one for each camera")
    for path in photos:
        _check_pixels(path)
    return Upload("photos", photos, name)


def unpack(file: str | Path, folder: str | Path) -> None:
    """Unpack what can be read of a zip into a new folder.

    Raises:
        ValueError: if it is damaged or encrypted, holds too much, or names a place outside the folder.
    """
    name, folder = Path(file).name, Path(folder)
    try:
        with zipfile.ZipFile(file) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
            _check_count(len(entries), MAX_FILES, f"files in {name}", "pack one sequence")
            places = {entry: _place(entry.filename, name) for entry in entries}
            wanted = [entry for entry in entries if _is_wanted(places[entry])]
            _check_size(sum(entry.file_size for entry in wanted), f"{name}, unpacked,")
            if any(entry.flag_bits & 1 for entry in wanted):
                raise ValueError(f"{name}: encrypted; pack it without a password")
            for entry in wanted:
                _write(archive, entry, folder / places[entry])
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError, zlib.error) as error:
        raise ValueError(f"{name}: not readable as a zip ({error}); pack it again") from error


def _write(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, path: Path) -> None:
    """No more than what the entry claims, which was added up before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    left = entry.file_size
    with archive.open(entry) as source, open(path, "wb") as out:
        while chunk := source.read(_CHUNK):
            left -= len(chunk)
            if left < 0:
                raise zipfile.BadZipFile(f"{entry.filename} is larger than it says")
            out.write(chunk)


def _place(entry: str, name: str) -> PurePosixPath:
    """Where an entry goes, relative to the folder."""
    place = PurePosixPath(entry.replace("\\", "/"))
    if place.is_absolute() or ".." in place.parts or ":" in entry or "\0" in entry:
        raise ValueError(f"{name}: it names {entry!r}, a place outside of itself; do not trust it")
    return place


def _is_wanted(place: PurePosixPath) -> bool:
    """Not the invisible files, which systems add by themselves."""
    is_visible = not any(part.startswith((".", "__MACOSX")) for part in place.parts)
    return is_visible and place.name.lower().endswith((*MESH_SUFFIXES, *PHOTO_SUFFIXES, *COMPANIONS))


def _free(path: Path) -> Path:
    """The path, or one beside it where a file of that name is there already."""
    number = 1
    free = path
    while free.exists():
        free = path.with_name(f"{number}_{path.name}")
        number += 1
    return free


def _check_size(size: int, what: str) -> None:
    if size > MAX_BYTES:
        raise ValueError(
            f"{what} have {size / 2**20:.0f} MiB, more than {MAX_BYTES // 2**20}; simplify the meshes or drop fewer"
        )


def _check_count(count: int, most: int, what: str, remedy: str) -> None:
    if count > most:
        raise ValueError(f"{count} {what}, more than {most}; {remedy}")


def _check_pixels(path: str) -> None:
    """Open a photo once by the door that all pictures take, which looks at its size first."""
    try:
        read_picture(path, max_px=MAX_PIXELS)
    except PictureError as error:
        raise ValueError(f"{path}: not readable as a photo ({error}); export it as a smaller PNG or JPEG") from error
