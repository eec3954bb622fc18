"""`pipeline("mesh-action-units")`: a scan in, the actions of the face out, each with probability, intensity and side."""

import math
from collections.abc import Sequence

import torch
from transformers import AutoModel
from transformers.pipelines import PIPELINE_REGISTRY
from transformers.utils import logging

from .actions_mvfer import ActionReader, ActionScores
from .classifier_mvfer import NOT_A_FACE, UNLIKE
from .familiarity_mvfer import unlike
from .pipeline_mvfer import MeshPipeline, spread

logger = logging.get_logger(__name__)

ACTIONS_TASK = "mesh-action-units"
COLUMNS = ("probabilities", "intensities", "seen", "sides")


class MeshActionUnitsPipeline(MeshPipeline):
    """Read the action units of FACS from face scans, sequences of them, or views.

    ```python
    read = pipeline("mesh-action-units", model=folder, trust_remote_code=True)
    read("face.obj")  # [{"unit": "1", "phrase": "inner brows raised", "seen": False, "score": 0.02, ...}, ...]
    ```
    """

    def __call__(self, inputs, *, language: str | None = None, **kwargs):
        """Read one input, or a list of them.

        Args:
            inputs: as in the other pipelines: a mesh, a sequence, views, or a PIL image. A list is a batch.
            language (`str`, *optional*): of the phrases, "en" or "ja"; default one that the model learnt.
            num_frames (`int`, *optional*): frames taken of a sequence; default the processor's.
            batch_size (`int`, *optional*): inputs of equal shape that go through the model together.
            on_error (`str`, *optional*): "raise" (the default), or "skip": the result of an input that cannot be read
                is one row with its "error".
        Returns:
            `list[dict]`, one per unit in the order of FACS; a list of these for a list. Keys: "unit", "phrase", "seen",
            "score" (the probability that it is seen), "intensity" (0 to 1) and "grade" ("A" to "E", or `None`); of units
            with sides also "left" and "right" (the probabilities that it is seen there alone) and "side"; "abstain" and
            "reason", the same in all rows: whether the scan is better left to people, as it is no face or unlike the scans
            that the model was calibrated on. A warning says once if the model's actions are not calibrated.
        Raises:
            ValueError: if an input cannot be understood, or the model reads no texts.
        """
        with self.device_placement():
            reader = ActionReader.build(self.model, self.processor, language=language)
        if reader.warning:
            logger.warning_once(reader.warning)
        if isinstance(inputs, Sequence) and not isinstance(inputs, str):  # a column of a data set too
            inputs = list(inputs)
            if not inputs:
                return []
        return super(MeshPipeline, self).__call__(inputs, reader=reader, **kwargs)

    def _sanitize_parameters(self, reader=None, num_frames=None, on_error="raise"):
        preprocess, _, _ = super()._sanitize_parameters(num_frames=num_frames, on_error=on_error)
        shared = {} if reader is None else {"reader": reader}
        return preprocess, shared, shared

    def _forward(self, model_inputs, reader):
        known, batches = self._batches(model_inputs)
        calibration = self.model.config.calibration
        found, odd = [], []
        for batch in batches:
            scores = reader.read(self.model.get_image_features(**batch), batch.get("view_angles_deg"))
            odd += unlike(scores.features.pooler_output, calibration and calibration.familiarity)
            found.append(scores)
        columns = {
            name: spread(torch.cat([getattr(one, name).float() for one in found]), known["error"])
            for name in COLUMNS
            if found
        }
        flags = torch.tensor([torch.nan if one is None else float(one) for one in odd])  # NaN: nothing is known of it
        return known | columns | {"unlike": spread(flags, known["error"])}

    def postprocess(self, model_outputs, reader):
        """Rows of one input, one per unit; of one that could not be read, a row with the "error"."""
        error = model_outputs["error"]
        error = error[0] if isinstance(error, list) else error
        if error is not None:
            return [{"error": error}]
        odd = float(model_outputs["unlike"][0])
        said = {"abstain": None if math.isnan(odd) else odd > 0, "reason": UNLIKE if odd > 0 else None}
        if not bool(model_outputs["is_face"].all()):
            said = {"abstain": True, "reason": NOT_A_FACE}
        values = {name: model_outputs[name] for name in COLUMNS}
        scores = ActionScores(**values | {"seen": values["seen"].bool()})
        return [row | said for row in reader.rows(scores)[0]]


PIPELINE_REGISTRY.register_pipeline(
    ACTIONS_TASK, pipeline_class=MeshActionUnitsPipeline, pt_model=AutoModel, type="multimodal"
)
