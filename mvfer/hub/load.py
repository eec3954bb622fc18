"""A saved model and its processor. In: the folder of a run, or its Hub repository. Out: both, ready to be asked.

Apart from `run_folder`, which writes them: what reads needs nothing that evaluates or trains. A folder may come from a
stranger: its code is not run, its weights are read as safetensors alone, which hold numbers and no programs, and what its
configuration claims is compared with what is there before anything is allocated.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME, cached_file

from modeling_mvfer.classification_mvfer import MVFERForFaceClassification
from modeling_mvfer.configuration_mvfer import MVFERConfig
from modeling_mvfer.modeling_mvfer import MVFERModel
from processing.names_mvfer import shown
from processing.processing_mvfer import MVFERProcessor

MAX_JSON_BYTES = 64 * 2**20
LARGEST = 2**24  # number in a configuration: of words, channels, pixels
MOST = {  # what is made one by one
    "num_hidden_layers": 256,
    "temporal_layers": 256,
    "stem_blocks": 256,
    "rows_per_class": 2**16,
    "num_labels": 2**16,
    "fusion_frequencies": 2**10,
}


def load_run(folder: str | Path, *, needs_texts: bool = False) -> tuple[MVFERModel, MVFERProcessor]:
    """Load what `save_run` wrote, in evaluation mode; `folder` may also be a repository on the Hub.

    Args:
        needs_texts (`bool`): refuse a fine-tuned classifier, which compares no texts.
    Returns:
        model and processor; the model is an `MVFERForFaceClassification` if a fine-tuned one was saved.
    Raises:
        ValueError: if a local folder is named that holds no model, or a classifier where texts are needed; if there are no
            safetensors, or the configuration claims more than they hold.
    """
    path = Path(folder)
    looks_local = path.exists() or len(path.parts) != 2 or path.is_absolute()
    if looks_local and not (path / "config.json").is_file():
        raise ValueError(f"{folder}: no config.json there; expected the folder of a finished run")
    _check_files(path)
    try:
        values = MVFERConfig.get_config_dict(folder)[0]
    except OSError as error:
        if str(folder) in str(error):
            raise
        raise OSError(
            f"{folder}: no such folder here, and not to be had from the Hub; check the name, and whether your token may read it. "
            f"{error}"
        ) from error
    _check_numbers(folder, values)
    try:
        config = MVFERConfig.from_pretrained(folder)
    except StrictDataclassError as error:
        raise ValueError(f"{folder}: its config.json makes no model ({' '.join(str(error).split())})") from error
    is_classifier = MVFERForFaceClassification.__name__ in (config.architectures or ())
    if is_classifier and needs_texts:
        raise ValueError(
            f"{folder}: a fine-tuned classifier, which compares no texts; pass the MVFERModel that it was made from"
        )
    model_class = MVFERForFaceClassification if is_classifier else MVFERModel
    _check_weights(folder, model_class, config)
    options = {"config": config, "dtype": torch.float32, "use_safetensors": True}  # however few bits it is stored in
    model = model_class.from_pretrained(folder, **options)
    return model.eval(), MVFERProcessor.from_pretrained(folder, trust_remote_code=False)


def _check_files(folder: Path) -> None:
    for path in folder.glob("*.json"):
        if path.stat().st_size > MAX_JSON_BYTES:
            raise ValueError(
                f"{path}: {path.stat().st_size} bytes of JSON, more than {MAX_JSON_BYTES}; no model of ours"
            )


def _check_numbers(folder: str | Path, values, name: str = "") -> None:
    """Refuse a configuration of absurd numbers, in whatever part of it."""
    if isinstance(values, Mapping):
        for key, value in values.items():
            _check_numbers(folder, value, str(key))
        return
    many = values if isinstance(values, list | tuple) else [values]
    numbers = [n for n in many if isinstance(n, int | float)]
    largest, total = max(map(abs, numbers), default=0), sum(map(abs, numbers))
    if largest > LARGEST or total > MOST.get(name, float("inf")):
        found = total if name in MOST else largest
        raise ValueError(f"{folder}: its config.json says {shown(name)} = {found:g}, which no model of ours has")
    for value in many:
        if isinstance(value, Mapping | list | tuple):
            _check_numbers(folder, value, name)


def _check_weights(folder: str | Path, model_class: type, config: MVFERConfig) -> None:
    """Refuse a folder without safetensors, and a configuration that needs more numbers than these have bytes."""
    options = {"_raise_exceptions_for_missing_entries": False, "_raise_exceptions_for_gated_repo": True}
    weights = cached_file(str(folder), SAFE_WEIGHTS_NAME, **options)
    if weights is None:
        if cached_file(str(folder), SAFE_WEIGHTS_INDEX_NAME, **options) is None:
            raise ValueError(
                f"{folder}: no {SAFE_WEIGHTS_NAME} there; other kinds of weights may hold programs: save it anew"
            )
        return
    with torch.device("meta"):
        needed = sum(parameter.numel() for parameter in model_class(config).parameters())
    if needed > (there := Path(weights).stat().st_size):
        raise ValueError(
            f"{folder}: its config.json describes {needed} weights, but {SAFE_WEIGHTS_NAME} has {there} bytes"
        )
