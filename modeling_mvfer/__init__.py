"""MVFER's models. Importing this package makes them known to the Auto classes and pipelines of `transformers`.

The models know nothing of `processing`, which registers its own classes when it is imported.
"""

from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForImageClassification,
    AutoModelForZeroShotImageClassification,
)

from .actions_mvfer import ActionReader, ActionScores
from .actions_pipeline_mvfer import MeshActionUnitsPipeline
from .classification_mvfer import MVFERClassifierOutput, MVFERForFaceClassification
from .classification_pipeline_mvfer import MeshClassificationPipeline
from .classifier_mvfer import Classified, Classifier
from .configuration_mvfer import Calibration, MVFERConfig
from .modeling_mvfer import MVFERImageOutput, MVFERModel, MVFEROutput
from .objective_config_mvfer import ObjectiveConfig
from .pipeline_mvfer import ZeroShotMeshClassificationPipeline
from .stream_mvfer import MVFERStream

MVFERConfig.register_for_auto_class()
MVFERModel.register_for_auto_class("AutoModel")
MVFERForFaceClassification.register_for_auto_class("AutoModelForImageClassification")
AutoConfig.register("mvfer", MVFERConfig, exist_ok=True)
AutoModel.register(MVFERConfig, MVFERModel, exist_ok=True)
AutoModelForZeroShotImageClassification.register(MVFERConfig, MVFERModel, exist_ok=True)
AutoModelForImageClassification.register(MVFERConfig, MVFERForFaceClassification, exist_ok=True)

__all__ = [
    "ActionReader",
    "ActionScores",
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
