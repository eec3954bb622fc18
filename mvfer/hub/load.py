"""A saved model and its processor. In: the folder of a run, or its Hub repository. Out: both, ready to be asked.

Apart from `run_folder`, which writes them: what reads needs nothing that evaluates or trains.
"""

from pathlib import Path

import torch

from modeling_mvfer.classification_mvfer import MVFERForFaceClassification
from modeling_mvfer.configuration_mvfer import MVFERConfig
from modeling_mvfer.modeling_mvfer import MVFERModel
from processing.processing_mvfer import MVFERProcessor


def load_run(folder: str | Path, *, needs_texts: bool = False) -> tuple[MVFERModel, MVFERProcessor]:
    """Load what `save_run` wrote, in evaluation mode; `folder` may also be a repository on the Hub.

    Args:
        needs_texts (`bool`): refuse a fine-tuned classifier, which compares no texts.
    Returns:
        model and processor; the model is an `MVFERForFaceClassification` if a fine-tuned one was saved.
    Raises:
        ValueError: if a local folder is named that holds no model, or a classifier where texts are needed.
    """
    path = Path(folder)
    looks_local = path.exists() or len(path.parts) != 2 or path.is_absolute()
    if looks_local and not (path / "config.json").is_file():
        raise ValueError(f"{folder}: no config.json there; expected the folder of a finished run")
    config = MVFERConfig.from_pretrained(folder)
    is_classifier = MVFERForFaceClassification.__name__ in (config.architectures or ())
    if is_classifier and needs_texts:
        raise ValueError(
            f"{folder}: a fine-tuned classifier, which compares no texts; pass the MVFERModel that it was made from"
        )
    model_class = MVFERForFaceClassification if is_classifier else MVFERModel
    model = model_class.from_pretrained(folder, config=config, dtype=torch.float32)  # however few bits it is stored in
    return model.eval(), MVFERProcessor.from_pretrained(folder)
