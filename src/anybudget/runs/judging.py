"""How `[search]` has networks scored: on which validation images, and calibrated on which."""

from __future__ import annotations

from typing import Any

from anybudget.data import BalancedValidation, DataSource
from anybudget.evaluation.settings import EvaluatorSettings
from anybudget.recipe import Recipe


def evaluator_settings(recipe: Recipe, seed: int) -> EvaluatorSettings:
    """How architectures are evaluated, with calibration images that `seed` draws."""
    return EvaluatorSettings(recipe.search.calibration_images, seed=seed, balanced=recipe.search.balanced_calibration)


def scored_data(recipe: Recipe, data: DataSource) -> DataSource:
    """The data of a run, with the validation images that networks are scored on."""
    return BalancedValidation(data, recipe.seed) if recipe.search.balanced_validation else data


def calibrated_with(recipe: Recipe) -> dict[str, Any]:
    """What calibrates, besides the seed, as settings of work that depends on it; what is off is left out."""
    images = {"calibration_images": recipe.search.calibration_images}
    return {**images, **({"balanced_calibration": True} if recipe.search.balanced_calibration else {})}
