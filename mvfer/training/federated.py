"""Federated fine-tuning: sites learn together, and their scans stay where they are.

In: a model that every site has, and at every site a data set. Out: one classifier. Each round, every site trains the head, or the
head and adapters, from the same start, and the weights that come back are averaged by how many scans they were trained on.
What leaves a site: those weights, the number of its training and of its validation scans, and its validation accuracy. No name of
a person, file or folder does, and no code arrives: a site runs its own copy of this package. Weights tell something of those whom
they learnt from; see docs/privacy.md.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from safetensors.torch import load_file

from mvfer.data.schema import dataset_info, load_splits, write_json
from mvfer.data.without_folders import without_folders
from mvfer.evaluation.evaluate import evaluate
from mvfer.evaluation.results import table
from mvfer.hub.load import load_run
from mvfer.hub.run_folder import save_run, set_calibration
from mvfer.reports.findings import findings
from mvfer.training.checkpoints import save_weights
from mvfer.training.checks import check_data, check_start
from mvfer.training.config import TrainConfig
from mvfer.training.finetuning import FineTuning, build_classifier, merged, prepare
from mvfer.training.learner import Learner, training_views
from processing import MVFERProcessor
from processing.names_mvfer import shown_lines

STATE_FILE, WEIGHTS, BEST = "federation.json", "federation.safetensors", "federation-best.safetensors"
METHODS = ("probe", "lora")


@dataclass(frozen=True)
class Plan:
    """What a federation agrees on; the server tells it to every site.

    Args:
        labels: of the classes. fingerprint: of the model's weights that nobody trains, which a site's own must have.
        method: "probe" (the head) or "lora" (the head and adapters). rounds: how often weights are averaged.
        local_steps, batch_size, learning_rate, lora_rank, seed: of a site's training in a round.
    """

    labels: tuple[str, ...]
    fingerprint: str
    method: str = "probe"
    rounds: int = 10
    local_steps: int = 20
    batch_size: int = 64
    learning_rate: float = 1e-3
    lora_rank: int = 8
    seed: int = 0

    def told(self) -> str:
        """As a text for the wire."""
        return json.dumps(asdict(self))

    @classmethod
    def heard(cls, text: str) -> "Plan":
        """What `told` wrote.

        Raises:
            ValueError: if it is no plan.
        """
        try:
            found = json.loads(text)
            plan = cls(**found | {"labels": tuple(map(str, found["labels"]))})
            counts = (plan.rounds, plan.local_steps, plan.batch_size, plan.lora_rank, plan.seed + 1)
            sound = plan.method in METHODS and 0 < float(plan.learning_rate) <= 10 and isinstance(plan.fingerprint, str)
            sound &= all(type(count) is int and 0 < count <= 10**6 for count in counts)
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"the server's plan cannot be read ({error}); it may be of another version") from error
        if not sound:
            raise ValueError("the server's plan has values out of bounds; it may be of another version")
        return plan

    def recipe(self, model: str, dataset: Sequence[str] = ()) -> TrainConfig:
        """The recipe of a round at a site."""
        views = MVFERProcessor.from_pretrained(model).image_processor
        return TrainConfig(
            stage="finetune",
            model=str(model),
            dataset=[str(folder) for folder in dataset],
            method=self.method,  # type: ignore[arg-type]  # one of METHODS
            steps=self.local_steps,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            lora_rank=self.lora_rank,
            seed=self.seed,
            warmup=0.0,
            ema_decay=0.0,
            frames=views.frames,
            num_frames=views.num_frames,
            mixed_precision="no",
            num_workers=0,
        )


class Site:
    """One site: its data set, and the model that all start from.

    Args:
        model, dataset: folders on this computer.
        plan: the federation's.
    Raises:
        ValueError: if the model is another than the server's, the data do not fit it, or show none or others of the labels.
    """

    def __init__(self, model: str, dataset: str, plan: Plan):
        config = plan.recipe(model, [dataset])
        splits, info = load_splits(dataset), dataset_info(dataset)
        check_data(config, [splits])
        check_start(config)
        set_seed(plan.seed)
        self.plan, self.config = plan, config
        self.task = FineTuning(config, [splits], [info], classes=plan.labels)
        if fingerprint(self.task.model) != plan.fingerprint:
            raise ValueError(f"{model}: has other weights than the server's model; give this site a copy of that one")
        self.views = training_views(self.task, config)
        self.accelerator = Accelerator(cpu=not torch.cuda.is_available(), mixed_precision="no")

    def train(self, weights: Sequence[np.ndarray], round_number: int) -> tuple[list[np.ndarray], int]:
        """A round's training from these weights: the site's own, and the number of its training scans.

        Raises:
            ValueError: if the weights are not those of this plan, or a loss is not finite.
        """
        put_weights(self.task.model, weights)
        learner = Learner(self.task, self.config, self.accelerator)
        batches = learner.batches(self.views, start=(round_number - 1) * self.plan.local_steps)
        for step in range(1, self.plan.local_steps + 1):
            outputs, norm, assigned = learner.step(batches)
            learner.metrics(outputs, norm, assigned, step=step)  # looks at the loss
        self.accelerator.free_memory()
        return take_weights(self.task.model), len(self.task.labels)

    def score(self, weights: Sequence[np.ndarray]) -> tuple[float, int]:
        """Accuracy on the site's validation people, and the number of their scans."""
        put_weights(self.task.model, weights)
        self.task.model.eval()
        return self.task.score(self.task.model), len(self.task.splits[0]["validation"])


@dataclass
class Federation:
    """The server's side: the weights that all share, and how they did; saved after every round.

    Args:
        model: the folder that training starts from. plan: what is agreed on. folder: the run's, which becomes the model folder.
        sites: how many take part.
    Attributes:
        weights, best: after the last and the best round. done: how many rounds there were.
        scans: training scans of the sites, in no order that is theirs.
        history: per round, the mean validation accuracy over all sites' scans, and how many sites and scans.
    """

    model: str
    plan: Plan
    folder: Path
    sites: int
    weights: list[np.ndarray] = field(init=False)
    best: list[np.ndarray] = field(init=False)
    done: int = 0
    best_round: int = 0
    history: list[dict] = field(default_factory=list)
    scans: list[int] = field(default_factory=list)

    def __post_init__(self):
        self.start = start_of(self.model, self.plan)
        self.shapes = [weights.shape for weights in take_weights(self.start)]
        self.weights = self.best = take_weights(self.start)

    def record(self, weights: Sequence[np.ndarray], scans: Sequence[int], scores: Sequence[tuple[float, int]]) -> None:
        """Take note of a round: its weights, and per site the training scans, the accuracy and on how many scans."""
        self.scans = list(scans)
        self.weights, self.done = list(weights), self.done + 1
        scored = sum(count for _, count in scores)
        accuracy = sum(score * count for score, count in scores) / scored
        if not self.best_round or accuracy > self.history[self.best_round - 1]["validation_accuracy"]:
            self.best, self.best_round = self.weights, self.done
        self.history.append({"validation_accuracy": accuracy, "validation_scans": scored, "sites": len(scores)})
        self.save()

    def save(self) -> None:
        """Write what `resume` reads: the state last, so that it never tells of weights that are not there."""
        if self.best_round == self.done:
            save_weights(_numbered(self.best), self.folder / "checkpoints" / BEST)
        save_weights(_numbered(self.weights), self.folder / "checkpoints" / f"{self.done:05d}-{WEIGHTS}")
        state = {"plan": asdict(self.plan), "done": self.done, "best_round": self.best_round}
        state |= {"history": self.history, "scans": self.scans}
        write_json(self.folder / "checkpoints" / STATE_FILE, state)
        for old in (self.folder / "checkpoints").glob(f"*-{WEIGHTS}"):
            if not old.name.startswith(f"{self.done:05d}"):
                old.unlink()

    def resume(self) -> None:
        """Go on where an earlier server of this folder stopped.

        Raises:
            ValueError: if there is nothing to go on with, or it was another plan.
        """
        checkpoints = self.folder / "checkpoints"
        if not (checkpoints / STATE_FILE).is_file():
            raise ValueError(f"{self.folder}: no round of a federation to go on from; start without --resume")
        state = json.loads((checkpoints / STATE_FILE).read_text(encoding="utf-8"))
        before = state["plan"] | {"rounds": self.plan.rounds}  # more rounds are fine
        if json.loads(json.dumps(before)) != json.loads(self.plan.told()):
            raise ValueError(f"{self.folder}: its rounds had other settings; pass those, or start in another folder")
        self.done, self.best_round = state["done"], state["best_round"]
        self.history, self.scans = state["history"], state["scans"]
        self.weights = _in_order(load_file(checkpoints / f"{self.done:05d}-{WEIGHTS}"))
        self.best = _in_order(load_file(checkpoints / BEST))

    def classifier(self):
        """The finished classifier, with the weights of the best round, in evaluation mode."""
        put_weights(self.start, self.best)
        return merged(self.start, self.plan.method)

    def export(self, tests: Sequence[str], *, command: str) -> None:
        """Test the classifier on data sets of this computer, if there are any, and write the model folder with results and card.

        Whom the sites' scans show is not known here, so the folder has no list of them, and no test can look for leaks.
        """
        classifier, (_, processor), results = self.classifier(), load_run(self.model), None
        if tests:
            first, *others = tests
            also = {f"{number} {Path(folder).name}": folder for number, folder in enumerate(others, 2)}
            options: dict[str, Any] = {"also": also, "seed": self.plan.seed, "statistic": False, "command": command}
            results = evaluate(classifier, processor, first, **options)
            set_calibration(classifier.config, results["calibration"])
            results["training"] = {
                "seed": self.plan.seed,
                "start": without_folders(self.model),
                "method": self.plan.method,
                "labels_per_class": "all",
                "labelled_scans": sum(self.scans),
                "federated": self.summary(),
            }
            print(shown_lines("\n".join([*findings(results), "", table(results)])))
        save_run(self.folder, classifier.requires_grad_(True), processor, results=results)

    def summary(self) -> dict:
        """What the results say of the training."""
        settings = {name: value for name, value in asdict(self.plan).items() if name not in ("labels", "fingerprint")}
        return settings | {"sites": self.sites, "best_round": self.best_round, "history": self.history}


def start_of(model: str, plan: Plan) -> torch.nn.Module:
    """The classifier before the first round, ready to be trained by the plan's method."""
    config = plan.recipe(model)
    check_start(config)
    _, processor = load_run(model)
    settings = processor.image_processor.render_settings
    infos = [{"render_settings": {"view_angles_deg": [list(angles) for angles in settings.view_angles_deg]}}]
    set_seed(plan.seed)
    return prepare(build_classifier(config, processor, infos, list(plan.labels), []), config)


def plan_for(model: str, labels: Sequence[str], **settings) -> Plan:
    """A plan with the fingerprint of this model."""
    draft = Plan(tuple(labels), "", **settings)
    return Plan(tuple(labels), fingerprint(start_of(model, draft)), **settings)


def labels_of(datasets: Sequence[str]) -> list[str]:
    """The expressions that training rows of any of these data sets show, in the order of the schema."""
    shown = {}
    for folder in datasets:
        rows = load_splits(folder)["train"]
        names = rows.features["expression"].names
        shown |= {label: names[label] for label in rows["expression"] if label >= 0}
    return [shown[label] for label in sorted(shown)]


def fingerprint(model: torch.nn.Module) -> str:
    """Of all parameters that are not trained: 32 hexadecimal digits."""
    digest = hashlib.sha256()
    for name, value in sorted(model.named_parameters()):
        if not value.requires_grad:
            digest.update(f"{name}:{tuple(value.shape)}".encode())
            digest.update(value.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:32]


def take_weights(model: torch.nn.Module) -> list[np.ndarray]:
    """What is trained of a model, and so exchanged: float32, by the order of the names."""
    return [value.detach().float().cpu().numpy().copy() for value in _trained(model)]


@torch.no_grad()
def put_weights(model: torch.nn.Module, weights: Sequence[np.ndarray]) -> None:
    """The inverse of `take_weights`.

    Raises:
        ValueError: if there are others than the model has, or they are not finite.
    """
    trained = _trained(model)
    check_weights(weights, [tuple(value.shape) for value in trained])
    for value, found in zip(trained, weights, strict=True):
        value.copy_(torch.from_numpy(np.array(found, dtype=np.float32)))


def check_weights(weights: Sequence[np.ndarray], shapes: Sequence[tuple[int, ...]]) -> None:
    """Raises:
    ValueError: if weights that came over the wire have other shapes, or are not finite.
    """
    found = [tuple(np.shape(one)) for one in weights]
    if found != [tuple(shape) for shape in shapes]:
        raise ValueError(
            f"expected weights of shapes {list(shapes)[:3]}..., got {found[:3]}...; is the model the same?"
        )
    if not all(np.isfinite(one).all() for one in weights):
        raise ValueError("weights that are not finite came in; lower --learning_rate, or leave that site out")


def _trained(model: torch.nn.Module) -> list[torch.nn.Parameter]:
    return [value for _, value in sorted(model.named_parameters()) if value.requires_grad]


def _numbered(weights: Sequence[np.ndarray]) -> dict[str, torch.Tensor]:
    return {f"{number:04d}": torch.from_numpy(np.array(one)) for number, one in enumerate(weights)}


def _in_order(tensors: Mapping[str, torch.Tensor]) -> list[np.ndarray]:
    return [tensors[name].numpy() for name in sorted(tensors)]
