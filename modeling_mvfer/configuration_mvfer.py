"""The configuration of MVFER: CLIP's, plus how views are read, fused and trained.

In: a plain CLIP configuration, one of ours, or nothing. Out: everything that changes the meaning of the weights (the stem, the
fusion, the default cameras), the settings of the objective, and how scores are calibrated. What changes only a run lives in the
training script.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

from huggingface_hub.dataclasses import strict
from transformers import CLIPConfig

from .objective_config_mvfer import ObjectiveConfig

DEFAULT_VIEW_ANGLES_DEG = ((-30.0, 0.0), (0.0, 0.0), (30.0, 0.0))
CHOICES = {
    "vision_stem": ("patch", "convolution"),
    "fusion": ("attention", "mean", "max", "text"),
    "frame_fusion": ("attention", "mean", None),
}
POSITIVE = (
    "initializer_range",
    "fusion_hidden_size",
    "fusion_frequencies",
    "temporal_heads",
    "frames_per_second",
)


@dataclass
class ActionCalibration:
    """How the logits of action phrases become probabilities and intensities; `actions_mvfer` reads them.

    Args:
        phrases_key (`str`): `zeroshot_mvfer.prompts_key` of the phrases that it was found for.
        units (unit to 5 or 8 numbers): slope and offset of the probability, slope and offset of the intensity, both before a
            sigmoid; the probability from which on it counts as seen; of units with sides also the weights of what phrases
            and views say of the side, and the logit of "both".
    Raises:
        ValueError: if a unit has other numbers, or a slope falls.
    """

    phrases_key: str
    units: dict[str, list[float]]

    def __post_init__(self):
        self.check()

    def check(self) -> None:
        """Raise a ValueError that names the first unit whose numbers are out of range."""
        for unit, numbers in self.units.items():
            fits = len(numbers) in (5, 8) and all(isinstance(n, int | float) and math.isfinite(n) for n in numbers)
            if not fits or min(numbers[0], numbers[2], *numbers[4:7]) < 0:
                raise ValueError(f"action unit {unit}: expected 5 or 8 numbers, slopes of 0 or more, got {numbers!r}")


@dataclass
class Familiarity:
    """What the features of the scans that a model was calibrated on have in common; `familiarity_mvfer` compares with it.

    Args:
        directions (`str`): `(R, D)` numbers of 16 bits, in base64: directions in which these features hardly differ, scaled
            so that their variance there is 1.
        centre (`R` numbers): where along these they lie.
        spread (2 numbers): what their mean square distance from there is: the first, and the second times the square of a
            feature's length, as strong expressions lie farther out.
        unlike_above (`float`, *optional*): a scan whose distance is larger is unlike them; `None` if no threshold is known.
    Raises:
        ValueError: if spread or threshold are out of range.
    """

    directions: str
    centre: list[float]
    spread: list[float]
    unlike_above: float | None = None

    def __post_init__(self):
        self.check()

    def check(self) -> None:
        """Raise a ValueError if spread or threshold are out of range."""
        if len(self.spread) != 2 or not min(self.spread) >= 0 < sum(self.spread) < math.inf:
            raise ValueError(f"spread must be two numbers of 0 or more, not both 0, got {self.spread!r}")
        if self.unlike_above is not None and not self.unlike_above >= 0:
            raise ValueError(f"unlike_above must be a number of 0 or more, or None, got {self.unlike_above!r}")


@dataclass
class Calibration:
    """How the logits of classes become scores that mean what they say.

    Args:
        temperature (`float`): divides the logits before the softmax.
        abstain_below (`float`, *optional*): a best score below it is better left to people; `None` if no threshold is known.
        prompts_key (`str`, *optional*): `zeroshot_mvfer.prompts_key` of the classes that both were found for; a classifier,
            whose classes are its own, has none.
        actions ([`ActionCalibration`] or `dict`, *optional*): the same for action units.
        familiarity ([`Familiarity`] or `dict`, *optional*): what tells scans unlike those that all this was found on.
    Raises:
        ValueError: if temperature or threshold are out of range, or a part has unknown fields.
    """

    temperature: float
    abstain_below: float | None = None
    prompts_key: str | None = None
    actions: ActionCalibration | dict | None = None
    familiarity: Familiarity | dict | None = None

    def __post_init__(self):
        for name, kind in (("actions", ActionCalibration), ("familiarity", Familiarity)):
            if isinstance(values := getattr(self, name), Mapping):
                setattr(self, name, _known_fields(f"calibration.{name}", kind, values))
        self.check()

    def check(self) -> None:
        """Raise a ValueError if temperature or threshold are out of range, or a part is."""
        for part in (self.actions, self.familiarity):
            if part is not None:
                part.check()  # type: ignore[union-attr]  # by now a part
        if self.temperature is None or not 0 < self.temperature < math.inf:
            raise ValueError(f"temperature must be a positive number, got {self.temperature!r}")
        if self.abstain_below is not None and not 0 <= self.abstain_below <= 1:
            raise ValueError(f"abstain_below must be a number in 0..1 or None, got {self.abstain_below!r}")


PARTS = {"objective": ObjectiveConfig, "calibration": Calibration}
EARLIER_KEYS = {  # keys of earlier versions' config.json: the part that they belong to now, and their name there
    "score_temperature": ("calibration", "temperature"),
    "abstain_below": ("calibration", "abstain_below"),
    "calibrated_prompts": ("calibration", "prompts_key"),
    **{f.name: ("objective", f.name) for f in fields(ObjectiveConfig)},
}
REMOVED_KEYS = {  # key: what it may still say, and what to do about anything else
    "cross_view_form": (
        "barlow",
        'write "barlow", the only form left: it matters where training goes on, not for the weights',
    ),
}


@strict
class MVFERConfig(CLIPConfig):
    """Configuration of [`MVFERModel`]: every field of `CLIPConfig`, and those below.

    Args:
        vision_stem (`str`, defaults to `"patch"`): how pixels become tokens. `"patch"` is CLIP's patch embedding;
            `"convolution"` a small residual stem, and batch norm for the last layer norm, for training from scratch.
        stem_channels (`list[int]`, *optional*): channels after each stride-2 convolution; `2 ** len(stem_channels)`
            must equal the vision tower's `patch_size`.
        stem_blocks (`list[int]`, *optional*): residual blocks after each of these convolutions; default one each, but none
            at the first and largest scale.
        view_angles_deg (`list`, defaults to yaw -30, 0, 30): (yaw, pitch) of the default cameras in degrees. Inputs
            with this number of views and no angles are taken to come from these cameras.
        frames_per_second (`float`, defaults to 25): frame rate of sequences that come without times.
        fusion (`str`, defaults to `"attention"`): `"attention"`; `"mean"` or `"max"`, without parameters; `"text"`, attention
            that also looks at prompts.
        fusion_prompt_ids (`list[list[int]]`, *optional*): token ids, from begin to end token, of the prompts that `"text"`
            fusion looks at; any view is fused in their light, whatever it is compared with later.
        frame_fusion (`str`, *optional*): `"attention"` or `"mean"` over frames; default the mean where views have no parameters
            (`"mean"`, `"max"`), else attention.
        temporal_layers (`int`, defaults to 0): transformer layers over the frames before they are fused.
        temporal_heads (`int`, defaults to 4): attention heads of these; `projection_dim` must be a multiple.
        fusion_hidden_size (`int`, defaults to 128): width inside the fusion.
        fusion_frequencies (`int`, defaults to 4): Fourier frequencies per angle, and for time.
        baseline (`bool`, defaults to `False`): whether the model has learnt to see scans relative to a person's baseline.
        objective ([`ObjectiveConfig`] or `dict`, *optional*): weights and forms of the losses; default its own defaults.
        prompt_kinds (`list[str]`, defaults to both): prompts that describe a class: `"actions"` of the face, `"names"` of the
            emotion, or both. A model that never read a name knows actions only.
        prompt_wordings (`int`, *optional*): how many wordings of the actions the model knows; default the first three, which
            were all that there were when models said no number.
        prompt_languages (`list[str]`, *optional*): of the captions that the model learnt from, "en" or "ja"; `None` if unknown.
        rows_per_class (`list[int]`, *optional*): of a classifier, rows of its head per label; default one each.
        class_weights (`list[float]`, *optional*): of a classifier, weights of its labels in the loss.
        calibration ([`Calibration`] or `dict`, *optional*): how scores are made; `None` if the model is not calibrated.
        initializer_range (`float`, defaults to 0.02): standard deviation of the new linear layers.
    Raises:
        ValueError: on unknown choices, numbers out of range, angles that are not (yaw, pitch), a stem that does not fit, or a
            form of a loss that is no more.

    The fields of an objective and a calibration are also taken by themselves, flat, as earlier versions wrote them
    (`cross_view_weight=0.5`); they are moved to where they belong.
    """

    model_type = "mvfer"
    _auto_class = "AutoConfig"

    initializer_range: float = 0.02
    vision_stem: str = "patch"
    stem_channels: list | tuple | None = None
    stem_blocks: list | tuple | None = None
    view_angles_deg: list | tuple = DEFAULT_VIEW_ANGLES_DEG
    frames_per_second: float | int = 25.0
    fusion: str = "attention"
    fusion_prompt_ids: list | tuple | None = None
    frame_fusion: str | None = None
    temporal_layers: int = 0
    temporal_heads: int = 4
    fusion_hidden_size: int = 128
    fusion_frequencies: int = 4
    baseline: bool = False
    objective: ObjectiveConfig | dict | None = None
    prompt_kinds: list | tuple = ("actions", "names")
    prompt_wordings: int | None = None
    prompt_languages: list | tuple | None = None
    rows_per_class: list | tuple | None = None
    class_weights: list | tuple | None = None
    calibration: Calibration | dict | None = None

    def __setattr__(self, name, value):  # a part may come as a dictionary, as config.json holds it
        if name in PARTS and isinstance(value, Mapping):
            value = _part(name, value)
        super().__setattr__(name, value)

    def __post_init__(self, **kwargs):
        super().__post_init__(**self._take_earlier_keys(kwargs))
        if self.vision_stem == "convolution":
            self.stem_channels = [int(c) for c in (self.stem_channels or (24, 48, 96, 192))]
            self.stem_blocks = [int(n) for n in (self.stem_blocks or [0] + [1] * (len(self.stem_channels) - 1))]
        self.view_angles_deg = _angle_pairs(self.view_angles_deg)
        self.validate_mvfer()  # here too: what `@strict` raises for the same is no ValueError

    def validate_mvfer(self):
        """Check the values; `@strict` calls it again on saving."""
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be one of {choices}, got {getattr(self, name)!r}")
        for name in ("temporal_layers", *POSITIVE):
            value, least = getattr(self, name), "positive" if name in POSITIVE else "zero or more"
            number = isinstance(value, int | float) and 0 <= value < math.inf
            if not number or (value == 0 and name in POSITIVE):
                raise ValueError(f"{name} must be a number, {least}, got {value!r}")
        for part in (self.objective, self.calibration):
            if part is not None:
                part.check()
        for name, least in (("rows_per_class", 1), ("class_weights", 0)):
            values = getattr(self, name)
            if values is not None and not all(isinstance(v, int | float) and least <= v < math.inf for v in values):
                raise ValueError(f"{name} must be numbers, at least {least}, got {values!r}")
        if self.temporal_layers and self.projection_dim % self.temporal_heads:
            raise ValueError(
                f"projection_dim must be a multiple of temporal_heads, got {self.projection_dim} and {self.temporal_heads}"
            )
        _angle_pairs(self.view_angles_deg)
        prompts = self.fusion_prompt_ids
        if self.fusion == "text" and not (prompts and all(len(ids) for ids in prompts)):
            raise ValueError(f"fusion 'text' needs fusion_prompt_ids, token ids of one prompt or more, got {prompts!r}")
        if self.vision_stem == "convolution":
            self._validate_stem()

    def _validate_stem(self):
        vision, channels, blocks = self.vision_config, self.stem_channels, self.stem_blocks
        if len(blocks) != len(channels) or min(channels) < 1 or min(blocks) < 0:
            raise ValueError(f"stem_channels and stem_blocks must pair up, got {channels} and {blocks}")
        if 2 ** len(channels) != vision.patch_size or vision.image_size % vision.patch_size:
            raise ValueError(
                f"{len(channels)} stem channels halve the image to patches of {2 ** len(channels)} pixels; "
                f"got patch_size {vision.patch_size}, image_size {vision.image_size}"
            )

    @classmethod
    def get_config_dict(cls, pretrained_model_name_or_path, **kwargs):
        """Read a configuration file; one of a plain CLIP model becomes an MVFER configuration with default additions.

        Raises:
            ValueError: if the folder or repository holds another kind of model.
        """
        config_dict, kwargs = super().get_config_dict(pretrained_model_name_or_path, **kwargs)
        found = config_dict.get("model_type")
        if found == CLIPConfig.model_type:
            dropped = ("model_type", "architectures", "auto_map")
            config_dict = {key: value for key, value in config_dict.items() if key not in dropped}
        elif found != cls.model_type:
            raise ValueError(
                f"{pretrained_model_name_or_path} holds a configuration of type {found!r}; "
                f"expected {cls.model_type!r}, or {CLIPConfig.model_type!r} to start from"
            )
        return config_dict, kwargs

    @classmethod
    def from_dict(cls, config_dict, **kwargs):
        """As the parent's; `kwargs` may hold the flat keys of earlier versions too.

        Other labels than the stored ones (`num_labels`, `id2label`) leave behind what was stored for those: class weights and
        calibration, and the rows of the head if their number is another.
        """
        flat = {key: kwargs.pop(key) for key in [*EARLIER_KEYS, *REMOVED_KEYS] if key in kwargs}
        return super().from_dict(_for_labels(config_dict, kwargs) | flat, **kwargs)

    def to_dict(self) -> dict:
        """Every field, as plain values that JSON knows."""
        values = super().to_dict()
        for task in (
            values.get("custom_pipelines") or {}
        ).values():  # where `transformers.pipeline` puts classes for names
            if isinstance(task.get("pt"), tuple):
                task["pt"] = [name if isinstance(name, str) else name.__name__ for name in task["pt"]]
        return {
            key: asdict(value) if isinstance(value, ObjectiveConfig | Calibration) else value
            for key, value in values.items()
        }

    def _take_earlier_keys(self, given: dict) -> dict:
        """Move keys of earlier versions into the parts that they belong to now; the rest is returned."""
        moved = {name: {} for name in PARTS}
        for key in EARLIER_KEYS.keys() & given:
            name, field = EARLIER_KEYS[key]
            moved[name][field] = given[key]
        for key in REMOVED_KEYS.keys() & given:
            off, remedy = REMOVED_KEYS[key]
            if given[key] != off:
                raise ValueError(f"{key}: {given[key]!r} is no more; {remedy}")
        if self.objective is None or moved["objective"]:
            known = asdict(self.objective) if isinstance(self.objective, ObjectiveConfig) else {}
            self.objective = known | moved["objective"]
        if any(value is not None for value in moved["calibration"].values()):
            known = asdict(self.calibration) if isinstance(self.calibration, Calibration) else {"temperature": None}
            self.calibration = known | moved["calibration"]
        return {key: value for key, value in given.items() if key not in EARLIER_KEYS and key not in REMOVED_KEYS}


def _for_labels(stored: dict, asked: Mapping) -> dict:
    """A stored configuration for the labels that a call asks for."""
    labels = [str(label) for label in (stored.get("id2label") or {}).values()]
    wanted = asked.get("id2label")
    if not labels or (wanted is None and asked.get("num_labels", len(labels)) == len(labels)):
        return stored
    if wanted is not None and list(map(str, wanted.values())) == labels:
        return stored
    number = len(wanted) if wanted is not None else asked["num_labels"]
    outdated = {"class_weights", "calibration"} | ({"rows_per_class"} if number != len(labels) else set())
    if wanted is None:
        outdated |= {"id2label", "label2id"}
    return {
        key: value
        for key, value in stored.items()
        if key not in outdated and EARLIER_KEYS.get(key, ("",))[0] not in outdated
    }


def _part(name: str, values: Mapping):
    return _known_fields(name, PARTS[name], values)


def _known_fields(name: str, kind, values: Mapping):
    known = {f.name for f in fields(kind)}
    if unknown := sorted(values.keys() - known):
        raise ValueError(f"{name}: unknown {unknown}; known are {sorted(known)}. Was it saved by a newer version?")
    return kind(**values)


def _angle_pairs(angles) -> list[list[float]]:
    """Check (V, 2) angles in degrees and return them as plain lists, which JSON keeps as they are."""
    try:
        pairs = [[float(yaw), float(pitch)] for yaw, pitch in angles]
    except (TypeError, ValueError) as error:
        raise ValueError(f"view_angles_deg must be a list of (yaw, pitch) in degrees, got {angles!r}") from error
    if not pairs or not all(math.isfinite(angle) for pair in pairs for angle in pair):
        raise ValueError(f"view_angles_deg needs at least one view and finite angles, got {angles!r}")
    return pairs
