"""Recipes: TOML in, validated and typed settings out; an unknown key is an error.

Tables of what is registered, such as `[search.NAME]`, are read by the settings of the registered class.
"""

from anybudget.recipe.costs import with_copies
from anybudget.recipe.reading import (
    RUNTIME_KEYS,
    load_recipe,
    load_unmeasured,
    overridden,
    parse_recipe,
    read_recipe,
    reproducibility_settings,
    resolved,
    settled_recipe,
)
from anybudget.recipe.sections import Recipe
from anybudget.recipe.trainings import TrainingSection

__all__ = [
    "RUNTIME_KEYS",
    "Recipe",
    "TrainingSection",
    "load_recipe",
    "load_unmeasured",
    "overridden",
    "parse_recipe",
    "read_recipe",
    "reproducibility_settings",
    "resolved",
    "settled_recipe",
    "with_copies",
]
