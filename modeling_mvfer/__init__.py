"""MVFER's models. Importing this package makes them known to the Auto classes and pipelines of `transformers`.

The models know nothing of `processing`, which registers its own classes when it is imported.
"""

from contextlib import suppress
from importlib import import_module

from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForImageClassification,
    AutoModelForZeroShotImageClassification,
)

from .actions_mvfer import ActionReader, ActionScores
from .actions_pipeline_mvfer import MeshActionUnitsPipeline
from .audit_log_mvfer import AuditLog
from .classification_mvfer import MVFERClassifierOutput, MVFERForFaceClassification
from .classification_pipeline_mvfer import MeshClassificationPipeline
from .classifier_mvfer import Classified, Classifier
from .configuration_mvfer import Calibration, MVFERConfig
from .modeling_mvfer import MVFERImageOutput, MVFERModel, MVFEROutput
from .objective_config_mvfer import ObjectiveConfig
from .pipeline_mvfer import ZeroShotMeshClassificationPipeline
from .stream_mvfer import MVFERStream

AutoConfig.register("mvfer", MVFERConfig, exist_ok=True)
AutoModel.register(MVFERConfig, MVFERModel, exist_ok=True)
AutoModelForZeroShotImageClassification.register(MVFERConfig, MVFERModel, exist_ok=True)
AutoModelForImageClassification.register(MVFERConfig, MVFERForFaceClassification, exist_ok=True)

with suppress(
    ImportError
):  # then `transformers` knows the processor too, and does not ask whether to run a folder's code
    import_module("processing")

__all__ = [
    "ActionReader",
    "ActionScores",
    "AuditLog",
    "Classified",
    "Classifier",
    "Calibration",
    "MVFERClassifierOutput",
    "MVFERConfig",
    "MVFERForFaceClassification",
    "MVFERImageOutput",
    "MVFERModel",
    "MVFEROutput",
    "MVFERStream",
    "MeshActionUnitsPipeline",
    "MeshClassificationPipeline",
    "ObjectiveConfig",
    "ZeroShotMeshClassificationPipeline",
]
