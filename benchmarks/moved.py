"""Are moved expressions told as well as own ones? `python -m benchmarks.moved --ict FaceXModel --out report/moved`.

In: people of ICT-FaceKit at rest, without teeth, as if they had been scanned; and a model. Out: `moved.json` and a table: the
model's zero-shot accuracy on the people's own expressions, on those of their own family moved onto them (`Transfer`, which is
not told that it is the same family), and on those of Anny. The first two differ by what is lost in moving alone.
"""

import argparse
import functools
import sys
from pathlib import Path

import numpy as np
import torch

import mvfer
from dataset_scripts import build_anny, build_ict_facekit
from dataset_scripts.synthetic.heads import Head, HeadModel, HeadSet, Source
from dataset_scripts.synthetic.synthesis import BuildSettings, build_heads
from dataset_scripts.synthetic.transfer import Transfer
from mvfer.data.schema import load_splits, write_json
from mvfer.evaluation.classifiers import SplitClassifier
from mvfer.evaluation.relative import score_relative
from mvfer.hub.load import load_run

COUNTS = {"one scan alone": "0", "beside one at rest": "rest"}


def main(argv: list[str] | None = None) -> int:
    flags = argparse.ArgumentParser(prog="python -m benchmarks.moved", description=(__doc__ or "").partition("\n")[0])
    flags.add_argument("--ict", required=True, help="the FaceXModel folder of a clone of ICT-FaceKit")
    flags.add_argument("--out", type=Path, required=True, help="folder for the data sets, moved.json and moved.md")
    flags.add_argument("--model", default=mvfer.model("small"))
    flags.add_argument("--people", type=int, default=24)
    flags.add_argument("--seed", type=int, default=77)
    args = flags.parse_args(argv)
    torch.set_num_threads(1)
    model, processor = load_run(args.model)
    settings = BuildSettings(
        subjects=(0, 0, args.people),
        captions_per_row=1,
        rest_per_subject=2,
        render=processor.image_processor.render_settings,
    )
    found = {}
    for name in ("own", "ict", "anny"):
        folder = args.out / name
        load = functools.partial(heads, args.ict, name, args.seed)
        build_heads(load, _source(name, args.people), settings, folder, num_proc=1)
        split = load_splits(folder)["test"]
        classifier = SplitClassifier.build(model, processor, [split])
        scores = score_relative(
            model, processor.image_processor, split, classifier, list(COUNTS.values()), seed=0, progress=None
        )
        found[name] = {words: scores[count]["accuracy"] for words, count in COUNTS.items()}
    write_json(args.out / "moved.json", {"people": args.people, "seed": args.seed, "scores": found})
    lines = ["| expressions | " + " | ".join(COUNTS) + " |", "|---|" + "---|" * len(COUNTS)]
    for name, row in found.items():
        cells = [f"{one['mean']:.3f} [{one['low']:.3f}, {one['high']:.3f}]" for one in row.values()]
        lines.append("| " + " | ".join([name, *cells]) + " |")
    (args.out / "moved.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))
    return 0


def heads(ict: str, shapes: str, seed: int) -> HeadSet:
    """People of ICT-FaceKit without teeth, with their own expressions, or with those of a family moved onto them."""
    family = build_ict_facekit.load_head(ict)
    scanned = functools.partial(_scanned, family, _seen(family, ict), seed)
    if shapes == "own":
        return HeadSet(scanned)
    transfer = Transfer(family if shapes == "ict" else build_anny.load_head())

    def moved(number: int) -> Head:
        rest = scanned(number)
        return transfer(rest.vertices.numpy(), rest.faces)

    return HeadSet(moved)


def _scanned(family: HeadModel, seen: tuple[np.ndarray, np.ndarray], seed: int, number: int) -> Head:
    kept, faces = seen
    person = family.identities([np.random.default_rng([seed, number])])[0][0]
    return Head(person[kept], faces, family.shape_names, family.shapes[:, kept], family.table)


def _seen(family: HeadModel, ict: str) -> tuple[np.ndarray, np.ndarray]:
    """Vertices of the family's head that are no teeth, and faces between them."""
    polygons = build_ict_facekit.read_polygons(Path(ict) / "generic_neutral_mesh.obj")[1]
    skin, teeth, _ = (len(build_ict_facekit.triangulate(polygons[slice(*part)])) for part in build_ict_facekit.VISIBLE)
    kept, faces = np.unique(np.delete(family.faces, slice(skin, skin + teeth), axis=0), return_inverse=True)
    return kept, faces.reshape(-1, 3)


def _source(name: str, people: int) -> Source:
    families = tuple((number,) for number in range(people))
    return Source(f"moved-{name}", f"expressions ({name}) on ICT-FaceKit's people", "", "mit", "1", "", families)


if __name__ == "__main__":
    sys.exit(main())
