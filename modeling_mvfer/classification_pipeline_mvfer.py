"""`pipeline("mesh-classification")`: a scan in, a probability per label of a fine-tuned model out."""

from transformers import AutoModelForImageClassification
from transformers.pipelines import PIPELINE_REGISTRY

from .classifier_mvfer import Classifier
from .pipeline_mvfer import MeshPipeline

CLASSIFICATION_TASK = "mesh-classification"


class MeshClassificationPipeline(MeshPipeline):
    """Classify face scans, sequences of them, or views, among the labels that the model was fine-tuned on.

    ```python
    classify = pipeline("mesh-classification", model=folder, trust_remote_code=True)
    classify("face.obj")  # [{"score": 0.93, "label": "happiness", "abstain": False, "reason": None}, ...]
    ```
    """

    def __call__(self, inputs, **kwargs):
        """Classify one input, or a list of them.

        Args:
            inputs: as in the zero-shot pipeline: a mesh, a sequence, views, or a PIL image. A list is a batch.
            num_frames (`int`, *optional*): frames taken of a sequence; default the processor's.
            adaptive_views (`float` in 0..1, *optional*): entropy below which no further view is read, see
                `adaptive_views_mvfer`; default all views. Not for multi-label models.
            temperature (`float`, *optional*): what the logits are divided by; default that of the model's `config.calibration`
                if it has one, else 1. Nothing is said of abstaining at another.
            baseline, baseline_at_rest (*optional*): further scans of the one person whom all inputs show, and whether they
                show the face at rest; as in the zero-shot pipeline.
            batch_size (`int`, *optional*): inputs of equal shape that go through the model together.
            audit_log ([`AuditLog`], *optional*): gets a line per input, on the disk before this returns.
            top_k (`int`, *optional*): only the best so many labels.
            on_error (`str`, *optional*): "raise" or "skip", as in the zero-shot pipeline.
        Returns:
            `list[dict]` with "score", "label", "abstain" and "reason", best first; a list of these for a list. Scores sum to
            1, except for multi-label models, where each is a probability of its own. "abstain", the same in all rows of an
            input, is true where the scan is better left to people, and "reason" then says why; `None` if the model was not
            calibrated.
        Raises:
            ValueError: if an input cannot be understood; the message names it.
        """
        classifier = Classifier.from_head(self.model)
        if kwargs.get("adaptive_views") is not None and classifier.is_multi_label:
            raise ValueError("adaptive_views waits until one label is sure; this model has several at once")
        return self._classify(inputs, classifier, **kwargs)


PIPELINE_REGISTRY.register_pipeline(
    CLASSIFICATION_TASK,
    pipeline_class=MeshClassificationPipeline,
    pt_model=AutoModelForImageClassification,
    type="multimodal",
)
