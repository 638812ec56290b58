"""What an answer is compared with: random networks of about its cost, and the plain network."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from anybudget.architecture import Architecture
from anybudget.budgets import BudgetSet
from anybudget.costs import CostModel
from anybudget.decoding.feasible import FeasibleSampler
from anybudget.search.base import exact_costs
from anybudget.spaces import SearchSpace

CHUNK = 200
"""How many random networks are drawn at once, so that what is drawn for few comes first where more are asked for."""

PLAIN_SHARE = 0.5
"""The least share of a budget that a plain network uses: a smaller one is no rival."""


def draw_random(sampler: FeasibleSampler, seed: int, count: int) -> list[Architecture]:
    """Up to `count` random networks, none twice; fewer where fewer are found.

    Those of a smaller `count` are the first of those of a greater one.

    Args:
        sampler: what may be drawn.
        seed: draws them.
        count: how many.

    Raises:
        BudgetError: no network meets the budgets.
    """
    rng = np.random.default_rng(seed)
    found: list[Architecture] = []
    while len(found) < count:
        new = sampler.sample(CHUNK, rng, known=frozenset(found))
        found += new
        if len(new) < CHUNK:
            break
    return found[:count]


def plain_network(
    space: SearchSpace, costs: Mapping[str, CostModel], budgets: BudgetSet
) -> tuple[Architecture, str] | None:
    """The largest network within the budgets that has one configuration in every layer, and that configuration.

    All choices that every decision of the space has are looked at. The largest has the most of the first budget's cost,
    then of the other costs.

    Returns:
        None where the decisions of the space have no choice in common, or no such network is within the budgets and
        uses half of the first one.
    """
    first = next(iter(budgets))
    names = [decision.choice_names for decision in space.decisions]
    best: tuple[tuple[float, ...], Architecture, str] | None = None
    for name in names[0]:
        if not all(name in choices for choices in names):
            continue
        choices = tuple(choices.index(name) for choices in names)
        architecture = space.simplified(Architecture(space.name, choices))
        found = exact_costs(costs, architecture)
        size = (found[first.cost], *found.values())
        rival = found[first.cost] >= PLAIN_SHARE * first.limit and budgets.allows(found)
        if rival and (best is None or size > best[0]):
            best = size, architecture, name
    return None if best is None else best[1:]
