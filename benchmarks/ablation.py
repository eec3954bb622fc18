"""What each part of the recipe is worth: the same data, steps and seeds, one change at a time.

    python -m benchmarks.ablation --dataset data/ict --steps 250 --seeds 0 1 2 --out report/ablation

Goes in: a data set folder. Comes out: one run of `train.py` per arm and seed below `--out`, and a table (`ablation.md`,
`ablation.json`) of means over seeds with 95 % intervals (Student's t over seeds). Finished runs are kept, so a stopped
ablation goes on. Runs are independent; `--parallel` of them go at once, each on one thread.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from scipy.stats import t as student
from tqdm import tqdm

ARMS = {  # name: flags on top of vision-language contrast alone
    "vision-language": ["--cross_view_weight", "0", "--cross_modal_weight", "0"],
    "+ cross-view": ["--cross_view_weight", "0.5", "--cross_modal_weight", "0"],
    "+ cross-view + cross-modal": ["--cross_view_weight", "0.5", "--cross_modal_weight", "0.05"],
    "+ cross-view, mean fusion": ["--cross_view_weight", "0.5", "--cross_modal_weight", "0", "--fusion", "mean"],
    "+ cross-view, no view dropout": ["--cross_view_weight", "0.5", "--cross_modal_weight", "0", "--view_dropout", "0"],
}
COLUMNS = ("three views", "one view", "half occluded", "linear probe")


def main(argv: list[str] | None = None) -> int:
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    flags.add_argument("--dataset", required=True, help="folder written by dataset_scripts.build_*")
    flags.add_argument("--out", required=True, type=Path, help="folder of the runs and the table")
    flags.add_argument("--steps", type=int, default=500)
    flags.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    flags.add_argument("--parallel", type=int, default=os.cpu_count() or 1, help="runs at once")
    args = flags.parse_args(argv)
    jobs = [(name, seed) for seed in args.seeds for name in ARMS]
    with ThreadPoolExecutor(args.parallel) as pool:
        work = pool.map(lambda job: _run(args, *job), jobs)
        for _ in tqdm(work, total=len(jobs), unit="run", desc="ablation"):
            pass
    scores = {name: [_read(_folder(args.out, name, seed)) for seed in args.seeds] for name in ARMS}
    table = [{"arm": name} | {c: interval([run[c] for run in runs]) for c in COLUMNS} for name, runs in scores.items()]
    settings = {"dataset": Path(args.dataset).name, "steps": args.steps, "seeds": args.seeds}
    (args.out / "ablation.json").write_text(json.dumps(settings | {"table": table, "runs": scores}, indent=2) + "\n")
    text = markdown(table)
    (args.out / "ablation.md").write_text(text + "\n")
    print(text)
    return 0


def markdown(table: list[dict]) -> str:
    """The table as Markdown, in percent: mean and half-width of the interval."""
    lines = ["| " + " | ".join(["", *COLUMNS]) + " |", "|" + "---|" * (len(COLUMNS) + 1)]
    for row in table:
        cells = [f"{100 * row[c]['mean']:.1f} ± {100 * row[c]['half_width']:.1f}" for c in COLUMNS]
        lines.append("| " + " | ".join([row["arm"], *cells]) + " |")
    return "\n".join(lines)


def _folder(out: Path, name: str, seed: int) -> Path:
    return out / f"{''.join(c if c.isalnum() else '-' for c in name).strip('-')}-seed{seed}"


def _run(args, name: str, seed: int) -> None:
    folder = _folder(args.out, name, seed)
    if (folder / "results.json").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    common = ["--dataset", args.dataset, "--output_dir", str(folder), "--steps", str(args.steps), "--seed", str(seed)]
    common += ["--view_dropout", "0.6"]  # an arm may say otherwise: the last flag counts
    common += ["--eval_every", str(args.steps), "--checkpoint_every", str(args.steps), "--num_workers", "0"]
    command = [sys.executable, "train.py", *common, *ARMS[name]]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    with (folder / "log.txt").open("w") as log:
        done = subprocess.run(
            command, stdout=log, stderr=subprocess.STDOUT, env=environment, cwd=Path(__file__).parents[1]
        )
    if done.returncode:
        raise SystemExit(f"{name}, seed {seed} failed; see {folder / 'log.txt'}")


def _read(folder: Path) -> dict[str, float]:
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    views = [view["accuracy"]["mean"] for view in results["zero_shot_by_view"].values()]
    return {
        "three views": results["zero_shot"]["accuracy"]["mean"],
        "one view": statistics.mean(views),
        "half occluded": results["zero_shot_half_occluded"]["accuracy"]["mean"],
        "linear probe": results["linear_probe"]["accuracy"]["mean"],
    }


def interval(values: list[float]) -> dict[str, float]:
    """Mean and half-width of the 95 % interval over runs (Student's t); one run has no interval (nan)."""
    mean, n = statistics.mean(values), len(values)
    half = student.ppf(0.975, n - 1) * statistics.stdev(values) / math.sqrt(n) if n > 1 else math.nan
    return {"mean": mean, "half_width": float(half)}


if __name__ == "__main__":
    sys.exit(main())
