"""Faces and words to model inputs: the image processor and a tokenizer behind one call."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from transformers import BatchFeature
from transformers.processing_utils import ProcessingKwargs, ProcessorMixin

from .image_processing_mvfer import MVFERImageProcessor, MVFERImageProcessorKwargs
from .prompts_mvfer import action_phrases, prompts_for


class MVFERProcessorKwargs(ProcessingKwargs, total=False):  # type: ignore[call-arg]  # a TypedDict
    images_kwargs: MVFERImageProcessorKwargs
    _defaults = {"text_kwargs": {"padding": True, "truncation": True}}


class MVFERProcessor(ProcessorMixin):
    """Wraps `MVFERImageProcessor` and a CLIP tokenizer.

        processor(meshes=["face.obj"], text=["a smiling face"], return_tensors="pt")
        processor(images=[[left, front, right]], view_angles_deg=[[-30, 0], [0, 0], [30, 0]], return_tensors="pt")
        processor(sequences=[{"frames": ["0.obj", "1.obj"], "fps": 25.0}], num_frames=8, return_tensors="pt")

        processor(meshes=["smile.obj"], baseline=["rest_1.obj", "rest_2.obj"], return_tensors="pt")

    Settings of the image processor and of the tokenizer may be given in the call. Text is padded and cut to the
    tokenizer's `model_max_length` unless told otherwise.

    From the folder of a plain CLIP it takes the tokenizer, and size, mean and standard deviation of photos.
    """

    _auto_class = "AutoProcessor"
    valid_processor_kwargs = MVFERProcessorKwargs

    def __init__(self, image_processor=None, tokenizer=None, **kwargs):
        if image_processor is not None and not hasattr(image_processor, "render_settings"):  # of a plain CLIP
            image_processor = MVFERImageProcessor.from_clip(image_processor)
        super().__init__(image_processor, tokenizer, **kwargs)

    def __call__(
        self, images=None, text=None, meshes=None, sequences=None, baseline=None, baseline_at_rest=None, **kwargs
    ) -> BatchFeature:
        """Prepare faces, texts, or both.

        Args:
            images, meshes, sequences: at most one of them, see `MVFERImageProcessor`.
            text (`str` or list of `str`).
            baseline (*optional*): further scans of the one person that all faces show, in the form of `images` where these are
                given, else of `meshes`; what the person looks like anyway is then told from what the face does.
            baseline_at_rest (`bool`, defaults to `True`): whether these show the face at rest; else they may show anything.
        Returns:
            `BatchFeature`: `input_ids`, `attention_mask` for text; `pixel_values` and, where they apply, `view_mask`,
            `view_angles_deg`, `frame_mask`, `frame_times_s`, `baseline_pixel_values (1, K, V, C, H, W)`, `baseline_at_rest (1,)`
            for faces; as an attribute, `face_frames` of what was rendered.
        Raises:
            ValueError: if nothing is given, several kinds of faces are, a baseline without faces or with scans of different
                numbers of views, or what the image processor refuses.
        """
        faces = {"images": images, "meshes": meshes, "sequences": sequences}
        faces = {kind: items for kind, items in faces.items() if items is not None}
        if baseline is not None and not faces:
            raise ValueError("a baseline goes with images, meshes or sequences of the same person, got none")
        if not faces and text is None:
            raise ValueError("expected images, meshes, sequences or text, got none")
        if text is not None and not (isinstance(text, str) or (text and all(isinstance(t, str) for t in text))):
            raise ValueError(f"text: expected a string or a non-empty list of strings, got {text!r}")
        settings = self._merge_kwargs(MVFERProcessorKwargs, tokenizer_init_kwargs=self.tokenizer.init_kwargs, **kwargs)
        data = {}
        if text is not None:
            text = text if isinstance(text, str) else list(text)
            data |= self.tokenizer(text, **settings["text_kwargs"])
        frames = []
        if faces:
            images = self.image_processor(**faces, **settings["images_kwargs"])
            data |= images
            frames = images.face_frames
        if baseline is not None:
            kind = "images" if "images" in faces else "meshes"
            at_rest = True if baseline_at_rest is None else baseline_at_rest
            data |= self._baseline(kind, baseline, at_rest, settings["images_kwargs"])
        result = BatchFeature(data, tensor_type=settings["text_kwargs"].get("return_tensors"))
        result.face_frames = frames
        return result

    def _baseline(self, kind: str, scans, at_rest: bool, settings) -> dict:
        """`baseline_pixel_values` and `baseline_at_rest` of one person, from a batch of scans."""
        batch = self.image_processor(**{kind: scans}, **settings)
        pixels = batch["pixel_values"]
        if pixels.ndim != 5 or not np.all(np.asarray(batch.get("view_mask", True))):
            raise ValueError("baseline: expected scans with the same views each, as lists of photos or as meshes")
        return {"baseline_pixel_values": pixels[None], "baseline_at_rest": np.array([at_rest])}

    def prompts_for(self, labels, **kwargs) -> dict[str, list[str]]:
        """Prompts for each label: `{label: [prompt, ...]}`, see `prompts_mvfer.prompts_for`."""
        return prompts_for(labels, **kwargs)

    def action_phrases(self, **kwargs) -> dict[str, list[str]]:
        """Wordings of each action unit and its sides: `{unit: [phrase, ...]}`, see `prompts_mvfer.action_phrases`."""
        return action_phrases(**kwargs)

    def post_process_zero_shot(
        self, outputs, candidate_labels: Sequence[str] | Mapping[str, Sequence[str]], *, top_k: int | None = None
    ) -> list[list[dict]]:
        """Logits of the model to ranked labels, as the pipelines give them.

        Args:
            outputs (`MVFEROutput`): of a call whose texts were the labels, or all prompts of all labels, in this order.
            candidate_labels (list of `str`, or mapping of label to its prompts, as `prompts_for` gives): a label scores by the
                mean likelihood of its prompts.
            top_k (`int`, *optional*): the best so many labels; default all.
        Returns:
            `list[list[dict]]`: of each sample, rows of "score" and "label", best first; the scores of all labels sum to 1.
        Raises:
            ValueError: if the labels or their prompts are not as many as the texts.
        """
        counts = [1] * len(candidate_labels)
        if isinstance(candidate_labels, Mapping):
            counts = [len(texts) for texts in candidate_labels.values()]
        logits = outputs.logits_per_image.float()  # (B, all prompts)
        if sum(counts) != logits.shape[-1] or not all(counts):
            raise ValueError(
                f"expected {logits.shape[-1]} texts, as the model was given, got {sum(counts)} of {counts}"
            )
        means = [part.logsumexp(-1) - torch.tensor(part.shape[-1]).log() for part in logits.split(counts, dim=-1)]
        scores = torch.stack(means, dim=-1).softmax(-1).tolist()
        rows = [[{"score": s, "label": k} for s, k in zip(row, candidate_labels, strict=True)] for row in scores]
        return [sorted(row, key=lambda one: -one["score"])[:top_k] for row in rows]
