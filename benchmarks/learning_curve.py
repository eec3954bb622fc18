"""Does the learning curve tell the truth? Extrapolated from a share of the people, measured with all of them.

    python -m benchmarks.learning_curve --model runs/ict --dataset data/ict --share 0.2 --draws 10 --out report/learning_curve

In: a trained `MVFERModel` and a data set with labels. Out: `learning_curve.md`, `learning_curve.json`: for each draw
of a share of the training people the accuracy to which their learning curve extrapolates for all of them, with its 95 %
interval, beside the one that was measured, and in how many draws the interval holds it. Embeddings are kept in `--out`, so
that a second call with other shares takes no time for them.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from benchmarks.arms import write_report
from mvfer.data.schema import load_splits
from mvfer.evaluation.embeddings import embed_split
from mvfer.hub.load import load_run
from mvfer.progress import progress_bar
from mvfer.studies.learning_curve import extrapolate, measure_learning_curve

SPLITS = ("train", "validation", "test")
Rows = tuple[np.ndarray, np.ndarray, np.ndarray]  # embeddings (n, D), classes (n,), subjects (n,)


def main(argv: list[str] | None = None) -> int:
    args = parser().parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    data = labelled_embeddings(args.model, args.dataset, args.out / "embeddings.npz")
    found = extrapolate_all(data, share=args.share, draws=args.draws, seed=args.seed)
    found |= {"model": Path(args.model).name, "dataset": Path(args.dataset).name, "seed": args.seed}
    write_report("learning_curve", args.out, found, table(found))
    return 0


def labelled_embeddings(model_dir: str, dataset_dir: str, cache: Path) -> dict[str, Rows]:
    """The labelled rows of every split, from `cache` if they are there.

    Raises:
        ValueError: if the cache is of another model or data set.
    """
    made_of = [str(Path(model_dir).resolve()), str(Path(dataset_dir).resolve())]
    if cache.exists():
        with np.load(cache) as kept:
            if kept["made_of"].tolist() != made_of:
                raise ValueError(f"{cache} is of {kept['made_of'].tolist()}; choose another --out")
            return {name: tuple(kept[f"{name}_{i}"] for i in range(3)) for name in SPLITS}
    model, processor = load_run(model_dir)
    data = {}
    for name, rows in load_splits(dataset_dir).items():
        rows = rows.select(np.flatnonzero(np.array(rows["expression"]) >= 0))
        features = embed_split(model, processor.image_processor, rows)
        data[name] = (features.image_embeds, features.labels, np.array(features.subjects))
    np.savez(cache, made_of=made_of, **{f"{name}_{i}": part for name in SPLITS for i, part in enumerate(data[name])})
    return data


def extrapolate_all(data: dict[str, Rows], *, share: float, draws: int, seed: int) -> dict:
    """Foretell the accuracy with all training people from several random shares of them.

    Returns:
        `dict`: people (all of them), people_used, measured (the accuracy with all), draws (each with mean, low, high and
        inside), inside (share of draws whose interval holds what was measured), error and width (means over draws).
    Raises:
        ValueError: if the share is not between 0 and 1, or holds too few people for a learning curve.
    """
    if not 0 < share < 1:
        raise ValueError(f"expected a share between 0 and 1, got {share}")
    embeds, labels, subjects = data["train"]
    people = np.unique(subjects)
    used, rng = round(share * len(people)), np.random.default_rng(seed)
    rest = (data["validation"][:2], data["test"])
    measured = 1 - measure_learning_curve(data["train"], *rest, sizes=[len(people)]).errors()[-1]
    rows = []
    for draw in progress_bar(range(draws), what="learning curves", unit="draw", in_logs=True):
        mine = np.isin(subjects, rng.choice(people, used, replace=False))
        curve = measure_learning_curve((embeds[mine], labels[mine], subjects[mine]), *rest, seed=draw)
        expected = extrapolate(curve, [len(people)], seed=draw)[0]
        now = 1 - float(curve.errors()[-1])
        rows.append({"now": now, **expected, "inside": bool(expected["low"] <= measured <= expected["high"])})
    return {
        "people": len(people),
        "people_used": used,
        "measured": float(measured),
        "draws": rows,
        "inside": float(np.mean([row["inside"] for row in rows])),
        "error": float(np.mean([row["mean"] - measured for row in rows])),
        "width": float(np.mean([row["high"] - row["low"] for row in rows])),
    }


def table(found: dict) -> str:
    """The result in words and as a Markdown table."""
    inside = sum(row["inside"] for row in found["draws"])
    lines = [
        f"{found['model']} on {found['dataset']}: with all {found['people']} people {found['measured']:.3f}. Extrapolated from "
        f"{found['people_used']} of them, the interval holds that in {inside} of {len(found['draws'])} draws; it is "
        f"{found['width']:.3f} wide, its middle off by {found['error']:+.3f} on average.",
        "",
        f"| draw | measured with {found['people_used']} | extrapolated to {found['people']} | 95 % interval | inside |",
        "|---|---|---|---|---|",
    ]
    for number, row in enumerate(found["draws"], 1):
        held = "yes" if row["inside"] else "no"
        lines.append(
            f"| {number} | {row['now']:.3f} | {row['mean']:.3f} | {row['low']:.3f} to {row['high']:.3f} | {held} |"
        )
    return "\n".join(lines)


def parser() -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    flags.add_argument("--model", required=True, help="folder of a trained MVFERModel")
    flags.add_argument("--dataset", required=True, help="folder written by dataset_scripts.build_*, with labels")
    flags.add_argument("--out", required=True, type=Path, help="folder of the table and the embeddings")
    flags.add_argument("--share", type=float, default=0.2, help="of the training people (default: 0.2)")
    flags.add_argument("--draws", type=int, default=10, help="random shares (default: 10)")
    flags.add_argument("--seed", type=int, default=0)
    return flags


if __name__ == "__main__":
    sys.exit(main())
