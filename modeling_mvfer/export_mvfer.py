"""What a model's folder says of its code: which class serves which auto class of `transformers`, and which pipelines there are.

In: a model about to be saved. Out: the same, its configuration naming them for as long as it is saved. `transformers` writes the
code itself: the model's file, and all that it imports, this file and so the pipelines among it. The processor writes its own.
"""

from contextlib import contextmanager

from .actions_pipeline_mvfer import ACTIONS_TASK, MeshActionUnitsPipeline
from .classification_mvfer import MVFERForFaceClassification
from .classification_pipeline_mvfer import CLASSIFICATION_TASK, MeshClassificationPipeline
from .configuration_mvfer import MVFERConfig
from .modeling_mvfer import MVFERModel
from .pipeline_mvfer import TASK, ZeroShotMeshClassificationPipeline
from .stream_mvfer import MVFERStream

AUTO_CLASSES = {
    "AutoConfig": MVFERConfig,
    "AutoModel": MVFERModel,
    "AutoModelForZeroShotImageClassification": MVFERModel,
    "AutoModelForImageClassification": MVFERForFaceClassification,
}
PHOTO_TASK = "zero-shot-image-classification"  # of transformers, whose own pipeline knows no prompts of facial actions
PIPELINES = {  # task: the pipeline, and the auto class of its model
    TASK: (ZeroShotMeshClassificationPipeline, "AutoModel"),
    PHOTO_TASK: (ZeroShotMeshClassificationPipeline, "AutoModel"),
    ACTIONS_TASK: (MeshActionUnitsPipeline, "AutoModel"),
}
CLASSIFIER_PIPELINES = {CLASSIFICATION_TASK: (MeshClassificationPipeline, "AutoModelForImageClassification")}
FURTHER_CODE = (MVFERStream,)  # no auto class finds it, but it ships


@contextmanager
def served_by(model: MVFERModel):
    """For as long as it is open, the model's configuration names the auto classes and pipelines."""
    config, before = model.config, {}
    tasks = CLASSIFIER_PIPELINES if isinstance(model, MVFERForFaceClassification) else PIPELINES
    names = {
        "auto_map": {name: reference(cls) for name, cls in AUTO_CLASSES.items()},
        "custom_pipelines": {
            task: {"impl": reference(cls), "pt": [auto_class], "type": "multimodal", "default": {}}
            for task, (cls, auto_class) in tasks.items()
        },
    }
    for name, value in names.items():
        before[name] = vars(config).get(name)
        setattr(config, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            delattr(config, name) if value is None else setattr(config, name, value)


def reference(cls: type) -> str:
    """A class as a model's folder names it, in which all files lie flat."""
    return f"{cls.__module__.rpartition('.')[2]}.{cls.__name__}"
