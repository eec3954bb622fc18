"""Synthetic data sets with a fault: people of one group who move their faces less, or cameras that were turned in secret.

In: a set that `build_anny` or `build_ict_facekit` wrote, and the head that it was made with. Out: sets in which the same
people, or others of the same making, are rendered anew. Training and validation rows stay as they are.
"""

import shutil
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from dataset_scripts.common.building import Shard
from dataset_scripts.synthetic.synthesis import BuildSettings, HeadModel, Source, Synthesizer
from mvfer.data.schema import (
    INFO_FILE,
    dataset_info,
    find_shards,
    load_splits,
    shard_path,
    view_arrays,
    write_json,
    write_shard,
)
from processing.rendering_mvfer import RenderSettings


class Studio:
    """Renders the people of a set again.

    Args:
        folder: of the set; head, source: what its builder loads.
    Raises:
        ValueError: if another head, or another version of the renderer, made the set.
    """

    def __init__(self, folder: str | Path, head: HeadModel, source: Source):
        self.folder, self.head, self.source = Path(folder), head, source
        build = dataset_info(folder).get("build", {})
        if "render" not in build:
            raise ValueError(
                f"{folder}: expected a set of build_anny or build_ict_facekit, found none of their settings"
            )
        settings = {name: tuple(value) if isinstance(value, list) else value for name, value in build.items()}
        self.settings = BuildSettings(**settings | {"render": RenderSettings.from_dict(build["render"])})
        self.tested = list(load_splits(folder)["test"])
        self._check_same_head()

    def _check_same_head(self) -> None:
        stored = self.tested[0]
        made = self.render([_number(stored["subject"])])
        if stored["id"] not in made or not np.array_equal(view_arrays(made[stored["id"]]), view_arrays(stored)):
            raise ValueError(
                f"{self.folder}: rendering {stored['id']} again gives another picture; it is of another head"
            )

    def render(self, numbers: Iterable[int], *, damping: float = 0.0, turned_deg: float = 0.0) -> dict[str, dict]:
        """The test rows of people by their numbers, by id.

        Args:
            damping: by which share of its strength every movement of the face is weaker than the row says.
            turned_deg: by how much all cameras are turned around the head; the rows do not say so.
        """
        head = replace(self.head, shapes=self.head.shapes * (1 - damping))
        angles = self.settings.render.view_angles_deg
        turned = tuple((yaw + turned_deg, pitch) for yaw, pitch in angles)
        settings = replace(self.settings, render=replace(self.settings.render, view_angles_deg=turned))
        rows = Synthesizer(head, self.source, settings).shard_rows(Shard("test", 0, 1, list(numbers)), [])
        return {row["id"]: row | {"view_angles_deg": [list(pair) for pair in angles]} for row in rows}

    def damped(self, people: Collection[str], damping: float) -> list[dict]:
        """The tested rows, in which some people's expressions are weaker."""
        made = self.render(map(_number, people), damping=damping)
        return [row | {"views": made[row["id"]]["views"]} if row["id"] in made else row for row in self.tested]

    def others(self, group: int, *, turned_deg: float = 0.0) -> list[dict]:
        """Rows of people who are not in the set, as many as are tested; another `group` has others again."""
        count = self.settings.subjects[2]
        first = sum(self.settings.subjects) + group * count
        return list(self.render(range(first, first + count), turned_deg=turned_deg).values())

    def write(self, folder: Path, tested: Callable[[], Iterable[Mapping]]) -> Path:
        """A set of tested rows, which are made unless it is there, beside the validation rows and one shard of the training
        rows of the studio's own."""
        if (folder / INFO_FILE).exists():
            return folder
        folder.mkdir(parents=True, exist_ok=True)
        shards = find_shards(self.folder)
        for path in shards["validation"]:
            shutil.copyfile(path, folder / path.name)
        shutil.copyfile(shards["train"][0], shard_path(folder, "train", 0, 1))
        write_shard(shard_path(folder, "test", 0, 1), tested())
        write_json(folder / INFO_FILE, dataset_info(self.folder) | {"name": folder.name})
        return folder


def _number(subject: str) -> int:
    return int(subject.rsplit("-", 1)[1])
