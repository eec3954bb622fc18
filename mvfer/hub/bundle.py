"""A run as a model that comes with the package: `python -m mvfer.hub.bundle runs/demo mvfer/models/small`.

In: the folder of a finished run. Out: a folder with what predicting needs and no more: weights in 16 bits, configuration,
processor, results and card. The code is left out: whoever has the package has it.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path

import torch

from mvfer.hub.load import load_run

KEPT = ("results.json", "README.md")
CODE_KEYS = ("auto_map", "custom_pipelines")


def bundle(run: str | Path, folder: str | Path) -> Path:
    """Write the model of a run into `folder`, in place of what is there.

    Raises:
        ValueError, OSError: if the run cannot be read, or the folder cannot be written.
    """
    run, folder = Path(run), Path(folder)
    model, processor = load_run(run)
    processor.image_processor.render_backend = "auto"
    shutil.rmtree(folder, ignore_errors=True)
    model.to(torch.float16).save_pretrained(folder)
    processor.save_pretrained(folder)
    for path in [*(run / name for name in KEPT), *run.glob("example_*.png")]:
        shutil.copyfile(path, folder / path.name)
    for path in folder.glob("*_mvfer.py"):
        path.unlink()
    for name in ("config.json", "processor_config.json", "tokenizer_config.json"):
        content = _without_code(json.loads((folder / name).read_text(encoding="utf-8")))
        (folder / name).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return folder


def _without_code(content):
    """The same without what names code beside it, also within."""
    if not isinstance(content, dict):
        return content
    return {key: _without_code(value) for key, value in content.items() if key not in CODE_KEYS}


def main(argv: list[str] | None = None) -> int:
    flags = argparse.ArgumentParser(
        prog="python -m mvfer.hub.bundle", description=(bundle.__doc__ or "").partition("\n")[0]
    )
    flags.add_argument("run", help="folder of a finished run")
    flags.add_argument("folder", help="where the model goes, such as mvfer/models/small")
    args = flags.parse_args(argv)
    print(bundle(args.run, args.folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
