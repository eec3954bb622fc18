"""Run code where none of our packages can be imported, nor numba: what a stranger does with a model folder."""

import json
import subprocess
import sys
from pathlib import Path

OUR_PACKAGES = ("modeling_mvfer", "processing", "dataset_scripts", "mvfer", "train")
BLOCKED = (*OUR_PACKAGES, "numba")
BEGIN = """
import importlib.abc, json, sys

class Block(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"blocked: {name}")

sys.meta_path.insert(0, Block())
import torch
from PIL import Image
from transformers import AutoProcessor, pipeline

torch.set_num_threads(1)
options = {"trust_remote_code": True}
found = {}
"""
END = '\nprint("RESULT" + json.dumps(found))\n'


def as_a_stranger(code: str, values: dict, *, cache: Path, env: dict | None = None) -> dict:
    """What the code puts into `found`; it sees `values` and `options`. `cache` is its home and the Hub's cache."""
    head = "\n".join(f"{name} = {value!r}" for name, value in (values | {"BLOCKED": BLOCKED}).items())
    environment = {"PATH": "/usr/bin:/bin", "HF_HOME": str(cache), "HOME": str(cache), "OMP_NUM_THREADS": "1"}
    environment |= env or {"HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", head + BEGIN + code + END]
    done = subprocess.run(command, cwd=cache, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.split("RESULT")[1])
