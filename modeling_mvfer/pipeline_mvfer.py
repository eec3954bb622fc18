"""`pipeline("zero-shot-mesh-classification")`: a scan and some labels in, a probability per label out.

The pipeline knows neither meshes nor prompts: the processor renders the one and writes the other. A model's folder also names it
for photos, as `pipeline("zero-shot-image-classification")`: a photo is one view.
"""

import os
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
import torch
from PIL import Image
from transformers import AutoModel, Pipeline
from transformers.pipelines import PIPELINE_REGISTRY
from transformers.utils import logging

from .adaptive_views_mvfer import adaptive_logits, check_adaptive
from .audit_log_mvfer import AuditLog, model_hash
from .classifier_mvfer import NOT_A_FACE, Classifier, embeds_of
from .modeling_mvfer import ACTIONS_ONLY
from .zeroshot_mvfer import class_embeddings

logger = logging.get_logger(__name__)

TASK = "zero-shot-mesh-classification"
INPUTS = 'a mesh (path or object), {"frames": [...], "fps": 25.0}, {"images": [one per view]}, or a photo'
ON_ERROR = ("raise", "skip")
LONG = 20  # inputs: from here on a terminal shows progress


class MeshPipeline(Pipeline):
    """What the pipelines of this package share: from a mesh, a sequence, views or a photo to ranked labels of a classifier."""

    _load_processor = True
    _load_image_processor = False
    _load_feature_extractor = False
    _load_tokenizer = False
    _hashed: tuple | None = None  # a model and its hash

    def preprocess(self, inputs, num_frames: int | None = None, on_error: str = "raise"):
        try:
            return self._read(inputs, num_frames)
        except (ValueError, OSError) as error:
            if on_error != "skip":
                raise
            reason = " ".join(str(error).split())
            logger.warning(f"skipped: {reason}")
            return {"sample": [None], "is_face": [True], "error": [reason]}

    def _read(self, inputs, num_frames: int | None) -> dict:
        """One input as the processor's tensors."""
        if isinstance(inputs, str) and inputs.startswith(("http://", "https://")):
            raise ValueError(f"{inputs}: addresses are not fetched; download the file, and pass its path")
        if isinstance(inputs, Mapping) and "frames" in inputs:
            options = {} if num_frames is None else {"num_frames": num_frames}
            batch = self.processor(sequences=[dict(inputs)], return_tensors="pt", **options)
        elif isinstance(inputs, Mapping) and "images" in inputs:
            unknown = set(inputs) - {"images", "view_angles_deg"}
            if unknown:
                raise ValueError(f"unknown keys {sorted(unknown)} beside images; known: view_angles_deg")
            angles = {k: v for k, v in inputs.items() if k == "view_angles_deg" and v is not None}
            batch = self.processor(images=[list(inputs["images"])], return_tensors="pt", **angles)
        elif _is_photo(inputs):
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
        return {"sample": [dict(batch)], "is_face": [is_face], "error": [None]}

    def save_pretrained(self, save_directory, **kwargs):
        """As the parent's, which leaves the processor out."""
        super().save_pretrained(save_directory, **kwargs)
        self.processor.save_pretrained(save_directory, **kwargs)

    def get_iterator(self, inputs, *args):
        results = super().get_iterator(inputs, *args)
        if not isinstance(inputs, list):
            return results
        return logging.tqdm(results, total=len(inputs), unit="input", disable=None if len(inputs) >= LONG else True)

    def _classify(
        self,
        inputs,
        classifier: Classifier,
        temperature: float | None = None,
        baseline=None,
        baseline_at_rest: bool = True,
        audit_log: AuditLog | None = None,
        settings: Mapping = MappingProxyType({}),
        **options,
    ):
        """Run on one input or a list of them, and tell once of scores that are not calibrated, unless the user chose how."""
        if baseline is not None:
            if options.get("adaptive_views") is not None:
                raise ValueError("adaptive_views reads no baseline; leave one of the two out")
            scans = [baseline] if isinstance(baseline, (str, os.PathLike, Mapping)) else list(baseline)
            with self.device_placement():
                options["baseline"] = classifier.baseline_of(self._of_one_person(scans), at_rest=baseline_at_rest)
        if classifier.warning and temperature is None:
            logger.warning_once(classifier.warning)
        if isinstance(inputs, Sequence) and not isinstance(inputs, str):  # a column of a data set too
            inputs = list(inputs)
            if not inputs:
                return []
        answers = super().__call__(inputs, classifier=classifier, temperature=temperature, **options)
        if audit_log is not None:
            settings = {"labels": classifier.labels, "temperature": temperature, **settings, **options}
            if "baseline" in options:
                of_whom = options["baseline"]
                settings["baseline"] = {"scans": int(of_whom.count), "at_rest": bool(of_whom.at_rest)}
                settings["baseline"]["hash"] = audit_log.input_hash(scans)
            given = (inputs, answers) if isinstance(inputs, list) else ([inputs], [answers])
            for one, rows in zip(*given, strict=True):
                audit_log.record(one, rows, command=self.task, model=self._model_hash(), settings=settings)
        return answers

    def _model_hash(self) -> str:
        """Made once per model."""
        if self._hashed is None or self._hashed[0] is not self.model:
            self._hashed = self.model, model_hash(self.model)
        return self._hashed[1]

    def _of_one_person(self, scans: list) -> Mapping[str, torch.Tensor]:
        """Model inputs of a baseline's scans: meshes, photos, or `{"images": [one per view]}`."""
        views = [scan["images"] if isinstance(scan, Mapping) and "images" in scan else scan for scan in scans]
        is_photos = any(view is not scan for view, scan in zip(views, scans, strict=True))
        if is_photos or any(map(_is_photo, scans)):
            return self.processor(
                images=[list(view) if isinstance(view, (list, tuple)) else [view] for view in views],
                return_tensors="pt",
            )
        return self.processor(meshes=scans, return_tensors="pt")

    def _sanitize_parameters(
        self,
        classifier=None,
        num_frames=None,
        adaptive_views=None,
        temperature=None,
        baseline=None,
        on_error="raise",
        top_k=None,
    ):
        check_adaptive(adaptive_views, temperature)
        if on_error not in ON_ERROR:
            raise ValueError(f"on_error: expected one of {', '.join(ON_ERROR)}, got {on_error!r}")
        if top_k is not None and (not isinstance(top_k, int) or top_k < 1):
            raise ValueError(f"top_k: expected a whole number from 1 on, got {top_k!r}")
        preprocess = {"on_error": on_error} | ({} if num_frames is None else {"num_frames": num_frames})
        shared = {"classifier": classifier, "temperature": temperature}
        shared = {name: value for name, value in shared.items() if value is not None}
        asked = {"adaptive_views": adaptive_views, "baseline": baseline}
        forward = {name: value for name, value in asked.items() if value is not None}
        return preprocess, shared | forward, shared | {"top_k": top_k}

    def _forward(self, model_inputs, classifier, adaptive_views=None, temperature=None, baseline=None):
        """The tempered logits `(B, K)`; samples of one shape go through the model together, those that failed are NaN."""
        classifier = classifier.at(temperature)
        known, batches = self._batches(model_inputs)
        logits, unlike = [], []
        for batch in batches:
            if adaptive_views is None:
                features = self.model.get_image_features(**batch, baseline=baseline)
                logits.append(classifier.tempered(embeds_of(features)))
                unlike += map(bool, classifier.unlike(features) if baseline is None else [False] * len(logits[-1]))
            else:
                logits.append(adaptive_logits(classifier, batch, threshold=adaptive_views).logits)
                unlike += [False] * len(logits[-1])  # what is alike was found with all views, and without a baseline
        empty = torch.zeros(0, len(classifier.labels))
        return known | {
            "logits": spread(torch.cat(logits) if logits else empty, known["error"]),
            "unlike": spread(torch.tensor(unlike, dtype=torch.float32), known["error"]),
        }

    def _batches(self, model_inputs) -> tuple[dict, list[dict]]:
        """Of every sample of a step its "error" and "is_face", and the model's inputs: one batch if all are of one shape."""
        inputs = {name: [v[0] if isinstance(v, list) else v for v in values] for name, values in model_inputs.items()}
        samples = [sample for sample in inputs["sample"] if sample is not None]
        shapes = [{name: value.shape for name, value in sample.items()} for sample in samples]
        if samples and all(shape == shapes[0] for shape in shapes):
            samples = [{name: torch.cat([sample[name] for sample in samples]) for name in samples[0]}]
        for batch in samples:
            batch["pixel_values"] = batch["pixel_values"].to(self.model.dtype)
        return {"error": inputs["error"], "is_face": torch.tensor(inputs["is_face"])}, samples

    def postprocess(self, model_outputs, classifier, temperature=None, top_k=None):
        """Rows of "score", "label", "abstain" and "reason" of one input, best first; of one that could not be read, a row with
        the "error".
        """
        error = model_outputs["error"]
        error = error[0] if isinstance(error, list) else error
        if error is not None:
            return [{"error": error}]
        found = classifier.at(temperature).decide(model_outputs["logits"], model_outputs["unlike"].bool().tolist())
        is_face = bool(model_outputs["is_face"].all())
        said = {"abstain": found.abstain[0], "reason": found.reasons[0]}
        if not is_face:
            said = {"abstain": True, "reason": NOT_A_FACE}
        pairs = sorted(zip(found.probabilities[0].tolist(), classifier.labels, strict=True), key=lambda pair: -pair[0])
        return [{"score": score, "label": label, **said} for score, label in pairs[:top_k]]


def spread(rows: torch.Tensor, errors: list[str | None]) -> torch.Tensor:
    """Results of the samples that were read, `(n, ...)`, in the places of all samples; NaN for the others."""
    is_read = torch.tensor([error is None for error in errors], device=rows.device)
    return rows.new_full((len(errors), *rows.shape[1:]), torch.nan).index_put((is_read,), rows)


class ZeroShotMeshClassificationPipeline(MeshPipeline):
    """Classify face scans, sequences of them, or views, among labels given in the call.

    ```python
    classify = pipeline("zero-shot-mesh-classification", model=folder, trust_remote_code=True)
    classify("face.obj", candidate_labels=["happiness", "disgust"])
    # [{"score": 0.93, "label": "happiness", "abstain": False, "reason": None}, {"score": 0.07, ...}]
    ```
    """

    _kept: tuple = (None, None)  # what the class embeddings of the last call were made of, and they

    def __call__(
        self,
        inputs,
        candidate_labels: Sequence[str] | None = None,
        *,
        prompts: Mapping | None = None,
        hypothesis_template: str | None = None,
        **kwargs,
    ):
        """Classify one input, or a list of them.

        Args:
            inputs: a mesh (path, `Mesh`, or dict with vertices and faces); a sequence `{"frames": [...], "fps": 25.0}`;
                views `{"images": [...], "view_angles_deg": [...]}` (angles optional); or a photo (file, array or PIL image),
                which is one view. A list, or a column of a data set, is a batch: one result per item, in order.
            candidate_labels (`list[str]`): at least one label; any text.
            hypothesis_template (`str`, *optional*): such as "a face with {}": the text of every label without `prompts`, instead
                of the processor's descriptions.
            prompts (`dict` of label to `list[str]`, *optional*): descriptions to use instead of the processor's, for
                some or all labels.
            prompt_kinds (`list[str]`, *optional*): the processor's prompts to use, "actions" or "names" or both;
                default the model's `config.prompt_kinds`.
            language (`str`, *optional*): of the processor's prompts, "en" or "ja"; default English, or what the model learnt.
            num_frames (`int`, *optional*): frames taken of a sequence; default the processor's.
            adaptive_views (`float` in 0..1, *optional*): entropy below which no further view is read, see
                `adaptive_views_mvfer`; default all views.
            temperature (`float`, *optional*): what the logits are divided by; default that of the model's `config.calibration`
                if it was calibrated for these labels and prompts, else 1. Nothing is said of abstaining at another.
            baseline (*optional*): further scans of the one person whom all inputs show: meshes, photos, or
                `{"images": [one per view]}`. What they look like anyway is told from what the face does.
            baseline_at_rest (`bool`, defaults to `True`): whether these show the face at rest; else they may show anything.
            batch_size (`int`, *optional*): inputs of equal shape that go through the model together.
            audit_log ([`AuditLog`], *optional*): gets a line per input, on the disk before this returns.
            top_k (`int`, *optional*): only the best so many labels.
            on_error (`str`, *optional*): "raise" (the default), or "skip": the result of an input that cannot be read is one row
                with its "error", and the others are read.
        Returns:
            `list[dict]` with "score" (probabilities that sum to 1), "label", "abstain" and "reason", best first; a list of
            these for a list. "abstain", the same in all rows of an input, is true where the scan is better left to people.
            It is `None` if the model was not calibrated for these labels and prompts; a warning then says so once. Both were
            found with all views. Where it is true, "reason" says why: the scan is no face, or unlike the scans that the
            model learnt from, or the model is unsure.
        Raises:
            ValueError: if there are no labels, or an input cannot be understood; the message names it.
        """
        if hypothesis_template is not None and "names" not in self.model.config.prompt_kinds:
            logger.warning_once(ACTIONS_ONLY)
        prompts = _templated(hypothesis_template, candidate_labels, prompts)
        words = {
            "kinds": kwargs.pop("prompt_kinds", None),
            "language": kwargs.pop("language", None),
            "prompts": prompts,
        }
        with self.device_placement():
            options = words | {"encode": self._class_embeddings}
            classifier = Classifier.from_prompts(self.model, self.processor, candidate_labels or [], **options)
        words["prompts"] = {label: list(texts) for label, texts in prompts.items()} if prompts else None
        return self._classify(inputs, classifier, settings=words, **kwargs)

    def _class_embeddings(self, model, tokenizer, prompts: Mapping[str, Sequence[str]]) -> dict[str, torch.Tensor]:
        """`class_embeddings`, kept for the next call if that has the same prompts, and the text tower was not changed."""
        texts = tuple((label, tuple(texts)) for label, texts in prompts.items())
        weights = (*model.text_model.parameters(), *model.text_projection.parameters())
        made_of = (texts, model.device, model.dtype, [(p.data_ptr(), p._version) for p in weights])
        if self._kept[0] != made_of:
            self._kept = (made_of, class_embeddings(model, tokenizer, prompts))
        return self._kept[1]


def _templated(template: str | None, labels, prompts: Mapping | None) -> Mapping | None:
    """The prompts, and for every other label the text of a template."""
    if template is None:
        return prompts
    if not isinstance(template, str) or template.count("{}") != 1:
        raise ValueError(
            f'hypothesis_template: expected a text with one {{}}, such as "a face with {{}}"; got {template!r}'
        )
    return {label: [template.format(label)] for label in labels or ()} | dict(prompts or {})


def _is_photo(inputs) -> bool:
    """Whether an input is one photo: an image, an array, or a file named as one."""
    if isinstance(inputs, str | os.PathLike):
        return os.path.splitext(inputs)[1].lower() in Image.registered_extensions()
    return isinstance(inputs, Image.Image) or (isinstance(inputs, np.ndarray | torch.Tensor) and inputs.ndim in (2, 3))


PIPELINE_REGISTRY.register_pipeline(
    TASK, pipeline_class=ZeroShotMeshClassificationPipeline, pt_model=AutoModel, type="multimodal"
)
