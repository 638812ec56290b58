"""What an answer is compared with: random networks of about its cost, and the plain network."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

import numpy as np

from anybudget.architecture import Architecture
from anybudget.budgets import BudgetSet
from anybudget.costs import CostModel
from anybudget.decoding.feasible import FeasibleSampler
from anybudget.search.base import exact_costs
from anybudget.spaces import Decision, SearchSpace

CHUNK = 200
"""How many random networks are drawn at once, so that what is drawn for few comes first where more are asked for."""

PLAIN_SHARE = 0.5
"""The least share of a budget that a plain network uses: a smaller one is no rival."""

MOST_PLAIN = 10**6
"""Plain networks that are looked at, at most; spaces in which one configuration may stand everywhere have far fewer."""


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

    Layers whose decisions have choices in common get the same one of these; decisions of another kind, such as widths
    beside operations, have one of their own. All such networks are looked at. The largest has the most of the first
    budget's cost, then of the other costs.

    Returns:
        None where the space has no such network, or none within the budgets that uses half of the first one.
    """
    kinds = _kinds(space)
    shared = [_in_common([space.decisions[index] for index in kind]) for kind in kinds]
    if not all(shared) or np.prod([float(len(names)) for names in shared]) > MOST_PLAIN:
        return None
    first, limit = next(iter(budgets)).cost, next(iter(budgets)).limit
    best: tuple[tuple[float, ...], Architecture, str] | None = None
    for names in product(*shared):
        choices = [0] * len(space.decisions)
        for kind, name in zip(kinds, names, strict=True):
            for index in kind:
                choices[index] = space.decisions[index].choice_names.index(name)
        architecture = space.simplified(Architecture(space.name, tuple(choices)))
        found = exact_costs(costs, architecture)
        size = (found[first], *found.values())
        rival = found[first] >= PLAIN_SHARE * limit and budgets.allows(found)
        if rival and (best is None or size > best[0]):
            best = size, architecture, ", ".join(names)
    return None if best is None else best[1:]


def _kinds(space: SearchSpace) -> list[list[int]]:
    """The decisions of the space, those together that have choices in common."""
    kinds: list[tuple[set[str], list[int]]] = []
    for index, decision in enumerate(space.decisions):
        names, members = set(decision.choice_names), [index]
        for kind in [kind for kind in kinds if kind[0] & names]:
            kinds.remove(kind)
            names, members = names | kind[0], kind[1] + members
        kinds.append((names, members))
    return [sorted(members) for _, members in kinds]


def _in_common(decisions: list[Decision]) -> list[str]:
    """The choices that all of the decisions have, in the order of the first one."""
    return [name for name in decisions[0].choice_names if all(name in other.choice_names for other in decisions)]
