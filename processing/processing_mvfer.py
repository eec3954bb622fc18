"""Faces and words to model inputs: the image processor and a tokenizer behind one call."""

from transformers import BatchFeature
from transformers.processing_utils import ProcessingKwargs, ProcessorMixin

from .image_processing_mvfer import MVFERImagesKwargs
from .prompts_mvfer import action_phrases, prompts_for


class MVFERProcessorKwargs(ProcessingKwargs, total=False):  # type: ignore[call-arg]  # a TypedDict
    images_kwargs: MVFERImagesKwargs
    _defaults = {"text_kwargs": {"padding": True, "truncation": True}}


class MVFERProcessor(ProcessorMixin):
    """Wraps `MVFERImageProcessor` and a CLIP tokenizer.

        processor(meshes=["face.obj"], text=["a smiling face"], return_tensors="pt")
        processor(images=[[left, front, right]], view_angles_deg=[[-30, 0], [0, 0], [30, 0]], return_tensors="pt")
        processor(sequences=[{"frames": ["0.obj", "1.obj"], "fps": 25.0}], num_frames=8, return_tensors="pt")

    Settings of the image processor and of the tokenizer may be given in the call. Text is padded and cut to the
    tokenizer's `model_max_length` unless told otherwise.
    """

    def __init__(self, image_processor=None, tokenizer=None, **kwargs):
        super().__init__(image_processor, tokenizer, **kwargs)

    def __call__(self, images=None, text=None, meshes=None, sequences=None, **kwargs) -> BatchFeature:
        """Prepare faces, texts, or both.

        Args:
            images, meshes, sequences: at most one of them, see `MVFERImageProcessor`.
            text (`str` or list of `str`).
        Returns:
            `BatchFeature`: `input_ids`, `attention_mask` for text; `pixel_values` and, where they apply, `view_mask`,
            `view_angles_deg`, `frame_mask`, `frame_times_s` for faces; as an attribute, `face_frames` of what was rendered.
        Raises:
            ValueError: if nothing is given, several kinds of faces are, or what the image processor refuses.
        """
        faces = {"images": images, "meshes": meshes, "sequences": sequences}
        faces = {kind: items for kind, items in faces.items() if items is not None}
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
        result = BatchFeature(data, tensor_type=settings["text_kwargs"].get("return_tensors"))
        result.face_frames = frames
        return result

    def prompts_for(self, labels, **kwargs) -> dict[str, list[str]]:
        """Prompts for each label: `{label: [prompt, ...]}`, see `prompts_mvfer.prompts_for`."""
        return prompts_for(labels, **kwargs)

    def action_phrases(self, **kwargs) -> dict[str, list[str]]:
        """Wordings of each action unit and its sides: `{unit: [phrase, ...]}`, see `prompts_mvfer.action_phrases`."""
        return action_phrases(**kwargs)
