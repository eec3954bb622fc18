"""What to install for what. In: an import that failed. Out: one sentence with the command that mends it.

What `pip install .` brings is enough to predict; evaluation, training and the rest are extras of pyproject.toml.
"""

import sys
from pathlib import Path

EXTRAS = {  # name of an import: the smallest extra that brings it
    "accelerate": "train",
    "anny": "demo",
    "datasets": "eval",
    "datatrove": "cluster",
    "evaluate": "eval",
    "flwr": "federated",
    "gradio": "app",
    "isal": "fast",
    "jinja2": "eval",
    "matplotlib": "eval",
    "numba": "fast",
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "onnxscript": "onnx",
    "opacus": "privacy",
    "openpyxl": "excel",
    "peft": "lora",
    "psutil": "eval",
    "pyarrow": "eval",
    "ray": "ray",
    "scipy": "eval",
    "sklearn": "eval",
}
PACKAGES = {"sklearn": "scikit-learn"}  # where the package is named otherwise


def what_is_missing(error: ModuleNotFoundError, command: str) -> str | None:
    """What a command needs, in one sentence; `None` if no extra would bring it, so that it is a fault of ours."""
    name = (error.name or "").partition(".")[0]
    if name not in EXTRAS:
        return None
    return f'{command} needs {PACKAGES.get(name, name)}; install it with: pip install "mvfer[{EXTRAS[name]}]"'


def explain_missing() -> None:
    """A script calls this before its imports: where one fails for want of an extra, it ends with a sentence and status 2."""
    usual = sys.excepthook

    def hook(kind, error, trace) -> None:
        command = Path(sys.argv[0]).name
        sentence = what_is_missing(error, command) if isinstance(error, ModuleNotFoundError) else None
        if sentence is None:
            return usual(kind, error, trace)
        print(sentence, file=sys.stderr)
        sys.exit(2)

    sys.excepthook = hook
