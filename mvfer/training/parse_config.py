"""The command line of `train.py`. In: flags, and a JSON file given by `--config`. Out: a `TrainConfig`.

Order of precedence: defaults, then `--config`, then `--preset`, then flags. Unknown keys fail.
"""

import argparse
import copy
import dataclasses
import difflib
import json
from pathlib import Path

from transformers import HfArgumentParser

from mvfer.training.config import GROUPS, TrainConfig
from mvfer.training.presets import PRESETS, PSEUDO

_FLY = "on-the-fly rendering was removed in 0.2: take the key out, and training reads the stored views"
# Settings that a recipe of an earlier version may still have: name -> the values that change nothing, what to say of others.
REMOVED: dict[str, tuple[list, str]] = {
    "render_on_the_fly": ([False], _FLY),
    "view_range_deg": ([[60.0, 15.0]], _FLY),
    "cross_view_form": (["barlow"], "this form was removed in 0.2: take the key out to train without it"),
}
EXAMPLES = """examples:
  accelerate launch train.py --dataset data/anny --output_dir runs/first
      learns from captions
  accelerate launch train.py --stage finetune --model runs/first --dataset data/anny --output_dir runs/tuned
      then learns the expressions from labels
  accelerate launch train.py --config runs/first/train_config.json --resume last
      goes on where a run was stopped"""


class _Parser(HfArgumentParser):
    def add_argument_group(self, title, *args, **options):
        sentences = {group._argument_group_name: group.__doc__.splitlines()[0] for group in GROUPS}
        return super().add_argument_group(title, sentences.get(title), *args, **options)


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    def _get_help_string(self, action):
        return action.help if action.default in (None, "", []) else super()._get_help_string(action)

    def _format_action_invocation(self, action):
        shown = copy.copy(action)  # --output-dir works, but goes without saying
        shown.option_strings = [name for name in action.option_strings if "-" not in name.lstrip("-")]
        return super()._format_action_invocation(shown)


def parse_config(argv: list[str] | None = None) -> TrainConfig:
    """Read flags and an optional `--config FILE.json`.

    Raises:
        ValueError: if the file is no JSON object, has an unknown key (the nearest known one is named), or no data set is given.
    """
    parser = _Parser(
        GROUPS,
        prog="train.py",
        usage="accelerate launch train.py --dataset DIR [DIR ...] --output_dir DIR [further settings]",
        description="Train MVFER on rendered views and captions, without labels, or fine-tune it on labels.",
        epilog=EXAMPLES,
        formatter_class=_HelpFormatter,
    )
    parser.add_argument("--config", metavar="FILE", help="A train_config.json of an earlier run; flags win over it.")
    known, _ = parser.parse_known_args(argv)
    recipe = _read_recipe(Path(known.config)) if known.config else {}
    recipe = PRESETS.get(str(recipe.get("preset")), {}) | recipe | PRESETS.get(known.preset, {})
    parser.set_defaults(**recipe)
    if parser.parse_known_args(argv)[0].supervision == "pseudo":
        parser.set_defaults(**(PSEUDO | recipe))
    namespace = parser.parse_args(argv)
    del namespace.config
    config = TrainConfig(**vars(namespace))
    if not config.dataset:
        raise ValueError(
            "no data set given; build one (python -m dataset_scripts.build_anny --out data/anny) and pass --dataset data/anny"
        )
    return config


def _read_recipe(path: Path) -> dict:
    try:
        recipe = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{path}: not a readable JSON file ({error}); pass a train_config.json of an earlier run"
        ) from error
    if not isinstance(recipe, dict):
        raise ValueError(f"{path}: expected a JSON object of settings, got {type(recipe).__name__}")
    for key in recipe.keys() & REMOVED.keys():
        harmless, remedy = REMOVED[key]
        if (value := recipe.pop(key)) not in harmless:
            raise ValueError(f"{path}: {key} is {value!r}; {remedy}")
    names = [f.name for f in dataclasses.fields(TrainConfig)]
    for key in recipe.keys() - set(names):
        near = difflib.get_close_matches(key, names, n=1)
        hint = f"did you mean {near[0]!r}?" if near else "see train.py --help for the known ones"
        raise ValueError(f"{path}: unknown key {key!r}; {hint}")
    for f in dataclasses.fields(TrainConfig):
        value, expected = recipe.get(f.name), float if f.name == "learning_rate" else f.type
        if (
            f.name in recipe
            and not (value is None and f.default is None)
            and expected in (int, float, str)
            and not isinstance(value, (int, float) if expected is float else expected)
        ):
            raise ValueError(f"{path}: {f.name} should be {expected.__name__}, got {value!r}")
    return recipe
