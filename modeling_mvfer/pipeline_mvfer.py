"""`pipeline("zero-shot-mesh-classification")`: a scan and some labels in, a probability per label out.

The pipeline knows neither meshes nor prompts: the processor renders the one and writes the other.
"""

from collections.abc import Mapping, Sequence

import torch
from PIL import Image
from transformers import AutoModel, Pipeline
from transformers.pipelines import PIPELINE_REGISTRY
from transformers.utils import logging

from .zeroshot_mvfer import (
    class_embeddings,
    class_logits,
    class_prompts,
    class_scores,
    is_calibrated,
    why_not_calibrated,
)

logger = logging.get_logger(__name__)

TASK = "zero-shot-mesh-classification"
INPUTS = 'a mesh (path or object), {"frames": [...], "fps": 25.0}, {"images": [one per view]}, or a photo'


class ZeroShotMeshClassificationPipeline(Pipeline):
    """Classify face scans, sequences of them, or views, among labels given in the call.

    ```python
    classify = pipeline("zero-shot-mesh-classification", model=folder, trust_remote_code=True)
    classify("face.obj", candidate_labels=["happiness", "disgust"])
    # [{"score": 0.93, "label": "happiness", "abstain": False}, {"score": 0.07, "label": "disgust", "abstain": False}]
    ```
    """

    _load_processor = True
    _load_image_processor = False
    _load_feature_extractor = False
    _load_tokenizer = False

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
            batch_size (`int`, *optional*): inputs of equal shape that go through the model together.
        Returns:
            `list[dict]` with "score" (probabilities that sum to 1), "label" and "abstain", best first; a list of these for a
            list. "abstain", the same in all rows of an input, is true where the scan is better left to people. It is
            `None` if the model was not calibrated for these labels and prompts; a warning then says so once.
        Raises:
            ValueError: if there are no labels, or an input cannot be understood; the message names it.
        """
        options = {
            "kinds": kwargs.pop("prompt_kinds", None),
            "language": kwargs.pop("language", "en"),
            "prompts": prompts,
        }
        texts = class_prompts(self.processor, self.model.config, candidate_labels, **options)
        with self.device_placement():
            embeds = class_embeddings(self.model, self.processor.tokenizer, texts)
        calibrated = is_calibrated(self.model.config, texts)
        if not calibrated:
            logger.warning_once(why_not_calibrated(self.model.config))
        if isinstance(inputs, (list, tuple)):
            inputs = list(inputs)
            if not inputs:
                return []
        return super().__call__(inputs, class_embeds=embeds, calibrated=calibrated, **kwargs)

    def _sanitize_parameters(self, class_embeds=None, calibrated=False, num_frames=None):
        preprocess = {} if num_frames is None else {"num_frames": num_frames}
        forward = {} if class_embeds is None else {"class_embeds": class_embeds}
        postprocess = {} if class_embeds is None else {"labels": list(class_embeds), "calibrated": calibrated}
        return preprocess, forward, postprocess

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
        return {"sample": [dict(batch)]}

    def _forward(self, model_inputs, class_embeds):
        samples = [s[0] if isinstance(s, list) else s for s in model_inputs["sample"]]
        shapes = [{name: value.shape for name, value in sample.items()} for sample in samples]
        if all(shape == shapes[0] for shape in shapes):
            batches = [{name: torch.cat([sample[name] for sample in samples]) for name in samples[0]}]
        else:
            batches = samples
        features = []
        for batch in batches:
            batch["pixel_values"] = batch["pixel_values"].to(self.model.dtype)
            features.append(self.model.get_image_features(**batch).pooler_output.float())
        image_embeds = torch.nn.functional.normalize(torch.cat(features), dim=-1)
        return {"logits": class_logits(image_embeds, class_embeds, scale=self.model.logit_scale.exp().float())}

    def postprocess(self, model_outputs, labels, calibrated):
        scores, (abstain,) = class_scores(model_outputs["logits"], self.model.config, calibrated=calibrated)
        ranked = sorted(zip(scores[0].tolist(), labels, strict=True), key=lambda pair: -pair[0])
        return [{"score": score, "label": label, "abstain": abstain} for score, label in ranked]


PIPELINE_REGISTRY.register_pipeline(
    TASK, pipeline_class=ZeroShotMeshClassificationPipeline, pt_model=AutoModel, type="multimodal"
)
