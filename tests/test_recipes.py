"""The recipes of pretraining in recipes/ say what they claim."""

from pathlib import Path

import pytest

pytest.importorskip("yaml", reason="the train extra is not installed")

from sondino.pretraining.crops import crop_grid
from sondino.pretraining.recipe import PretrainRecipe, given_statistics, resolve_recipe
from sondino.pretraining.schedules import PUBLISHED_UPDATES, make_schedule

FOLDER = Path(__file__).parents[1] / "recipes"


@pytest.mark.parametrize("name", ["matpac", "matpac++"])
def test_the_published_recipes_are_the_published_training(name: str) -> None:
    recipe = resolve_recipe(FOLDER / f"{name}.yaml")
    assert (recipe.method, recipe.size, recipe.updates) == (name, "base", PUBLISHED_UPDATES)
    assert recipe.published and recipe.centre == "probabilities" and recipe.teacher_init == "random"
    assert given_statistics(recipe.normalize) == (-7.056, 4.193)
    assert (recipe.batch_size, recipe.accumulate, recipe.seed) == (256, 1, 1337)
    schedule = make_schedule(recipe.updates, recipe.peak_lr, recipe.warmup, recipe.published)
    assert schedule == make_schedule(PUBLISHED_UPDATES, 3e-4, published=True)
    grid = crop_grid(recipe.crop, recipe.mask_ratio)
    assert (grid.rows, grid.columns, grid.patches, grid.visible) == (5, 38, 190, 57)


def test_the_recipe_for_a_laptop_is_the_default() -> None:
    assert resolve_recipe(FOLDER / "tiny-cpu.yaml") == resolve_recipe()
    assert resolve_recipe().size == PretrainRecipe().size == "tiny"
