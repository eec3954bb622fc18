# ruff: noqa: F811  (fixtures are imported, then named as arguments)
"""`mvfer distribute`: by many workers, some of which are killed, the same bytes as by one process."""

import fnmatch
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dataset_scripts import build_folder
from mvfer.cli import distribute
from mvfer.cli.main import main
from mvfer.data.parts import Part, parsed
from tests.data.layouts import write_plain_obj
from tests.tiny import face_obj, small_model, small_processor, small_run  # noqa: F401

ROOT = Path(__file__).parents[1]
SBATCH = """#!{python}
import json, os, re, subprocess, sys
# Runs an array's tasks one after the other. Task 0 is lost once if there is a file fails-0, as on a node that went down; a job
# that waits for a failed one is not run.
here = os.path.dirname(os.path.abspath(__file__)); jobs = os.path.join(here, "jobs.json")
known = json.load(open(jobs)) if os.path.exists(jobs) else []
script = open(sys.argv[-1]).read(); job = str(len(known) + 1)
known.append({{"arguments": sys.argv[1:-1], "script": script, "failed": False}})
waits = re.search(r"dependency=afterok:(\\d+)", " ".join(sys.argv) + script)
offset = re.search(r"RUN_OFFSET=(\\d+)", " ".join(sys.argv))
if waits and known[int(waits[1]) - 1]["failed"]:
    known[-1]["failed"] = True
else:
    for task in range(int(re.search(r"--array=0-(\\d+)", script)[1]) + 1):
        once = os.path.join(here, f"fails-{{task}}")
        if os.path.exists(once) and "launch_pickled" in script:
            os.remove(once); known[-1]["failed"] = True; continue
        env = os.environ | {{"SLURM_ARRAY_TASK_ID": str(task), "SLURM_NODELIST": "node1"}}
        env["RUN_OFFSET"] = offset[1] if offset else "0"
        known[-1]["failed"] |= subprocess.run(["bash", "-c", script], env=env, stdout=sys.stderr).returncode != 0
json.dump(known, open(jobs, "w"))
print("Submitted batch job", job)
"""


@pytest.fixture
def people(tmp_path) -> list[str]:
    """The command that builds a set of ten people, in three shards."""
    for number in range(10):
        for label in ("happy", "sad"):
            write_plain_obj(tmp_path / "source" / label / f"p{number:02d}_1.obj", number / 20 + (label == "sad") / 50)
    source = ["--source", str(tmp_path / "source"), "--subject_pattern", "^(p[0-9]+)_", "--size_px", "24"]
    return ["build_folder", *source, "--key_file", str(tmp_path / "key"), "--quiet"]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def run_and_kill(command: list[str], holding: str) -> int:
    """The exit status of `mvfer COMMAND`, whose first worker that has a file of this pattern open is killed."""
    psutil = pytest.importorskip("psutil")
    run = subprocess.Popen([sys.executable, "-m", "mvfer", *command], cwd=ROOT)
    for _ in range(3000):
        for worker in psutil.Process(run.pid).children(recursive=True):
            try:
                if any(fnmatch.fnmatch(file.path, holding) for file in worker.open_files()):
                    worker.kill()
                    return run.wait(timeout=300)
            except (psutil.Error, OSError):
                continue
        assert run.poll() is None, "it ended before a worker was caught at work"
        time.sleep(0.01)
    raise AssertionError(f"no worker opened {holding}")


def test_parts_are_all_of_it_and_share_nothing():
    parts = [parsed(f"{index}-of-3").of(range(10)) for index in range(3)]
    assert sorted(number for part in parts for number in part) == list(range(10))
    assert str(parsed("2-of-3")) == "2-of-3" and parsed("2-of-3") == Part(2, 3)
    for wrong in ("3-of-3", "1/3", "-1-of-3", "of"):
        with pytest.raises(ValueError, match="such as 0-of-8"):
            parsed(wrong)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["--tasks", "2", "build_folder", "--source", "scans"], "tell by --out"),
        (["--tasks", "1", "build_folder", "--out", "o"], "expected 2 or more, got 1"),
        (["--tasks", "2", "build_folder", "--out=o", "--overwrite"], "--overwrite and --part do not go"),
        (["--tasks", "2", "predict", "scans", "--out", "o.csv", "--by_person", "F"], "--by_person cannot be shared"),
        (["--tasks", "2", "--on", "slurm", "predict", "scans", "--out", "o.csv"], "needs --partition"),
    ],
)
def test_what_cannot_be_shared_is_refused_with_the_reason(command, said, capsys):
    assert main(["distribute", *command]) == 2
    assert said in capsys.readouterr().err


def test_a_table_in_parts_goes_with_neither_people_nor_the_screen(face_obj, capsys):
    assert main(["predict", face_obj, "--part", "0-of-2"]) == 2
    assert "--part are for tables" in capsys.readouterr().err
    assert main(["predict", face_obj, "--part", "0-of-2", "--by_person", "f", "--out", "o.csv"]) == 2
    assert "--part does not go with --by_person" in capsys.readouterr().err


def test_marks_of_done_tasks_are_forgotten_with_what_was_made_and_for_another_command(tmp_path):
    out, folder, job = tmp_path / "set", tmp_path / "set.tasks", {"command": ["build_folder"], "tasks": 2}
    mark = folder / "completions" / "00000"

    def kept(job: dict) -> bool:
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()
        distribute._forget_others(folder, out, job)
        return mark.exists()

    assert not kept(job), "nothing is there"
    out.mkdir()
    assert kept(job) and not kept(job | {"tasks": 3})
    distribute._forget_others(folder, out, job)
    out.rmdir()
    assert not kept(job)
    (tmp_path / "set.part-0-of-2").touch()
    assert kept(job)


@pytest.mark.slow
def test_a_killed_worker_of_a_build_costs_its_task_alone(people, tmp_path, capfd):
    pytest.importorskip("datatrove")
    assert build_folder.main([*people[1:], "--num_proc", "1", "--out", str(tmp_path / "one")]) == 0
    command = ["distribute", "--tasks", "3", "--workers", "2", *people, "--out", str(tmp_path / "many")]
    assert run_and_kill(command, "*/many/.train-*.tmp") == 1
    assert "1 of 3 tasks failed or were killed" in capfd.readouterr().err
    marks = tmp_path / "many.tasks" / "completions"
    assert {path.name for path in marks.iterdir()} == {"00001", "00002"}
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "many").glob("*.parquet")}
    assert len(kept) == 2 and not (tmp_path / "many" / "README.md").exists()
    assert subprocess.run([sys.executable, "-m", "mvfer", *command], cwd=ROOT).returncode == 0
    assert all(path.stat().st_mtime_ns == written for path, written in kept.items())
    assert contents(tmp_path / "many") == contents(tmp_path / "one")
    log = (tmp_path / "many.tasks" / "logs" / "task_00000.log").read_text(encoding="utf-8")
    assert "16 rows, 48 views" in log and "Processing done for rank=0" in log


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["predict", "embed"])
def test_a_killed_worker_of_a_table_costs_its_task_alone(small_run, face_obj, tmp_path, kind):
    pytest.importorskip("datatrove")
    (tmp_path / "scans").mkdir()
    for number in range(7):
        shutil.copy(face_obj, tmp_path / "scans" / f"f{number}.obj")
    (tmp_path / "scans" / "f7.obj").write_text("v 0 0 0\n")  # cannot be read
    command = [kind, str(tmp_path / "scans"), "--model", str(small_run), "--batch_size", "2", "--quiet"]
    assert main([*command, "--out", str(tmp_path / "one.parquet")]) == 1
    many = ["distribute", "--tasks", "3", "--workers", "2", *command, "--out", str(tmp_path / "many.parquet")]
    assert run_and_kill(many, "*/many.parquet.part-1-of-3") == 1
    assert {path.name for path in (tmp_path / "many.parquet.tasks" / "completions").iterdir()} == {"00000", "00002"}
    assert not (tmp_path / "many.parquet").exists()
    assert subprocess.run([sys.executable, "-m", "mvfer", *many], cwd=ROOT).returncode == 1, "as the one process says"
    assert (tmp_path / "many.parquet").read_bytes() == (tmp_path / "one.parquet").read_bytes()
    assert not list(tmp_path.glob("*.part*"))


@pytest.mark.slow
def test_slurm_gets_an_array_and_a_last_job_that_waits_for_it(people, tmp_path, monkeypatch):
    pytest.importorskip("datatrove")
    assert build_folder.main([*people[1:], "--num_proc", "1", "--out", str(tmp_path / "one")]) == 0
    tools = tmp_path / "bin"
    tools.mkdir()
    programs = {"sbatch": SBATCH.format(python=sys.executable), "scontrol": "#!/bin/sh\necho node1\n"}
    programs["srun"] = '#!/bin/sh\nwhile [ "$1" != launch_pickled_pipeline ]; do shift; done\nexec "$@"\n'
    for name, text in programs.items():
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tools), prepend=os.pathsep)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    (tools / "fails-0").touch()
    options = ["--tasks", "3", "--on", "slurm", "--partition", "cpu", "--time", "1:00:00", "--sbatch", "account=lab"]
    command = ["distribute", *options, "--workers", "2", *people, "--out", str(tmp_path / "many")]
    assert main(command) == 0
    array, _, end = json.loads((tools / "jobs.json").read_text())[:3]
    for line in ("array=0-2%2", "partition=cpu", "time=1:00:00", "mem-per-cpu=4G", "cpus-per-task=1", "account=lab"):
        assert f"#SBATCH --{line}\n" in array["script"]
    assert f"launch_pickled_pipeline {tmp_path}/many.tasks/executor.pik" in array["script"]
    assert "--array=0-0" in end["script"] and "--dependency=afterok:1" in end["arguments"] and end["failed"]
    assert not (tmp_path / "many" / "README.md").exists() and len(list((tmp_path / "many").glob("*.parquet"))) == 2
    assert main(command) == 0
    again = json.loads((tools / "jobs.json").read_text())[4]
    assert "--array=0-0%2" in again["script"], "the one task that is missing"
    assert contents(tmp_path / "many") == contents(tmp_path / "one")


@pytest.mark.slow
def test_ray_runs_the_tasks(people, tmp_path, monkeypatch):
    pytest.importorskip("datatrove")
    ray = pytest.importorskip("ray")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    assert build_folder.main([*people[1:], "--num_proc", "1", "--out", str(tmp_path / "one")]) == 0
    command = ["distribute", "--tasks", "3", "--on", "ray", "--memory_gb", "1", *people]
    try:
        assert main([*command, "--out", str(tmp_path / "many")]) == 0
    finally:
        ray.shutdown()
    assert contents(tmp_path / "many") == contents(tmp_path / "one")
    assert "16 rows" in (tmp_path / "many.tasks" / "logs" / "task_00000.log").read_text(encoding="utf-8")
