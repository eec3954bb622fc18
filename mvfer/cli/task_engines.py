"""Where the tasks of `mvfer distribute` run. In: a step to be done once per task, and a folder. Out: the tasks that failed.

The engines are datatrove's: `folder/completions` marks what is done, `folder/logs` holds what every task said, and Slurm gets one
array of jobs, then a last job that waits for it. Of the local one only the pool is ours: datatrove 0.10's waits without end for a
worker that was killed.
"""

import argparse
import multiprocessing
import os
import shlex
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from datatrove.executor import LocalPipelineExecutor, RayPipelineExecutor, SlurmPipelineExecutor
from datatrove.executor.base import PipelineExecutor
from datatrove.utils.logging import logger

from mvfer.progress import is_quiet, progress_bar

Step = Callable[[object, int, int], None]  # (what the step before gave, rank, number of tasks)


class OwnProcesses(LocalPipelineExecutor):
    """Tasks of this machine, each in a process of its own: one that is killed costs itself and no other.

    If it is this process that is killed, those that have begun go on to their end.
    """

    def run(self) -> None:
        todo = self.get_incomplete_ranks()
        self.save_executor_as_json()
        bar = progress_bar(what="tasks", unit="task", total=self.tasks, initial=self.tasks - len(todo))
        threads = ThreadPoolExecutor(self.workers)
        try:
            for _ in threads.map(self._run_apart, todo):
                bar.update()
        finally:
            threads.shutdown(cancel_futures=True)
            bar.close()

    def _run_apart(self, rank: int) -> None:
        process = multiprocessing.get_context("spawn").Process(target=self._run_for_rank, args=(rank, 1))
        process.start()
        process.join()


def local(args: argparse.Namespace, step: Step, folder: str) -> PipelineExecutor:
    """Processes of this machine."""
    workers = min(args.workers or os.cpu_count() or 1, args.tasks)
    return OwnProcesses([step], tasks=args.tasks, workers=workers, logging_dir=folder)


def slurm(args: argparse.Namespace, step: Step, folder: str) -> PipelineExecutor:
    """An array of jobs, and a job after it, which is the same step as the only task."""
    python = shlex.quote(os.path.dirname(sys.executable))
    options = {
        "time": args.time,
        "partition": args.partition,
        "mem_per_cpu_gb": args.memory_gb,
        "qos": None,  # the cluster's default; else --sbatch qos=...
        "sbatch_args": dict(args.sbatch),
        "env_command": f"export PATH={python}:$PATH",
    }
    name = f"mvfer-{args.command}"
    parts = SlurmPipelineExecutor(
        [step], args.tasks, workers=args.workers or -1, logging_dir=folder, job_name=name, **options
    )
    return SlurmPipelineExecutor(
        [step], 1, logging_dir=os.path.join(folder, "end"), job_name=f"{name}-end", depends=parts, **options
    )


def ray(args: argparse.Namespace, step: Step, folder: str) -> PipelineExecutor:
    """The cluster that the variable RAY_ADDRESS names, or one on this machine."""
    import ray as cluster

    cluster.init(ignore_reinit_error=True)
    return RayPipelineExecutor(
        [step], args.tasks, workers=args.workers or -1, logging_dir=folder, mem_per_cpu_gb=args.memory_gb
    )


def run_tasks(args: argparse.Namespace, step: Step, folder: Path) -> list[int]:
    """Run what is not done yet.

    Args:
        args: of `mvfer distribute`. step: picklable; a task is failed if it raises. folder: of marks and logs.
    Returns:
        the tasks that are not done, if they were waited for; Slurm's are queued.
    """
    if is_quiet():
        logger.remove()
    executor = {"local": local, "slurm": slurm, "ray": ray}[args.on](args, step, str(folder.resolve()))
    executor.run()
    return [] if args.on == "slurm" else executor.get_incomplete_ranks(skip_completed=True)
