"""MVFER's model. Importing this package makes it known to the Auto classes and pipelines of `transformers`.

The model knows nothing of `processing`, which registers its own classes when it is imported.
"""

from transformers import AutoConfig, AutoModel, AutoModelForZeroShotImageClassification

from .configuration_mvfer import MVFERConfig
from .modeling_mvfer import MVFERImageOutput, MVFERModel, MVFEROutput
from .pipeline_mvfer import ZeroShotMeshClassificationPipeline
from .stream_mvfer import MVFERStream

MVFERConfig.register_for_auto_class()
MVFERModel.register_for_auto_class("AutoModel")
AutoConfig.register("mvfer", MVFERConfig, exist_ok=True)
AutoModel.register(MVFERConfig, MVFERModel, exist_ok=True)
AutoModelForZeroShotImageClassification.register(MVFERConfig, MVFERModel, exist_ok=True)

__all__ = [
    "MVFERConfig",
    "MVFERImageOutput",
    "MVFERModel",
    "MVFEROutput",
    "MVFERStream",
    "ZeroShotMeshClassificationPipeline",
]
