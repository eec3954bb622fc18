"""`pipeline("zero-shot-mesh-classification")`: a scan and some labels in, a probability per label out.

The pipeline knows neither meshes nor prompts: the processor renders the one and writes the other.
"""

from collections.abc import Mapping, Sequence

import torch
from PIL import Image
from transformers import AutoModel, Pipeline
from transformers.pipelines import PIPELINE_REGISTRY

from .adaptive_views_mvfer import adaptive_logits, check_adaptive
from .zeroshot_mvfer import class_embeddings, class_logits

TASK = "zero-shot-mesh-classification"
INPUTS = 'a mesh (path or object), {"frames": [...], "fps": 25.0}, {"images": [one per view]}, or a photo'


class MeshPipeline(Pipeline):
    """What the pipelines of this package share: from a mesh, a sequence, views or a photo to logits and ranked labels."""

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
        return {"sample": [dict(batch)]}

    def _logits(self, model_inputs, classify, adaptive_views: float | None, temperature: float):
        """`(B, K)` logits divided by the temperature; `classify` maps unit-length embeddings `(B, D)` to logits."""
        samples = [s[0] if isinstance(s, list) else s for s in model_inputs["sample"]]
        shapes = [{name: value.shape for name, value in sample.items()} for sample in samples]
        if all(shape == shapes[0] for shape in shapes):
            batches = [{name: torch.cat([sample[name] for sample in samples]) for name in samples[0]}]
        else:
            batches = samples
        logits = []
        for batch in batches:
            batch["pixel_values"] = batch["pixel_values"].to(self.model.dtype)
            if adaptive_views is None:
                features = self.model.get_image_features(**batch).pooler_output.float()
                logits.append(classify(torch.nn.functional.normalize(features, dim=-1)) / temperature)
            else:
                options = {"threshold": adaptive_views, "temperature": temperature}
                logits.append(adaptive_logits(self.model, classify, batch, **options).logits)
        return torch.cat(logits)


def ranked(scores: list[float], labels: Sequence[str]) -> list[dict]:
    """Rows of "score" and "label", best first."""
    pairs = sorted(zip(scores, labels, strict=True), key=lambda pair: -pair[0])
    return [{"score": score, "label": label} for score, label in pairs]


class ZeroShotMeshClassificationPipeline(MeshPipeline):
    """Classify face scans, sequences of them, or views, among labels given in the call.

    ```python
    classify = pipeline("zero-shot-mesh-classification", model=folder, trust_remote_code=True)
    classify("face.obj", candidate_labels=["happiness", "disgust"])
    # [{"score": 0.93, "label": "happiness"}, {"score": 0.07, "label": "disgust"}]
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
            temperature (`float`, defaults to 1): what the logits are divided by.
            batch_size (`int`, *optional*): inputs of equal shape that go through the model together.
        Returns:
            `list[dict]` with "score" (probabilities that sum to 1) and "label", best first; a list of these for a list.
        Raises:
            ValueError: if there are no labels, or an input cannot be understood; the message names it.
        """
        options = {name: kwargs.pop(name) for name in ("prompt_kinds", "language") if name in kwargs}
        embeds = self._class_embeddings(candidate_labels, prompts or {}, **options)
        if isinstance(inputs, (list, tuple)):
            inputs = list(inputs)
            if not inputs:
                return []
        return super().__call__(inputs, class_embeds=embeds, **kwargs)

    def _sanitize_parameters(self, class_embeds=None, num_frames=None, **options):
        preprocess = {} if num_frames is None else {"num_frames": num_frames}
        check_adaptive(**options)
        forward = options if class_embeds is None else {"class_embeds": class_embeds, **options}
        postprocess = {} if class_embeds is None else {"labels": list(class_embeds)}
        return preprocess, forward, postprocess

    def _forward(self, model_inputs, class_embeds, adaptive_views=None, temperature=1.0):
        scale = self.model.logit_scale.exp().float()

        def classify(image_embeds):
            return class_logits(image_embeds, class_embeds, scale=scale)

        return {"logits": self._logits(model_inputs, classify, adaptive_views, temperature)}

    def postprocess(self, model_outputs, labels):
        return ranked(model_outputs["logits"][0].softmax(-1).tolist(), labels)

    def _class_embeddings(self, labels, own_prompts: Mapping, prompt_kinds=None, language="en"):
        if isinstance(labels, str) or not labels or len(set(labels)) != len(labels):
            raise ValueError(f"expected candidate_labels, a list of different labels, at least one; got {labels!r}")
        unknown = set(own_prompts) - set(labels)
        if unknown:
            raise ValueError(f"prompts for {sorted(unknown)}, which are not among the candidate_labels {list(labels)}")
        config = self.model.config
        kinds, wordings = tuple(prompt_kinds or config.prompt_kinds), config.prompt_wordings
        others = [label for label in labels if label not in own_prompts]
        written = (
            self.processor.prompts_for(others, kinds=kinds, language=language, wordings=wordings) if others else {}
        )
        prompts = {label: list(own_prompts[label]) if label in own_prompts else written[label] for label in labels}
        with self.device_placement():
            return class_embeddings(self.model, self.processor.tokenizer, prompts)


PIPELINE_REGISTRY.register_pipeline(
    TASK, pipeline_class=ZeroShotMeshClassificationPipeline, pt_model=AutoModel, type="multimodal"
)
