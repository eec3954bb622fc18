"""`pipeline("zero-shot-mesh-classification")`: a scan and some labels in, a probability per label out.

The pipeline knows neither meshes nor prompts: the processor renders the one and writes the other.
"""

from collections.abc import Mapping, Sequence

import torch
from PIL import Image
from transformers import AutoModel, Pipeline
from transformers.pipelines import PIPELINE_REGISTRY
from transformers.utils import logging

from .adaptive_views_mvfer import adaptive_logits, check_adaptive
from .classifier_mvfer import NOT_A_FACE, Classifier, embeds_of

logger = logging.get_logger(__name__)

TASK = "zero-shot-mesh-classification"
INPUTS = 'a mesh (path or object), {"frames": [...], "fps": 25.0}, {"images": [one per view]}, or a photo'


class MeshPipeline(Pipeline):
    """What the pipelines of this package share: from a mesh, a sequence, views or a photo to ranked labels of a classifier."""

    _load_processor = True
    _load_image_processor = False
    _load_feature_extractor = False
    _load_tokenizer = False

    def preprocess(self, inputs, num_frames: int | None = None):
        if isinstance(inputs, Mapping) and "frames" in inputs:
            options = {} if num_frames is None else {"num_frames": num_frames}
            batch = self.processor(sequences=[dict(inputs)], return_tensors="pt", **options)
        elif isinstance(inputs, Mapping) and "images" in inputs:
            unknown = set(inputs) - {"images", "view_angles_deg"}
            if unknown:
                raise ValueError(f"unknown keys {sorted(unknown)} beside images; known: view_angles_deg")
            angles = {k: v for k, v in inputs.items() if k == "view_angles_deg" and v is not None}
            batch = self.processor(images=[list(inputs["images"])], return_tensors="pt", **angles)
        elif isinstance(inputs, Image.Image):
            batch = self.processor(images=[[inputs]], return_tensors="pt")
        elif inputs is None or isinstance(inputs, (int, float)) or (isinstance(inputs, Mapping) and not inputs):
            raise ValueError(f"expected {INPUTS}; got {inputs!r}")
        else:
            batch = self.processor(meshes=[inputs], return_tensors="pt")
        # A list, so that the base class's collation leaves it alone: samples differ in views and frames.
        is_face = all(frame.is_face for frame in getattr(batch, "face_frames", []))
        if not is_face:
            logger.warning(
                "no face found in a scan: its scores mean nothing; say how it lies, or cut away what is not the head"
            )
        return {"sample": [dict(batch)], "is_face": [is_face]}

    def _classify(self, inputs, classifier: Classifier, temperature: float | None = None, **options):
        """Run on one input or a list of them, and tell once of scores that are not calibrated, unless the user chose how."""
        if classifier.warning and temperature is None:
            logger.warning_once(classifier.warning)
        if isinstance(inputs, (list, tuple)):
            inputs = list(inputs)
            if not inputs:
                return []
        return super().__call__(inputs, classifier=classifier, temperature=temperature, **options)

    def _sanitize_parameters(self, classifier=None, num_frames=None, adaptive_views=None, temperature=None):
        check_adaptive(adaptive_views, temperature)
        preprocess = {} if num_frames is None else {"num_frames": num_frames}
        shared = {"classifier": classifier, "temperature": temperature}
        shared = {name: value for name, value in shared.items() if value is not None}
        return preprocess, shared | ({} if adaptive_views is None else {"adaptive_views": adaptive_views}), shared

    def _forward(self, model_inputs, classifier, adaptive_views=None, temperature=None):
        """The tempered logits `(B, K)`; samples of one shape go through the model together."""
        classifier = classifier.at(temperature)
        logits, unlike = [], []
        for batch in batches_of(model_inputs["sample"], self.model.dtype):
            if adaptive_views is None:
                features = self.model.get_image_features(**batch)
                logits.append(classifier.tempered(embeds_of(features)))
                unlike += map(bool, classifier.unlike(features))
            else:
                logits.append(adaptive_logits(classifier, batch, threshold=adaptive_views).logits)
                unlike += [False] * len(logits[-1])  # what is alike was found with all views
        return {
            "logits": torch.cat(logits),
            "unlike": torch.tensor(unlike),
            "is_face": torch.tensor(model_inputs["is_face"]),
        }

    def postprocess(self, model_outputs, classifier, temperature=None):
        """Rows of "score", "label", "abstain" and "reason" of one input, best first."""
        found = classifier.at(temperature).decide(model_outputs["logits"], model_outputs["unlike"].tolist())
        is_face = bool(model_outputs["is_face"].all())
        said = {"abstain": found.abstain[0], "reason": found.reasons[0]}
        if not is_face:
            said = {"abstain": True, "reason": NOT_A_FACE}
        pairs = sorted(zip(found.probabilities[0].tolist(), classifier.labels, strict=True), key=lambda pair: -pair[0])
        return [{"score": score, "label": label, **said} for score, label in pairs]


def batches_of(samples: list, dtype: torch.dtype) -> list[dict]:
    """Inputs of the model, from the samples of a step of a pipeline: one batch if they are of one shape, else one each."""
    samples = [s[0] if isinstance(s, list) else s for s in samples]
    shapes = [{name: value.shape for name, value in sample.items()} for sample in samples]
    if all(shape == shapes[0] for shape in shapes):
        samples = [{name: torch.cat([sample[name] for sample in samples]) for name in samples[0]}]
    for batch in samples:
        batch["pixel_values"] = batch["pixel_values"].to(dtype)
    return samples


class ZeroShotMeshClassificationPipeline(MeshPipeline):
    """Classify face scans, sequences of them, or views, among labels given in the call.

    ```python
    classify = pipeline("zero-shot-mesh-classification", model=folder, trust_remote_code=True)
    classify("face.obj", candidate_labels=["happiness", "disgust"])
    # [{"score": 0.93, "label": "happiness", "abstain": False, "reason": None}, {"score": 0.07, ...}]
    ```
    """

    def __call__(self, inputs, *, candidate_labels: Sequence[str], prompts: Mapping | None = None, **kwargs):
        """Classify one input, or a list of them.

        Args:
            inputs: a mesh (path, `Mesh`, or dict with vertices and faces); a sequence `{"frames": [...], "fps": 25.0}`;
                views `{"images": [...], "view_angles_deg": [...]}` (angles optional); or a PIL image, which is one
                view. A list is a batch: one result per item, in order.
            candidate_labels (`list[str]`): at least one label; any text.
            prompts (`dict` of label to `list[str]`, *optional*): descriptions to use instead of the processor's, for
                some or all labels.
            prompt_kinds (`list[str]`, *optional*): the processor's prompts to use, "actions" or "names" or both;
                default the model's `config.prompt_kinds`.
            language (`str`, *optional*): of the processor's prompts, "en" or "ja".
            num_frames (`int`, *optional*): frames taken of a sequence; default the processor's.
            adaptive_views (`float` in 0..1, *optional*): entropy below which no further view is read, see
                `adaptive_views_mvfer`; default all views.
            temperature (`float`, *optional*): what the logits are divided by; default that of the model's `config.calibration`
                if it was calibrated for these labels and prompts, else 1. Nothing is said of abstaining at another.
            batch_size (`int`, *optional*): inputs of equal shape that go through the model together.
        Returns:
            `list[dict]` with "score" (probabilities that sum to 1), "label", "abstain" and "reason", best first; a list of
            these for a list. "abstain", the same in all rows of an input, is true where the scan is better left to people.
            It is `None` if the model was not calibrated for these labels and prompts; a warning then says so once. Both were
            found with all views. Where it is true, "reason" says why: the scan is no face, or unlike the scans that the
            model learnt from, or the model is unsure.
        Raises:
            ValueError: if there are no labels, or an input cannot be understood; the message names it.
        """
        words = {
            "kinds": kwargs.pop("prompt_kinds", None),
            "language": kwargs.pop("language", "en"),
            "prompts": prompts,
        }
        with self.device_placement():
            classifier = Classifier.from_prompts(self.model, self.processor, candidate_labels, **words)
        return self._classify(inputs, classifier, **kwargs)


PIPELINE_REGISTRY.register_pipeline(
    TASK, pipeline_class=ZeroShotMeshClassificationPipeline, pt_model=AutoModel, type="multimodal"
)
