"""The architecture generator of a run: its cost, its network as the recipe says, its weights from the run folder."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from anybudget.budgets import exact_quantity, unknown_cost
from anybudget.costs import CostModel
from anybudget.decoding.reachability import reachable
from anybudget.errors import ConfigError
from anybudget.generator.network import ArchitectureGenerator
from anybudget.recipe import Recipe
from anybudget.runtime.process_state import seeded
from anybudget.spaces import SearchSpace
from anybudget.storage.run_folder import RunFolder


def conditioning_cost(recipe: Recipe, costs: Mapping[str, CostModel]) -> CostModel:
    """The cost that the generator is conditioned on, one of the recipe's.

    Raises:
        ConfigError: there is no such cost, it is the same for every network, or it is a maximum.
    """
    name = recipe.generator.cost
    if name not in costs:
        raise ConfigError(f"generator.cost: {unknown_cost(name, costs)}")
    model = costs[name]
    if model.terms.combine == "max":
        raise ConfigError(
            f"generator.cost: {name} is the greatest of its layers' numbers, and says nothing of the others, so a "
            "generator cannot be trained for it; take macs or params, and limit it by budgets beside that"
        )
    low, high = reachable({name: model.terms}, name)
    if low == high:
        others = ", ".join(other for other in costs if other != name)
        raise ConfigError(
            f"generator.cost: {name} is {exact_quantity(low)} for every network of this {model.space.name} space, "
            f"so there is nothing to ask for; take one of {others}"
        )
    return model


def build_generator(recipe: Recipe, space: SearchSpace, device: torch.device) -> ArchitectureGenerator:
    """A generator with new weights."""
    section = recipe.generator
    generator = ArchitectureGenerator(
        [decision.encoding() for decision in space.decisions],
        hidden=section.hidden,
        random_prior=section.random_prior,
        fixed_prior=recipe.seed if section.priors == "fixed" else None,
    )
    return generator.to(device)


def load_generator(
    folder: RunFolder, recipe: Recipe, space: SearchSpace, device: torch.device
) -> ArchitectureGenerator:
    """The trained generator of a run, in evaluation mode.

    Raises:
        RunError: it has not been trained, or its weights are damaged.
    """
    folder.require("generator", f"generator {folder.path}")
    with seeded(recipe.seed):  # the weights that it starts with are replaced, but are drawn
        generator = build_generator(recipe, space, device)
    folder.load_weights("generator.safetensors", generator)
    return generator.eval()
