"""The architecture generator of a run: built as its recipe says, its weights from the run folder."""

from __future__ import annotations

import torch

from anybudget.generator.network import ArchitectureGenerator
from anybudget.recipe import Recipe
from anybudget.runtime.process_state import seeded
from anybudget.spaces import SearchSpace
from anybudget.storage.run_folder import RunFolder


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
