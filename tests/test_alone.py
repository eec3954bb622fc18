"""Work on files of this computer asks nobody in the net, also where the Hub may be reached."""

import io
import os
import subprocess
import sys
from pathlib import Path

import datasets
import pytest
from PIL import Image

from tests.train.toy import write_toy_data

ROOT = Path(__file__).parents[1]
WORK = """
import sys
from tests.witnesses import watched

with watched() as seen:
    import train
    from dataset_scripts.recorded.hub_sets import opened
    from dataset_scripts.validate import main as validate
    from mvfer.cli.main import main

    data, theirs, out = sys.argv[1:]
    assert main(["predict", "examples/happiness.ply"]) == 0
    assert main(["render", "examples/happiness.ply", "--out", f"{out}/views.png"]) == 0
    validate([data])
    few = ["--steps", "2", "--batch_size", "6", "--num_workers", "0", "--eval_every", "2"]
    assert train.main(["--dataset", data, "--output_dir", f"{out}/run", *few]) == 0
    assert main(["evaluate", "--model", f"{out}/run", "--dataset", data, "--out", f"{out}/report"]) == 0
    with opened(theirs):
        pass
asked = [event for event in seen if event.startswith(("socket.", "urllib."))]
assert asked == [], asked
print("asked nobody")
"""


@pytest.mark.slow
def test_predicting_training_and_testing_ask_nobody(tmp_path):
    write_toy_data(tmp_path / "data")
    buffer, theirs = io.BytesIO(), tmp_path / "theirs"
    Image.new("RGB", (32, 32)).save(buffer, format="PNG")
    theirs.mkdir()
    rows = {"image": [{"bytes": buffer.getvalue(), "path": None}], "label": ["sadness"]}
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("string")})
    datasets.Dataset.from_dict(rows, features=features).to_parquet(theirs / "train.parquet")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment |= {
        "PYTHONPATH": str(ROOT),
        "ACCELERATE_USE_CPU": "true",
        "OMP_NUM_THREADS": "1",
        "HF_HOME": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, "-c", WORK, tmp_path / "data", theirs, tmp_path],
        cwd=ROOT, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0 and "asked nobody" in done.stdout, done.stdout + done.stderr
