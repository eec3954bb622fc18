"""The recipe of a run: every setting that changes the run, with its default and its meaning.

In: values. Out: one checked `TrainConfig`, which is written to the run's folder as `train_config.json`; `parse_config` makes
one of a command line. A class of settings is a group of flags: its first line is what `--help` says of the group.
"""

import dataclasses
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from modeling_mvfer.objective_config_mvfer import ObjectiveConfig
from mvfer.training.presets import PRESETS
from processing.prompts_mvfer import BASIC_EXPRESSIONS, LANGUAGES


def _help(text: str, default, **options):
    """A setting; `options` are further ones of `add_argument`."""
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata={"help": text, **options})
    return field(default=default, metadata={"help": text, **options})


@dataclass
class RunSettings:
    """What is learnt, from which data, and where the result goes."""

    _argument_group_name = "run"

    dataset: list[str] = _help(
        "Folders written by dataset_scripts.build_*; several are trained on together.", [], metavar="DIR"
    )
    output_dir: str = _help("The run's folder; it becomes the model folder.", "runs/mvfer", metavar="DIR")
    model: str = _help("'small' trains from scratch; anything else is a CLIP folder or Hub repository.", "small")
    stage: Literal["pretrain", "finetune"] = _help(
        "pretrain: learn from captions, no label enters. finetune: learn the expressions from labels.", "pretrain"
    )
    also_test: list[str] = _help(
        "Further data set folders on which the finished model is tested (transfer).", [], metavar="DIR"
    )


@dataclass
class OptimisationSettings:
    """How long, how fast and on how much at once. Lengths are in optimizer steps, fractions in 0..1."""

    _argument_group_name = "optimisation"

    steps: int = _help("Optimizer steps.", 1500)
    batch_size: int = _help("Scans per process and step; contrast runs over all processes' scans.", 128)
    scans_per_subject: int = _help(
        "Scans of one person that come together in a batch, so that identity does not separate them; 1: shuffled freely.",
        7,
    )
    gradient_accumulation: int = _help("Batches per optimizer step (adds no contrast partners).", 1)
    tower_batch: int = _help(
        "Views and texts that a tower computes at once, to fit a large --batch_size into memory: the same gradients, for the "
        "time of a second forward; 0: all. For CLIP towers, not from scratch.",
        0,
    )
    learning_rate: float | None = _help(
        "Peak learning rate of AdamW; from scratch, Muon's is 30 times that. Default 1e-3; to fine-tune a trained model 3e-4 "
        "with --method lora and 1e-5 with full (a small model bears 1e-4).",
        None,
    )
    weight_decay: float = _help("Decay of matrices; biases, norms and the logit scale have none.", 0.05)
    warmup: float = _help("Fraction of the steps in which the rate rises; a cosine follows.", 0.1)
    clip_norm: float = _help("Largest norm of the gradient.", 1.0)
    ema_decay: float = _help(
        "Decay of the weights' moving average, which is what is evaluated and kept; 0: none.", 0.995
    )
    mixed_precision: Literal["auto", "no", "bf16", "fp16"] = _help(
        "Arithmetic of the towers; the objectives stay in float32. auto: bf16 where the device computes in it "
        "(a CPU with AVX512-BF16 or AMX takes half the time of float32), else no.",
        "auto",
    )
    seed: int = _help("Seeds weights, order and augmentation.", 0)


@dataclass
class SequenceSettings:
    """How sequences of frames are read; single scans need none of these."""

    _argument_group_name = "sequences"

    frames: Literal["sequence", "rank_pooled"] = _help(
        "What is made of a sequence: its frames, or one image per view that holds their motion (a dynamic image).",
        "sequence",
    )
    num_frames: int = _help("Longer sequences are sampled to this many frames, uniformly in time.", 8)


@dataclass
class SupervisionSettings:
    """Which recipe to start from, and where the texts come from that views are aligned with."""

    _argument_group_name = "supervision"

    preset: str = _help(
        "Start from the recipe of a related paper (mvfer/training/presets.py); other flags win over it.",
        "none",
        choices=["none", *PRESETS],
    )
    supervision: Literal["captions", "pseudo"] = _help(
        "Where texts come from: the data's captions, or prompts that a teacher assigns to scans (needs --model).",
        "captions",
    )
    captions: Literal["stored", "fresh"] = _help(
        "stored: captions as the data has them. fresh: said anew in every epoch from the rows' action units, in all wordings but "
        "those held out, with degrees; rows whose captions tell anything else keep them.",
        "stored",
    )
    languages: list[str] = _help("fresh: languages of the captions, en and ja.", ["en"], choices=LANGUAGES)
    prompt_bank: list[str] = _help(
        "pseudo: expressions whose prompts of facial actions are assigned; give those that the scans may show.",
        [*BASIC_EXPRESSIONS],
    )
    confidence: float = _help("pseudo: scans whose largest share is smaller teach nothing.", 0.8)


@dataclass
class ModelSettings:
    """What joins views and frames, and what of the model is trained."""

    _argument_group_name = "model"

    fusion: Literal["attention", "mean", "max", "text"] = _help(
        "How views become one embedding; text: attention that also looks at the prompts of facial actions.", "attention"
    )
    frame_fusion: Literal["attention", "mean"] | None = _help(
        "How frames become one embedding; default: the mean where views have no parameters (mean, max), else attention.",
        None,
    )
    temporal_layers: int = _help("Transformer layers between the frames before they are fused.", 0)
    baseline: float = _help(
        "Chance that a person's scans are seen relative to some of their own, so that the model takes a person's baseline; 0: it "
        "takes none.",
        0.5,
    )
    frozen_towers: bool = _help(
        "Train only what joins views and frames: for a model that already knows scans, and sequences to learn from, at a third "
        "of the time.",
        False,
    )


@dataclass
class AugmentationSettings:
    """How views and captions are varied in training. Chances and fractions are in 0..1."""

    _argument_group_name = "augmentation"

    view_dropout: float = _help(
        "Chance that a view is left out in training (never all). What is left out costs nothing, so 0.6 pays in a short run; at "
        "equal steps it costs accuracy, of single views too.",
        0.0,
    )
    occlusion: float = _help("Chance that half of a view, or a rectangle of it, is blanked.", 0.3)
    poor_sensor: float = _help(
        "Chance that a scan's views are coarser or noisier, as from a poor sensor, for models that meet such scans.",
        0.0,
    )
    ramp: float = _help("Fraction of the run in which occlusion rises from zero.", 0.5)
    drop_phrases: float = _help("Chance that an action is left out of a caption.", 0.1)


@dataclass
class FineTuningSettings:
    """What --stage finetune trains, and on how many labels; without effect in --stage pretrain."""

    _argument_group_name = "fine-tuning"

    target: Literal["expressions", "units"] = _help(
        "What is learnt from labels: the expression of a scan, one of several; or its action units, several at once.",
        "expressions",
    )
    method: Literal["probe", "full", "lora"] = _help(
        "What is trained: the head alone, everything, or the head and low-rank adapters (needs peft; merged at the end).",
        "full",
    )
    head: Literal["prompts", "random"] = _help(
        "How the head starts. prompts: as the zero-shot classifier, or the reader of actions; from scratch it is always random.",
        "prompts",
    )
    labels_per_class: int = _help("Labelled training subjects per class, drawn by seed; 0: all.", 0)
    class_weights: Literal["none", "balanced"] = _help(
        "Balanced gives rare classes the same say as frequent ones.", "none"
    )
    lora_rank: int = _help("Rank of the adapters of --method lora.", 8)
    wise_ft: bool = _help(
        "Export the mixture of start and result (WiSE-FT) that is best on the validation subjects.", False
    )


@dataclass
class PrivacySettings:
    """Differential privacy of the training people, with --stage finetune; needs opacus. docs/privacy.md says what it promises."""

    _argument_group_name = "privacy"

    dp_epsilon: float | None = _help(
        "What may be told of any one person's taking part, at most; 8 is weak, 1 strong, inf adds no noise and promises nothing. "
        "--clip_norm bounds each person's gradient. Default: learn without a promise.",
        None,
    )
    dp_delta: float = _help("Chance that more is told; far below one over the number of people.", 1e-5)


@dataclass
class MonitoringSettings:
    """How often the model is scored, saved and logged, and when a run stops early or goes on."""

    _argument_group_name = "evaluation, checkpoints and log"

    eval_every: int = _help("Steps between evaluations on the validation subjects.", 250)
    patience: int = _help("Evaluations without improvement before the run stops early; 0: never.", 0)
    checkpoint_every: int = _help("Steps between checkpoints.", 250)
    keep_checkpoints: int = _help("How many checkpoints stay on disk.", 2)
    log_every: int = _help("Steps between lines of metrics.jsonl.", 25)
    num_workers: int = _help("Loader processes per training process; one keeps up.", 1)
    report_to: Literal["none", "trackio", "tensorboard", "wandb"] = _help(
        "Where the log goes besides metrics.jsonl; the tracker is installed apart.", "none"
    )
    co2_per_hour_g: float | None = _help(
        "Grams of CO2 that an hour of training costs, for the model card: kilowatts times your grid's grams per kWh.",
        None,
    )
    quiet: bool = _help("No progress bar.", False)
    resume: str = _help("'last', or a folder below checkpoints/: go on from there, bit for bit.", "")
    resume_on_other_data: bool = _help(
        "Go on although the data sets are others than those that the checkpoint was made with; it is recorded.", False
    )
    overwrite: bool = _help("Start anew in a folder that holds a run: its checkpoints and log are deleted.", False)


@dataclass
class TrainConfig(
    RunSettings,
    OptimisationSettings,
    SequenceSettings,
    SupervisionSettings,
    ModelSettings,
    ObjectiveConfig,
    AugmentationSettings,
    FineTuningSettings,
    PrivacySettings,
    MonitoringSettings,
):
    """Settings of one training run, flat, as a user types them."""

    def __post_init__(self):
        super().__post_init__()
        if self.learning_rate is None:
            warm = self.stage == "finetune" and self.model != "small"
            self.learning_rate = {"lora": 3e-4, "full": 1e-5}.get(self.method, 1e-3) if warm else 1e-3
        if self.supervision == "pseudo":
            self._check_pseudo()
        for name in (
            "baseline",
            "view_dropout",
            "occlusion",
            "poor_sensor",
            "drop_phrases",
            "ramp",
            "warmup",
            "ema_decay",
        ):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be in [0, 1), got {getattr(self, name)}")
        counts = ("steps", "batch_size", "scans_per_subject", "num_frames", "gradient_accumulation", "lora_rank")
        for name in (*counts, "eval_every", "checkpoint_every", "log_every", "keep_checkpoints"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not self.languages or set(self.languages) - set(LANGUAGES):
            raise ValueError(f"languages must be some of {', '.join(LANGUAGES)}, got {self.languages}")
        for name in ("tower_batch", "labels_per_class"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be zero (all) or more, got {getattr(self, name)}")
        if self.target == "units" and (self.wise_ft or self.labels_per_class or self.stage != "finetune"):
            raise ValueError(
                "--target units is for --stage finetune; --wise_ft and --labels_per_class are about expressions: leave them out"
            )
        if self.wise_ft and self.head != "prompts":
            raise ValueError("wise_ft mixes with the zero-shot classifier; pass --head prompts")
        if self.frozen_towers and (self.model == "small" or self.stage == "finetune"):
            raise ValueError(
                "--frozen_towers keeps what a model has learnt: pass --model with a trained model's folder (--model runs/first), "
                "and to learn from labels --method probe instead"
            )
        if self.stage == "finetune" and self.model == "small" and (self.method != "full" or self.wise_ft):
            raise ValueError(
                "a model from scratch has nothing to keep: pass --model with a trained model's folder, or --method full "
                "without --wise_ft to train from scratch"
            )
        if self.dp_epsilon is not None:
            self._check_privacy()
        if self.co2_per_hour_g is not None and not 0 <= self.co2_per_hour_g < math.inf:
            raise ValueError(f"co2_per_hour_g must be zero or more grams, got {self.co2_per_hour_g}")
        if self.overwrite and self.resume:
            raise ValueError("--resume goes on with a run, --overwrite deletes it; leave one out")
        if self.learning_rate <= 0 or self.clip_norm <= 0:
            raise ValueError(f"expected learning_rate, clip_norm > 0, got {self.learning_rate}, {self.clip_norm}")

    @property
    def objective(self) -> ObjectiveConfig:
        """The objective's settings among these."""
        return ObjectiveConfig(**{f.name: getattr(self, f.name) for f in dataclasses.fields(ObjectiveConfig)})

    @property
    def learns_from_captions(self) -> bool:
        """Whether any term aligns views with the data's captions."""
        reads = self.stage == "pretrain" and self.supervision == "captions"
        terms = ("contrastive", "view_contrastive", "phrase", "side", "cross_modal")
        return reads and any(getattr(self, f"{term}_weight") > 0 for term in terms)

    def _check_pseudo(self):
        if self.stage == "finetune":
            raise ValueError(
                "--stage finetune learns from labels; leave out --supervision pseudo, and presets that set it"
            )
        if self.model == "small":
            raise ValueError(
                "--supervision pseudo needs a model that knows texts: from scratch it cannot say which prompt fits a face. "
                "Pass --model with an earlier run (--model runs/first) or a pretrained CLIP (openai/clip-vit-base-patch32)"
            )
        if not self.prompt_bank:
            raise ValueError("prompt_bank is empty; name the expressions that the scans may show")
        if self.contrastive_form == "sigmoid":
            raise ValueError("--supervision pseudo gives soft assignments, which need --contrastive_form infonce")
        if not 0 <= self.confidence <= 1:
            raise ValueError(f"confidence must be in [0, 1], got {self.confidence}")

    def _check_privacy(self):
        if self.stage != "finetune":
            raise ValueError("--dp_epsilon is for --stage finetune; learning from captions mixes all people of a batch")
        if not self.dp_epsilon > 0 or not 0 < self.dp_delta < 1:
            raise ValueError(
                f"dp_epsilon must be positive and dp_delta in (0, 1), got {self.dp_epsilon}, {self.dp_delta}"
            )
        for name, harmless, why in NOT_PRIVATE:
            if getattr(self, name) != harmless:
                raise ValueError(f"--dp_epsilon goes with --{name} {harmless} alone: {why}")

    def save(self, path: Path) -> None:
        names = [f.name for group in GROUPS for f in dataclasses.fields(group) if f.name not in OF_ONE_START]
        recipe = {name: getattr(self, name) for name in names}
        path.write_text(json.dumps(recipe, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


NOT_PRIVATE = (  # beside a promise of privacy: settings, what they must be, and why
    (
        "target",
        "expressions",
        "which units are learnt, and where each counts as seen, is read off the scans without noise",
    ),
    ("class_weights", "none", "the number of scans of a class has no noise"),
    ("labels_per_class", 0, "who is drawn depends on who else took part"),
    ("gradient_accumulation", 1, "a step is one draw of people; raise --batch_size instead"),
    ("resume_on_other_data", False, "the promise is made to the people that the run began with"),
)
OF_ONE_START = ("resume", "resume_on_other_data", "overwrite")  # no part of the recipe
GROUPS = TrainConfig.__bases__  # of flags, in the order of --help
