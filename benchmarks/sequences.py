"""What moving pictures are worth: a sequence against one frame of it, all else equal.

    python -m dataset_scripts.build_anny --captions_per_row 1 --seed 1 --kind 4d --out data/4d
    python -m benchmarks.sequences --dataset data/4d --model runs/demo --frozen_towers --steps 250 --batch_size 32 \
        --learning_rate 1e-3 --out report/sequences

In: a 4D set; further flags go to `train.py`, to every arm alike: here a model that knows scans of other people (the demo's
have seed 0) and learns what moves. Out: one run per arm and seed below `--out`, and `sequences.md` and `sequences.json`:
means over seeds with 95 % intervals. The arm `apex frame alone` learns and is tested on single scans: the frames at the true
apex, which the data set knows and nobody is told of a new sequence. "Given its apex frame alone" tests a model of sequences on
the same scans.
"""

import math
import statistics
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from benchmarks.arms import markdown, parser, run_arms, summarise, write_report
from benchmarks.rewritten_sets import rewrite_set
from mvfer.data.schema import load_splits
from mvfer.evaluation.results import read_results
from mvfer.hub.load import load_run
from mvfer.studies.apex import apex_errors

ARMS = {  # name: flags
    "mean of frames": ["--frame_fusion", "mean"],
    "frames, attention": [],
    "frames, attention, temporal layers": ["--temporal_layers", "2"],
    "rank pooled": ["--frames", "rank_pooled", "--frozen_towers", "false"],  # dynamic images are new to any tower
}


def main(argv: list[str] | None = None) -> int:
    args, passed_on = parser(__doc__.splitlines()[0]).parse_known_args(argv)
    apex_set = write_apex_set(Path(args.dataset), args.out / "apex-set")
    arms = {"apex frame alone": ["--dataset", str(apex_set)]} | ARMS
    for name in set(ARMS) - {"rank pooled"}:  # the same model, given the apex frame alone
        arms[name] = [*arms[name], "--also_test", str(apex_set)]
    folders = run_arms(args, arms, passed_on)
    runs = {name: [_read(folder, args.dataset) for folder in found] for name, found in folders.items()}
    settings = {"dataset": Path(args.dataset).name, "steps": args.steps, "seeds": args.seeds, "flags": passed_on}
    write_report("sequences", args.out, settings | {"runs": runs}, tables(runs))
    return 0


def write_apex_set(source: Path, folder: Path) -> Path:
    """The set's rows cut down to the frame nearest to the apex; where nothing happens, to the middle one.

    Raises:
        ValueError: if no row has an apex.
    """
    if all(apex is None for split in load_splits(source).values() for apex in split["apex_time_s"]):
        raise ValueError(f"{source}: no row has an apex_time_s; build the set with --kind 4d")
    return rewrite_set(source, folder, _at_apex, name="apex-set")


def _at_apex(split) -> Iterator[dict]:
    for row in split:
        times, apex = np.array(row["frame_times_s"]), row["apex_time_s"]
        frame = len(times) // 2 if apex is None else int(np.abs(times - apex).argmin())
        yield row | {"views": [row["views"][frame]], "frame_times_s": [0.0], "apex_time_s": None}


def _read(folder: Path, dataset: str) -> dict[str, float]:
    """Scores of a run on the 4D set; the apex error is in frames, of all that are stored."""
    results = read_results(folder / "results.json")
    views = [view["accuracy"]["mean"] for view in results["by_view"].values()]
    given_apex = results["transfer"].get("apex-set")
    return {
        "zero-shot": results["test"]["accuracy"]["mean"],
        "given its apex frame alone": given_apex["test"]["accuracy"]["mean"] if given_apex else math.nan,
        "one view": statistics.mean(views),
        "linear probe": results["linear_probe"]["accuracy"]["mean"],
    } | spotted_apex(*load_run(folder), load_splits(dataset)["test"])


def spotted_apex(model, processor, test) -> dict[str, float]:
    """Mean absolute errors in frames by the names of `apex_errors`; not a number for models that see no frames."""
    names = ("frame_weights", "onset_distance", "middle_frame")
    if processor.image_processor.frames != "sequence":
        return {f"apex: {name}": math.nan for name in names}
    errors = apex_errors(model, processor.image_processor, test, seed=0)
    return {f"apex: {name}": errors[name]["mean"] for name in names}


def tables(runs: Mapping[str, list[dict[str, float]]]) -> str:
    """Shares in percent, then errors in frames."""
    rows = summarise(runs)
    shares = [{k: v for k, v in row.items() if not k.startswith("apex: ")} for row in rows]
    lines = ["", *(name for name in rows[0] if name.startswith("apex: "))]
    errors = ["| " + " | ".join(lines) + " |", "|" + "---|" * len(lines)]
    for row in rows:
        cells = [f"{row[name]['mean']:.2f} ± {row[name]['half_width']:.2f}" for name in lines[1:]]
        errors.append("| " + " | ".join([row["arm"], *cells]) + " |")
    text = markdown(shares) + "\n\nApex, mean absolute error in frames:\n\n" + "\n".join(errors)
    return text.replace("nan ± nan", "").replace(" ± nan", "")  # one seed has no interval


if __name__ == "__main__":
    sys.exit(main())
