"""From expressions to action units, shapes and captions."""

import numpy as np
import pytest

from dataset_scripts.common.captions import captions_for
from dataset_scripts.synthetic.recipes import (
    RECIPES,
    SHAPES,
    SYNTHESIZED,
    sample_combination,
    sample_expression,
    shape_weights,
)
from processing.prompts_mvfer import ACTION_BANK, EXPRESSIONS, describe_actions, named_emotion, swap_sides


def test_recipes_are_the_published_bank_with_intensities():
    assert tuple(RECIPES) == EXPRESSIONS
    for name, variants in RECIPES.items():
        assert [set(variant) for variant in variants] == [set(units) for units in ACTION_BANK[name]]


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_captions_mention_what_is_active_and_never_the_emotion(expression):
    rng = np.random.default_rng(0)
    for seed in range(30):
        units, strength = sample_expression(rng, expression)
        assert 0.5 <= strength <= 1 and all(0 <= value <= 1 for value in units.values())
        captions = captions_for(units, seed, languages=("en", "ja"))
        assert captions[0] == describe_actions([unit for unit, value in units.items() if value >= 0.15])
        assert not any(named_emotion(caption) for caption in captions)


def test_the_seven_basic_expressions_keep_their_recipe_as_the_strongest_part():
    rng = np.random.default_rng(1)
    for name, recipes in RECIPES.items():
        for variant, recipe in enumerate(recipes):
            units, _ = sample_expression(rng, name, variant=variant, strengths=(1.0, 1.0))
            assert set(recipe) <= set(units)
            assert all(units[unit] <= 0.25 for unit in set(units) - set(recipe))


def test_random_combinations_have_one_to_four_units_that_do_not_exclude_each_other():
    rng = np.random.default_rng(2)
    sizes, seen = set(), set()
    for _ in range(300):
        units = sample_combination(rng)
        sizes.add(len(units))
        seen |= set(units)
        assert not {"25", "26", "27"} <= set(units) and not {"5", "45"} <= set(units)
        assert len({unit.rstrip("LR") for unit in units}) == len(units)
    assert sizes == {1, 2, 3, 4}
    assert set(SYNTHESIZED) <= seen and "12L" in seen and "12R" in seen


def test_how_many_units_are_of_one_side_is_chosen():
    def share(chance: float) -> float:
        rng = np.random.default_rng(0)
        units = [unit for _ in range(300) for unit in sample_combination(rng, one_sided=chance)]
        can_be = [unit for unit in units if unit.rstrip("LR") in ("2", "9", "10", "12", "14", "15", "20", "45")]
        return float(np.mean([unit[-1] in "LR" for unit in can_be]))

    assert share(0) == 0 and share(1) == 1 and 0.4 < share(0.5) < 0.6


def test_one_sided_units_move_one_side_and_mirror_with_the_words():
    left, right = shape_weights({"12L": 0.8}), shape_weights({"12R": 0.8})
    assert left == {"mouthSmileLeft": 0.8} and right == {"mouthSmileRight": 0.8}
    assert swap_sides(describe_actions({"12L": 0.8})) == describe_actions({"12R": 0.8})


def test_asymmetry_leans_to_the_left_for_positive_values_and_weights_stay_in_range():
    weights = shape_weights({"12": 0.9, "26": 1.0, "25": 1.0}, asymmetry={"12": 0.3})
    assert weights["mouthSmileLeft"] == 1.0 and weights["mouthSmileRight"] == pytest.approx(0.63)
    assert set(weights) <= set(SHAPES) and max(weights.values()) <= 1


def test_a_unit_without_shapes_is_refused():
    with pytest.raises(ValueError, match="'99' has no shapes"):
        shape_weights({"99": 1.0})
