"""What privacy costs: `python -m benchmarks.private_learning --dataset data/ict --out report/private`.

In: a data set of people whom the model has not seen, and a model; its head is fine-tuned. Every scan is embedded once, without
augmentation, so that many heads can be trained in minutes. Out: `private_learning.json` and `.md`: accuracy on the test people,
means and standard deviations over seeds, of plain fine-tuning, of differentially private steps at several epsilons (per person)
and of sites that learn together, each alone, and pooled. Steps, noise and averaging are those of `train.py` and
`mvfer federate`. Learning rate and step are chosen on the validation people, which no epsilon covers.
"""

import argparse
import copy
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import Dataset

import mvfer
from benchmarks.arms import write_report
from modeling_mvfer import MVFERForFaceClassification
from modeling_mvfer.classifier_mvfer import Classifier
from mvfer.data.schema import load_splits
from mvfer.evaluation.embeddings import embed_split
from mvfer.hub.load import load_run
from mvfer.progress import progress_bar
from mvfer.training.config import TrainConfig
from mvfer.training.federated import put_weights, take_weights
from mvfer.training.privacy import PrivateSteps

RATES = (1e-3, 1e-2, 1e-1)
SCORED = 10  # times, per run
LABELS = "expression"


@dataclass(frozen=True)
class People:
    """Embedded scans: `embeds` `(n, D)`, `labels` `(n,)`, `subjects` (n strings)."""

    embeds: Tensor
    labels: Tensor
    subjects: list[str]

    def select(self, rows: Sequence[int]) -> "People":
        """Those of these rows."""
        return People(self.embeds[rows], self.labels[rows], [self.subjects[row] for row in rows])

    def at_sites(self, count: int, seed: int) -> list["People"]:
        """Spread over sites: every person is at one."""
        names = np.random.default_rng(seed).permutation(sorted(set(self.subjects)))
        site_of = {name: place % count for place, name in enumerate(names)}
        return [
            self.select([row for row, name in enumerate(self.subjects) if site_of[name] == site])
            for site in range(count)
        ]


class Rows(Dataset):
    """Rows by number, for the loader of private steps."""

    def __init__(self, people: People):
        self.people = people

    def __getitem__(self, place: tuple[int, int]) -> tuple[Tensor, Tensor]:
        return self.people.embeds[place[1]], self.people.labels[place[1]]


def stack(samples: list[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    """Samples of `Rows` to a batch."""
    embeds, labels = zip(*samples, strict=True)
    return {"embeds": torch.stack(embeds), "labels": torch.stack(labels)}


def accuracy(head: nn.Module, people: People) -> float:
    """Share of scans whose class is found."""
    with torch.no_grad():
        return float((head(people.embeds).argmax(-1) == people.labels).float().mean())


def adam(head: nn.Module, rate: float) -> torch.optim.Optimizer:
    return torch.optim.AdamW(head.parameters(), lr=rate, betas=(0.9, 0.98), weight_decay=0.05)


def cosine(rate: float, step: int, steps: int) -> float:
    return rate * 0.5 * (1 + math.cos(math.pi * step / steps))


def plain_steps(head: nn.Module, people: People, *, steps: int, rate: float, batch: int, seed: int) -> Iterator[int]:
    """Fine-tune a head; yields after every step."""
    rng, optimizer = np.random.default_rng(seed), adam(head, rate)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = cosine(rate, step, steps)
        rows = rng.permutation(len(people.labels))[:batch]
        loss = cross_entropy(head(people.embeds[rows]), people.labels[rows])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(head.parameters(), 1.0)
        optimizer.step()
        yield step + 1


def private_steps(
    head: nn.Module, people: People, *, steps: int, rate: float, batch: int, epsilon: float, delta: float
) -> Iterator[int]:
    """The same with a promise; yields after every step."""
    config = TrainConfig(
        stage="finetune",
        model="given",
        method="probe",
        steps=steps,
        batch_size=batch,
        dp_epsilon=epsilon,
        dp_delta=delta,
    )
    private, optimizer = PrivateSteps(config, people.subjects, batch_size=batch), adam(head, rate)
    private.use(optimizer, torch.device("cpu"))
    batches = private.batches(Rows(people), stack, num_workers=0, start=0)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = cosine(rate, step, steps)
        private.step(next(batches), lambda embeds, labels: cross_entropy(head(embeds), labels), Tensor.backward)
        yield step + 1


def federated_steps(
    head: nn.Module, sites: Sequence[People], *, steps: int, rate: float, batch: int, seed: int, local_steps: int
) -> Iterator[int]:
    """Rounds of federated averaging; yields the number of steps that each site has taken."""
    from flwr.server.strategy.aggregate import aggregate

    for number in range(steps // local_steps):
        updates = []
        for site in sites:
            own = copy.deepcopy(head)
            for _ in plain_steps(own, site, steps=local_steps, rate=rate, batch=batch, seed=1000 * seed + number):
                pass
            updates.append((take_weights(own), len(site.labels)))
        put_weights(head, aggregate(updates))
        yield (number + 1) * local_steps


def best(
    start: nn.Module, learn: Callable[..., Iterator[int]], validation: People, test: People, *, steps: int
) -> dict:
    """Train at every learning rate; accuracy on the test people with the rate and the step that validation people like best."""
    found = {"validation": accuracy(start, validation), "test": accuracy(start, test), "rate": None, "step": 0}
    for rate in RATES:
        head = copy.deepcopy(start)
        for step in learn(head, rate=rate):
            if step % max(1, steps // SCORED) and step != steps:
                continue
            if (score := accuracy(head, validation)) > found["validation"] or found["rate"] is None:
                found = {"validation": score, "test": accuracy(head, test), "rate": rate, "step": step}
    return found


def embedded(model, processor, folder: str, labels: list[str] | None = None) -> tuple[dict[str, People], list[str]]:
    """The splits of a data set, and the names of its classes."""
    splits = load_splits(folder)
    names = splits["train"].features[LABELS].names
    classes = [names[label] for label in sorted(set(splits["train"][LABELS])) if label >= 0]
    found = {}
    for name in ("train", "validation", "test"):
        features = embed_split(model, processor.image_processor, splits[name])
        rows = [row for row, label in enumerate(features.labels) if label >= 0 and names[label] in classes]
        numbers = torch.tensor([classes.index(names[features.labels[row]]) for row in rows])
        found[name] = People(
            torch.from_numpy(features.image_embeds[rows]), numbers, [features.subjects[row] for row in rows]
        )
    return found, classes


def measure(model, processor, splits: dict[str, People], classes: list[str], args: argparse.Namespace) -> dict:
    """Every arm, every seed: `{arm: [scores]}`."""
    train, validation, test = (splits[name] for name in ("train", "validation", "test"))
    options = {"steps": args.steps, "batch": args.batch_size}
    arms: dict[str, list[dict]] = {}
    count = args.sites

    def add(arm: str, learn: Callable[..., Iterator[int]]) -> None:
        arms.setdefault(arm, []).append(best(start, learn, validation, test, steps=args.steps))
        bar.update()

    total = len(args.seeds) * (len(args.epsilons) + 2 + count)
    with progress_bar(what="private learning", unit="run", in_logs=True, total=total) as bar:
        for seed in args.seeds:
            torch.manual_seed(seed)
            if args.head == "prompts":
                embeds = Classifier.from_prompts(model, processor, classes).class_embeds
                start = MVFERForFaceClassification.from_zero_shot(model, embeds).head
            else:
                start = MVFERForFaceClassification.from_model(model, classes).head
            arms.setdefault("start", []).append(
                {"test": accuracy(start, test), "validation": accuracy(start, validation)}
            )
            add("plain", lambda head, rate, seed=seed: plain_steps(head, train, rate=rate, seed=seed, **options))
            for epsilon in args.epsilons:
                add(
                    f"epsilon {epsilon:g}",
                    lambda head, rate, e=epsilon: private_steps(
                        head, train, rate=rate, epsilon=e, delta=args.delta, **options
                    ),
                )
            sites = train.at_sites(count, seed)
            add(
                f"{count} sites together",
                lambda head, rate, sites=sites, seed=seed: federated_steps(
                    head, sites, rate=rate, seed=seed, local_steps=args.local_steps, **options
                ),
            )
            for site in sites:
                add(
                    "a site alone",
                    lambda head, rate, site=site, seed=seed: plain_steps(head, site, rate=rate, seed=seed, **options),
                )
    return arms


def table(arms: dict[str, list[dict]]) -> str:
    """Means and standard deviations over runs, as Markdown."""
    lines = ["| | test accuracy | standard deviation | runs |", "|---|---|---|---|"]
    for arm, runs in arms.items():
        scores = [run["test"] for run in runs]
        spread = np.std(scores, ddof=1) if len(scores) > 1 else float("nan")
        lines.append(f"| {arm} | {np.mean(scores):.3f} | {spread:.3f} | {len(scores)} |")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Measure and write."""
    flags = argparse.ArgumentParser(prog="python -m benchmarks.private_learning", description=__doc__.splitlines()[0])
    flags.add_argument("--dataset", required=True, metavar="DIR", help="people whom the model has not seen")
    flags.add_argument("--model", default="", metavar="DIR", help="a run's folder; by default the bundled model")
    flags.add_argument("--head", choices=["prompts", "random"], default="prompts", help="how the head starts")
    flags.add_argument("--epsilons", type=float, nargs="+", default=[1.0, 3.0, 8.0, math.inf])
    flags.add_argument("--delta", type=float, default=1e-5)
    flags.add_argument("--sites", type=int, default=4)
    flags.add_argument("--local_steps", type=int, default=10, help="of a site, per round")
    flags.add_argument("--steps", type=int, default=100)
    flags.add_argument("--batch_size", type=int, default=256, help="scans per step")
    flags.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    flags.add_argument("--out", required=True, type=Path, metavar="DIR")
    args = flags.parse_args(argv)
    torch.set_num_threads(1)
    model, processor = load_run(args.model or mvfer.model("small"))
    splits, classes = embedded(model, processor, args.dataset)
    arms = measure(model, processor, splits, classes, args)
    args.out.mkdir(parents=True, exist_ok=True)
    settings = {name: str(value) if isinstance(value, Path) else value for name, value in vars(args).items()}
    settings["people"] = {name: len(set(part.subjects)) for name, part in splits.items()}
    settings["epsilons"] = [str(epsilon) for epsilon in args.epsilons]
    write_report("private_learning", args.out, {"settings": settings, "runs": arms}, table(arms))
    return 0


if __name__ == "__main__":
    sys.exit(main())
