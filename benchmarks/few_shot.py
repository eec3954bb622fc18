"""How many labelled people a classifier needs: the same data, steps and seeds, four ways to train.

    python -m benchmarks.few_shot --model runs/ict --dataset data/ict --steps 200 --seeds 0 1 2 --out report/few_shot

Goes in: a trained `MVFERModel` and a data set folder. Comes out: one run of `train.py --stage finetune` per way, number of
labelled subjects per class and seed below `--out`, and a table (`few_shot.md`, `few_shot.json`) of test accuracies: means over
seeds with 95 % intervals (Student's t over seeds). Finished runs are kept, so a stopped benchmark goes on.
"""

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm import tqdm

from benchmarks.arms import interval

WAYS = {  # name: flags; the model is the trained one unless a way says otherwise (the last flag counts)
    "probe": ["--method", "probe"],
    "LoRA": ["--method", "lora"],
    "full": ["--method", "full"],
    "from scratch": ["--method", "full", "--model", "small"],
}


def main(argv: list[str] | None = None) -> int:
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    flags.add_argument("--model", required=True, help="folder of a trained MVFERModel")
    flags.add_argument("--dataset", required=True, help="folder written by dataset_scripts.build_*")
    flags.add_argument("--out", required=True, type=Path, help="folder of the runs and the table")
    flags.add_argument("--steps", type=int, default=200)
    flags.add_argument("--subjects", type=int, nargs="+", default=[1, 2, 4, 8, 16], help="labelled subjects per class")
    flags.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    flags.add_argument("--parallel", type=int, default=os.cpu_count() or 1, help="runs at once, each on one thread")
    args = flags.parse_args(argv)
    jobs = [(way, subjects, seed) for seed in args.seeds for subjects in args.subjects for way in WAYS]
    with ThreadPoolExecutor(args.parallel) as pool:
        for _ in tqdm(pool.map(lambda job: _run(args, *job), jobs), total=len(jobs), unit="run", desc="few-shot"):
            pass
    runs = {
        way: {n: [_read(_folder(args.out, way, n, seed)) for seed in args.seeds] for n in args.subjects} for way in WAYS
    }
    table = {way: {n: interval(scores) for n, scores in by_number.items()} for way, by_number in runs.items()}
    settings = {
        "model": Path(args.model).name,
        "dataset": Path(args.dataset).name,
        "steps": args.steps,
        "seeds": args.seeds,
    }
    (args.out / "few_shot.json").write_text(json.dumps(settings | {"table": table, "runs": runs}, indent=2) + "\n")
    text = markdown(table)
    (args.out / "few_shot.md").write_text(text + "\n")
    print(text)
    return 0


def markdown(table: dict[str, dict[int, dict]]) -> str:
    """The table as Markdown, in percent: mean and half-width of the interval; columns are labelled subjects per class."""
    numbers = list(next(iter(table.values())))
    lines = [
        "| labelled subjects per class | " + " | ".join(map(str, numbers)) + " |",
        "|" + "---|" * (len(numbers) + 1),
    ]
    for way, row in table.items():
        cells = [f"{100 * value['mean']:.1f} ± {100 * value['half_width']:.1f}" for value in row.values()]
        lines.append("| " + " | ".join([way, *cells]) + " |")
    return "\n".join(lines)


def _folder(out: Path, way: str, subjects: int, seed: int) -> Path:
    return out / f"{way.replace(' ', '-')}-{subjects}-seed{seed}"


def _run(args, way: str, subjects: int, seed: int) -> None:
    folder = _folder(args.out, way, subjects, seed)
    if (folder / "results.json").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    common = ["--stage", "finetune", "--model", args.model, "--dataset", args.dataset, "--output_dir", str(folder)]
    common += ["--labels_per_class", str(subjects), "--seed", str(seed), "--steps", str(args.steps)]
    common += [
        "--eval_every",
        str(max(1, args.steps // 4)),
        "--checkpoint_every",
        str(args.steps),
        "--num_workers",
        "0",
    ]
    command = [sys.executable, "train.py", *common, *WAYS[way]]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    with (folder / "log.txt").open("w") as log:
        done = subprocess.run(
            command, stdout=log, stderr=subprocess.STDOUT, env=environment, cwd=Path(__file__).parents[1]
        )
    if done.returncode:
        raise SystemExit(f"{way}, {subjects} subjects, seed {seed} failed; see {folder / 'log.txt'}")


def _read(folder: Path) -> float:
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    return results["classification"]["accuracy"]["mean"]


if __name__ == "__main__":
    sys.exit(main())
