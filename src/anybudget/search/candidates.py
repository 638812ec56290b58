"""Owns the way from distributions to candidates: what the budgets allow, and different architectures within them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from anybudget.architecture import Architecture
from anybudget.budgets import BudgetSet
from anybudget.costs import CostModel, CostTerms
from anybudget.search.decoding import check_jointly_reachable, check_reachable, decode, optimum, reachable
from anybudget.spaces import SearchSpace

Distribution = Sequence[NDArray[np.float64]]
"""For every decision, the log-probability of each of its choices."""

_ATTEMPTS = 4
"""How many times more often than candidates are wanted a query may decode; small spaces may not have as many."""
_NOISE_GROWTH = 1.2
"""Factor of the Gumbel noise from one attempt to the next."""


def attainable(terms: Mapping[str, CostTerms], cost: str, budgets: BudgetSet) -> float:
    """The most of `cost` that all the budgets together allow, to within 1%.

    Raises:
        BudgetError: a cost is unknown, or no architecture meets the budgets.
    """
    check_reachable(terms, budgets)
    limits = budgets.limits()
    most = reachable(terms, cost)[1]
    if set(limits) != {cost}:
        found = optimum(terms, cost, budgets, largest=True, gap=0.01)
        if found is None:
            check_jointly_reachable(terms, budgets)  # says what can be reached
        most = most if found is None else found
    return min(most, limits.get(cost, most))


def position(terms: Mapping[str, CostTerms], cost: str, budgets: BudgetSet) -> float:
    """Where `attainable` lies in the reachable interval of `cost`: 0 its least value, 1 its greatest.

    Raises:
        BudgetError: no architecture meets the budgets.
    """
    low, high = reachable(terms, cost)
    return (attainable(terms, cost, budgets) - low) / (high - low) if high > low else 1.0


def candidates_of(
    distributions: Sequence[Distribution],
    space: SearchSpace,
    cost: CostModel,
    terms: Mapping[str, CostTerms],
    budgets: BudgetSet,
    *,
    candidates: int,
    min_use: float,
    seed: int,
    draws: int = 1,
) -> dict[Architecture, float]:
    """Up to `candidates` distinct architectures within the budgets, each with its greatest log-probability.

    First the most probable architecture of every distribution; then, until there are enough different ones, the most
    probable after adding Gumbel noise to every log-probability (perturb and maximise). Without budgets and with noise
    of scale 1 that would be a draw from the distribution. Among the architectures that meet the budgets it is one in
    spirit only: noise of each choice is not noise of each architecture, and it is 1.2 times as large and grows from
    round to round, since confident distributions draw the same few again and again. A round takes `draws` from every
    distribution; the number of rounds is bounded.

    They use at least `min_use` of what is attainable of `cost`, where any architecture does; 0 lets the distributions
    alone decide how much of a budget is used. Where the canonical form of a network is cheaper than the choices that
    were decoded (dead edges of a cell), it may use less; such networks are returned only when there are not enough
    others.

    Raises:
        BudgetError: no architecture meets the budgets.
    """
    floors = {cost.name: min_use * attainable(terms, cost.name, budgets)} if min_use else None
    rng = np.random.default_rng(seed)
    found: dict[Architecture, float] = {}
    spare: dict[Architecture, float] = {}
    for attempt in range(_ATTEMPTS * -(-candidates // (draws * len(distributions)))):
        scale = _NOISE_GROWTH**attempt if attempt else 0.0
        for rows in [*distributions] * (draws if attempt else 1):
            noisy = [row + scale * rng.gumbel(size=row.shape) for row in rows]
            (decoded,) = decode(noisy, terms, budgets, floors=floors)
            score = sum(float(row[choice]) for row, choice in zip(rows, decoded.choices, strict=True))
            architecture = space.simplified(Architecture(space.name, decoded.choices))
            # Decoding goes under the floor where no architecture meets it; that is no reason to set one aside.
            used = terms[cost.name].cost(decoded.choices)
            kept = spare if floors and cost.cost(architecture) < min(floors[cost.name], used) else found
            kept[architecture] = max(score, kept.get(architecture, -math.inf))
            if len(found) == candidates:
                return found
    return dict([*found.items(), *spare.items()][:candidates])
