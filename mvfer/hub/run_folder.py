"""A run's folder as a model repository: weights, configuration, processor, remote code, card.

In: a model, its processor and the results of its evaluation. Out: a folder that `transformers` loads with
`trust_remote_code=True` where this package is not installed, and that can be pushed to the Hub as it is. `load` reads it back.
"""

import dataclasses
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from safetensors import SafetensorError

from modeling_mvfer.classifier_mvfer import is_fine_tuned
from modeling_mvfer.configuration_mvfer import EARLIER_KEYS, Calibration, MVFERConfig
from modeling_mvfer.modeling_mvfer import MVFERModel
from mvfer.data.scan_digests import SEEN_FILE
from mvfer.data.schema import write_json
from mvfer.evaluation.audits.leakage import load_subjects_seen
from mvfer.hub.card import model_card
from mvfer.hub.example_views import write_examples
from processing.processing_mvfer import MVFERProcessor

STAGING = ".saving-"


def save_run(
    folder: str | Path,
    model: MVFERModel,
    processor: MVFERProcessor,
    *,
    results: Mapping | None = None,
    datasets: Sequence[Mapping] = (),
    train_config: Mapping | None = None,
    subjects_seen: Mapping[str, Sequence[str]] | None = None,
) -> Path:
    """Write everything that makes `folder` a model repository; other files in it are left alone.

    All files are first written beside their places, then moved there one by one, `config.json` last. If that writing fails,
    for instance on a full disk, what the folder held before is untouched.

    Args:
        folder: the run's folder; made if it does not exist.
        results (mapping, *optional*): from `evaluate`; written as `results.json`, shown in the
            card.
        datasets (*optional*): the `dataset_info` of every data set that the model was trained on, for the card.
        train_config (mapping, *optional*): the recipe, written as `train_config.json`.
        subjects_seen (mapping, *optional*): from `leakage.subjects_seen`, so that a test on the same people is
        noticed.
    Returns:
        `Path`: the folder.
    Raises:
        OSError: if the files cannot be written; the message says so and what to do.
    """
    folder = Path(folder)
    staging = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=STAGING, dir=folder))  # the same file system as its parent
        model.save_pretrained(staging)
        processor.save_pretrained(staging)
        examples = write_examples(staging, processor, takes_labels=not is_fine_tuned(model))
        card = model_card(model, processor, results=results, datasets=datasets, examples=examples)
        (staging / "README.md").write_text(card, encoding="utf-8")
        contents = {"results.json": results, "train_config.json": train_config, SEEN_FILE: subjects_seen}
        for name, content in contents.items():
            if content is not None:
                write_json(staging / name, content)
        (folder / "config.json").unlink(
            missing_ok=True
        )  # who is killed from here on leaves a folder that is no model, not
        for file in sorted(staging.iterdir(), key=lambda path: (path.name == "config.json", path.name)):  # half of two
            os.replace(file, folder / file.name)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        message = (
            f"{folder}: could not save the model ({reason}); the files there before are kept. Free space and save again"
        )
        raise OSError(getattr(error, "errno", None), message) from error
    finally:
        if staging is not None:
            shutil.rmtree(staging, ignore_errors=True)
    return folder


def remove_leftovers(folder: str | Path) -> None:
    """Delete what a process that was killed in `save_run` left behind; nobody else may be saving there."""
    for path in Path(folder).glob(f"{STAGING}*"):
        shutil.rmtree(path)


def set_calibration(config: MVFERConfig, calibration: Mapping) -> None:
    """Take the calibration of a configuration from `results["calibration"]`: none if it has none."""
    config.calibration = _stored(calibration)


def store_calibration(folder: str | Path, calibration: Mapping, *, chosen_on: Iterable[str]) -> None:
    """Write temperature and threshold into a model folder's `config.json`, and remember whom they were chosen on.

    Args:
        folder: what `save_run` wrote. Folders of earlier versions keep their code, which knows no temperature; save the
            run again to publish it.
        calibration: `results["calibration"]`; chosen_on: keys of the validation subjects, from `subject_keys`.
    Raises:
        ValueError: if there is no temperature, with the reason.
    """
    path = Path(folder) / "config.json"
    if "not_calibrated" in calibration:
        raise ValueError(f"{folder}: nothing to store; {calibration['not_calibrated']}")
    seen = {"trained_on": [], "chosen_on": []} | (load_subjects_seen(folder) or {})
    config = json.loads(path.read_text(encoding="utf-8"))
    config = {key: value for key, value in config.items() if EARLIER_KEYS.get(key, ("",))[0] != "calibration"}
    config["calibration"] = _stored(calibration)
    for name, content in (
        (SEEN_FILE, seen | {"chosen_on": sorted({*seen["chosen_on"], *chosen_on})}),
        ("config.json", config),
    ):
        write_json(path.with_name(name), content)


def _stored(calibration: Mapping) -> dict | None:
    """What a configuration keeps of `results["calibration"]`; a classifier has no prompts."""
    if calibration.get("temperature") is None:
        return None
    return {f.name: calibration.get(f.name) for f in dataclasses.fields(Calibration)}
