"""`pipeline("mesh-classification")`: a scan in, a probability per label of a fine-tuned model out."""

from transformers import AutoModelForImageClassification
from transformers.pipelines import PIPELINE_REGISTRY

from .adaptive_views_mvfer import check_adaptive
from .classification_mvfer import MULTI_LABEL
from .pipeline_mvfer import MeshPipeline

CLASSIFICATION_TASK = "mesh-classification"


class MeshClassificationPipeline(MeshPipeline):
    """Classify face scans, sequences of them, or views, among the labels that the model was fine-tuned on.

    ```python
    classify = pipeline("mesh-classification", model=folder, trust_remote_code=True)
    classify("face.obj")  # [{"score": 0.93, "label": "happiness", "abstain": False}, ...]
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
            batch_size (`int`, *optional*): inputs of equal shape that go through the model together.
        Returns:
            `list[dict]` with "score", "label" and "abstain", best first; a list of these for a list. Scores sum to 1, except
            for multi-label models, where each is a probability of its own. "abstain", the same in all rows of an input, is true
            where the scan is better left to people, `None` if the model was not calibrated.
        Raises:
            ValueError: if an input cannot be understood; the message names it.
        """
        if kwargs.get("adaptive_views") is not None and self._is_multi_label:
            raise ValueError("adaptive_views waits until one label is sure; this model has several at once")
        self._warn(self._is_calibrated, kwargs.get("temperature"))
        if isinstance(inputs, (list, tuple)):
            inputs = list(inputs)
            if not inputs:
                return []
        return super().__call__(inputs, **kwargs)

    @property
    def _is_multi_label(self) -> bool:
        return self.model.config.problem_type == MULTI_LABEL

    @property
    def _is_calibrated(self) -> bool:
        return self.model.config.calibration is not None

    def _sanitize_parameters(self, num_frames=None, **options):
        check_adaptive(**options)
        temperature = {name: value for name, value in options.items() if name == "temperature"}
        return {} if num_frames is None else {"num_frames": num_frames}, options, temperature

    def _forward(self, model_inputs, **options):
        return {"logits": self._logits(model_inputs, self.model.head, calibrated=self._is_calibrated, **options)}

    def postprocess(self, model_outputs, temperature=None):
        logits, labels = model_outputs["logits"], list(self.model.config.id2label.values())
        scores = logits.sigmoid() if self._is_multi_label else logits.softmax(-1)
        return self._ranked(scores, labels, calibrated=self._is_calibrated, temperature=temperature)


PIPELINE_REGISTRY.register_pipeline(
    CLASSIFICATION_TASK,
    pipeline_class=MeshClassificationPipeline,
    pt_model=AutoModelForImageClassification,
    type="multimodal",
)
