"""How strongly expressions move which action units: the same for all families of heads.

In: a random generator and an expression. Out: action units with intensities; `unit_tables` says which shapes they are.

Source: FACS investigator's guide (EMFACS prototypes), Du, Tao & Martinez, PNAS 2014; the intensities are ours.
"""

from collections.abc import Mapping

import numpy as np

from dataset_scripts.synthetic.unit_tables import ARKIT, UnitTable, number
from processing.facs_phrases_mvfer import SIDED_ACTIONS
from processing.prompts_mvfer import ACTION_BANK, action_order

# Intensities of the variants of `ACTION_BANK`, in its order.
RECIPES: dict[str, tuple[dict[str, float], ...]] = {
    "neutral": ({}, {"45": 1.0}, {"25": 0.4}, {"24": 0.3}, {"64": 0.4}),
    "anger": (
        {"4": 0.9, "5": 0.5, "7": 0.7, "23": 0.7},
        {"4": 0.9, "7": 0.6, "17": 0.4, "24": 0.7},
        {"4": 0.9, "5": 0.5, "7": 0.6, "10": 0.5, "25": 0.6, "26": 0.4},
        {"4": 0.8, "7": 0.5, "22": 0.4, "23": 0.5, "25": 0.4},
    ),
    "disgust": (
        {"9": 0.9, "10": 0.4, "17": 0.4},
        {"10": 0.9, "17": 0.4, "4": 0.4},
        {"9": 0.9, "16": 0.4, "25": 0.5, "26": 0.4},
        {"9": 0.8, "4": 0.4, "7": 0.4, "15": 0.4},
    ),
    "fear": (
        {"1": 0.8, "2": 0.5, "4": 0.5, "5": 0.8, "20": 0.7, "25": 0.4},
        {"1": 0.8, "2": 0.6, "4": 0.5, "5": 0.8, "26": 0.6},
        {"1": 0.8, "4": 0.5, "20": 0.6, "25": 0.4},
        {"5": 0.8, "20": 0.7},
    ),
    "happiness": (
        {"6": 0.6, "12": 0.8, "25": 0.4},
        {"12": 0.6},
        {"6": 0.9, "12": 1.0, "25": 0.6, "26": 0.5},
        {"6": 0.4, "7": 0.4, "12": 0.5},
    ),
    "sadness": (
        {"1": 0.8, "4": 0.5, "15": 0.6},
        {"1": 0.8, "4": 0.4, "17": 0.5},
        {"1": 0.6, "4": 0.4, "15": 0.7, "17": 0.6},
        {"6": 0.4, "15": 0.6, "64": 0.4},
    ),
    "surprise": (
        {"1": 0.9, "2": 0.9, "5": 0.6, "26": 0.9},
        {"1": 0.9, "2": 0.9, "5": 0.8, "27": 0.9},
        {"1": 0.8, "2": 0.8, "25": 0.4},
        {"5": 0.6, "26": 0.8},
    ),
    "contempt": tuple(
        {unit + side: intensity for unit, intensity in recipe.items()}
        for recipe in ({"12": 0.4, "14": 0.8}, {"14": 0.9}, {"10": 0.4, "14": 0.5})
        for side in "LR"
    ),
}

SHAPES = ARKIT.shapes
SYNTHESIZED = ARKIT.units

# Micro-expressions by the categories of 4DME; which units belong to which is ours, the sizes and times are those that the
# literature gives: 0.04 to 0.5 s long, onset within 0.26 s, a fraction of a full expression.
MICRO: dict[str, tuple[tuple[str, ...], ...]] = {
    "neutral": ((),),
    "positive": (("12",), ("6", "12")),
    "negative": (("4",), ("4", "7"), ("9",), ("10",), ("15",), ("1", "4")),
    "surprise": (("1", "2"), ("5",), ("1", "2", "25")),
    "repression": (("14",), ("17",), ("24",), ("12", "24"), ("12", "15")),
    "others": (("45",), ("18",), ("28",)),
}
MICRO_PEAK = (0.10, 0.35)
MICRO_DURATION_S = (0.04, 0.5)
MICRO_LONGEST_ONSET_S, MICRO_LONGEST_HOLD_S = 0.26, 0.08

# Actions that exclude each other in random combinations: opposite, or one hides the other.
_EXCLUSIVE = [
    {"25", "26", "27", "24", "28", "23", "33"},
    {"18", "20", "22", "24", "28", "23", "12", "14"},
    {"12", "15", "18", "22", "28"},
    {"5", "7", "45", "64"},
    {"16", "17", "24", "28", "33"},
    {"17", "27", "28"},
    {"10", "24", "28", "33", "18"},
    {"30L", "30R", "27"},
]
ONE_SIDED_CHANCE = 0.2
_ONE_SIDED = [unit for unit in ("2", "9", "10", "12", "14", "15", "20", "45") if unit in SIDED_ACTIONS]


def _excludes(unit: str, others) -> bool:
    names = {number(other) for other in others} | set(others)
    if number(unit) in {number(other) for other in others}:
        return True
    return any({unit, number(unit)} & group and names & group for group in _EXCLUSIVE)


def sample_expression(
    rng: np.random.Generator,
    expression: str,
    *,
    variant: int | None = None,
    strengths: tuple[float, float] = (0.5, 1.0),
    table: UnitTable = ARKIT,
) -> tuple[dict[str, float], float]:
    """Draw how a person shows an expression: a variant, its strength, units varied by 20 %, up to two others too faint to name.

    Of a head whose `table` lacks units, only variants are drawn that it can show (`shown_by`).

    Returns:
        (action units with intensities in [0, 1], the strength, uniform in `strengths`).
    """
    recipes = [recipe for recipe in RECIPES[expression] if table.can_show(recipe)]
    recipe = recipes[int(rng.integers(len(recipes))) if variant is None else variant % len(recipes)]
    strength = float(rng.uniform(*strengths))
    units = {unit: float(np.clip(value * strength * rng.uniform(0.8, 1.2), 0, 1)) for unit, value in recipe.items()}
    if "45" in units:
        units["45"] = max(units["45"], 0.85)  # half-closed eyes would be a different action
    return _in_order(units | _faint(rng, units, table)), strength


def sample_rest(rng: np.random.Generator, table: UnitTable = ARKIT) -> dict[str, float]:
    """Draw a face at rest: up to two action units too faint to name."""
    return _in_order(_faint(rng, {}, table))


def _faint(rng: np.random.Generator, units: Mapping[str, float], table: UnitTable) -> dict[str, float]:
    """Up to two units that go with the others and are too faint to name."""
    faint: dict[str, float] = {}
    candidates = [unit for unit in table.units if unit not in ("27", "28", "33", "45") and not _excludes(unit, units)]
    for unit in rng.permutation(candidates)[: rng.choice(3, p=(0.5, 0.35, 0.15))]:
        if not _excludes(unit, [*units, *faint]):
            faint[str(unit)] = float(rng.uniform(0.03, 0.12))
    return faint


def shown_by(table: UnitTable) -> list[str]:
    """The expressions of which a head can show some variant."""
    return [name for name, recipes in RECIPES.items() if any(map(table.can_show, recipes))]


def sample_combination(
    rng: np.random.Generator, table: UnitTable = ARKIT, *, one_sided: float = ONE_SIDED_CHANCE
) -> dict[str, float]:
    """Draw 1 to 4 compatible action units at intensities 0.4 to 1; with chance `one_sided` each that can be is of one side."""
    units: dict[str, float] = {}
    count = int(rng.integers(1, 5))
    for unit in map(str, rng.permutation(table.units)):
        if len(units) == count:
            break
        if unit in _ONE_SIDED and rng.random() < one_sided:
            unit += str(rng.choice(["L", "R"]))
        if table.can_show([unit]) and not _excludes(unit, units):
            units[unit] = float(rng.uniform(0.4, 1.0)) if number(unit) != "45" else float(rng.uniform(0.85, 1.0))
    return _in_order(units)


def sample_micro(rng: np.random.Generator, category: str, table: UnitTable = ARKIT) -> tuple[dict[str, float], float]:
    """Draw a micro-expression of a category: (units with intensities at the apex, the strength)."""
    variants = [units for units in MICRO[category] if table.can_show(units)]
    units = variants[int(rng.integers(len(variants)))]
    strength = float(rng.uniform(*MICRO_PEAK))
    return _in_order({unit: strength * float(rng.uniform(0.8, 1.2)) for unit in units}), strength if units else 0.0


def micro_curve(rng: np.random.Generator, num_frames: int, fps: float) -> np.ndarray:
    """Rest, a short rise and fall somewhere in the window, rest: `(num_frames,)` in [0, 1], 1 at the frame of the apex."""
    duration = min(float(rng.uniform(*MICRO_DURATION_S)), 0.8 * num_frames / fps)
    hold = min(float(rng.uniform(0, MICRO_LONGEST_HOLD_S)), duration / 3)
    onset = min(float(rng.uniform(0.3, 0.6)) * duration, MICRO_LONGEST_ONSET_S)
    start = float(rng.uniform(0, max(num_frames / fps - duration, 0)))
    time = np.arange(num_frames) / fps - start
    apex = np.argmin(np.abs(time - onset - hold / 2))
    rise = np.clip(time / onset, 0, 1)
    fall = np.clip((time - onset - hold) / max(duration - onset - hold, 1 / fps), 0, 1)
    curve = rise * rise * (3 - 2 * rise) * (1 - fall * fall * (3 - 2 * fall))
    curve[apex] = max(curve[apex], curve.max(), 1e-6)
    return curve / curve.max()


def _in_order(units: Mapping[str, float]) -> dict[str, float]:
    return dict(sorted(units.items(), key=lambda item: action_order(item[0])))


def shape_weights(
    action_units: Mapping[str, float], *, asymmetry: Mapping[str, float] | None = None
) -> dict[str, float]:
    """Weights of the ARKit-named shapes that make these action units; see `UnitTable.weights`."""
    return ARKIT.weights(action_units, asymmetry=asymmetry)


for _name, _variants in RECIPES.items():  # the bank and the recipes must speak of the same actions
    if [set(variant) for variant in _variants] != [set(units) for units in ACTION_BANK[_name]]:
        raise ValueError(
            f"the recipes of {_name} differ from the prompt bank: {_variants} against {ACTION_BANK[_name]}"
        )
