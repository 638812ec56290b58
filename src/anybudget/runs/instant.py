"""A run that answers budgets without judging: of its folder, the recipe and the generator's weights are read alone.

Neither images nor the supernet nor what trains them is loaded or imported, nothing is written, and nothing is locked.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import cast

import torch

from anybudget.costs import CostModel
from anybudget.generator.interval import TrainedInterval
from anybudget.generator.network import ArchitectureGenerator
from anybudget.recipe import Recipe, parse_recipe
from anybudget.runs.generators import load_generator
from anybudget.search.generator import GeneratorSettings, GeneratorStrategy
from anybudget.search.instant import InstantGenerator, ProposalSettings
from anybudget.spaces import SearchSpace
from anybudget.storage.run_folder import RunFolder


def instant_generator(
    recipe: Recipe, space: SearchSpace, costs: Mapping[str, CostModel], generator: ArchitectureGenerator
) -> InstantGenerator:
    """A trained generator that is asked as the recipe says."""
    section = recipe.search
    asked = cast(GeneratorSettings, section.settings_of(GeneratorStrategy, GeneratorStrategy.name))
    interval = TrainedInterval.of(recipe.generator)
    settings = ProposalSettings(recipe.generator.cost, asked.priors, section.min_use, recipe.seed, interval)
    return InstantGenerator(space, costs, generator, settings)


def open_instantly(path: Path) -> tuple[Recipe, InstantGenerator]:
    """The recipe of the run at `path`, and its generator, on the CPU.

    Raises:
        RunError: there is no run, its recipe or the generator's weights are damaged, or these have not been trained.

    Example:
        >>> recipe, generator = open_instantly(Path("runs/demo"))  # doctest: +SKIP
        >>> generator.propose(recipe.budget_sets())[0].architecture  # doctest: +SKIP
    """
    folder = RunFolder.open(path)
    recipe = parse_recipe(folder.recipe(), str(path / "recipe.toml"))
    space = recipe.build_space()
    costs = recipe.build_costs(space, path)
    generator = load_generator(folder, recipe, space, torch.device("cpu"))
    return recipe, instant_generator(recipe, space, costs, generator)
