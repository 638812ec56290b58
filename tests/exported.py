"""Networks to export: of every small recipe, with norms that are no identities."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import nn

from anybudget.data import DataFacts
from anybudget.data.identity import Draw
from anybudget.data.preparation import UNCHANGED, Preparation
from anybudget.nets import build_network
from anybudget.recipe import load_recipe
from anybudget.spaces import BlockSpec, derive
from anybudget.spaces.blocks import ActivationName
from anybudget.testing import randomise_norms

RECIPES = Path(__file__).parents[1] / "recipes" / "small"
FACTS = DataFacts(
    None, 10, (0.2861,), (0.3537,), Preparation(1, 28, 28, UNCHANGED), stored="arrays", digest="0", draw=Draw("")
)
"""Of the small recipes' images."""


def network_of(
    name: str, seed: int = 0, *, activation: ActivationName | None = None, se_reduction: int = 0
) -> tuple[nn.Sequential, tuple[BlockSpec, ...]]:
    """A network of a small recipe, as a trained one is, and its blocks."""
    space = load_recipe(RECIPES / f"{name}.toml").build_space()
    specs = space.block_specs(space.sample(np.random.default_rng(seed)))
    specs = derive(specs, activation=activation, se_reduction=se_reduction)
    torch.manual_seed(seed)
    network = build_network(specs)
    randomise_norms(network, torch.Generator().manual_seed(seed + 1))
    return cast(nn.Sequential, network.eval()), specs
