"""Architectures that tell the most of a cost: spread over all that is reached, and uniform."""

from __future__ import annotations

import numpy as np

from anybudget.architecture import Architecture
from anybudget.costs import CostModel
from anybudget.decoding.reachability import reachable
from anybudget.decoding.window import WindowSampler
from anybudget.errors import BudgetError
from anybudget.spaces import SearchSpace

_WINDOWS = 10
_ATTEMPTS = 20
"""How many uniform draws a sample may take; small spaces may not have as many different architectures."""


def spread_samples(space: SearchSpace, cost: CostModel, count: int, rng: np.random.Generator) -> list[Architecture]:
    """Up to `count` distinct architectures: half of them spread evenly over the reachable costs, the others uniform.

    Uniform draws crowd around the median cost, and a model has to know the ends as well. Where a cost cannot be sampled
    in windows (pairs of decisions that are no neighbours), all are uniform.
    """
    found: dict[Architecture, None] = {}
    edges = np.linspace(*reachable({cost.name: cost.terms}, cost.name), _WINDOWS + 1)
    for number in range(_WINDOWS):
        share = count // 2 * (number + 1) // _WINDOWS - count // 2 * number // _WINDOWS
        try:
            window = WindowSampler(space, cost, float(edges[number]), float(edges[number + 1]))
            found |= dict.fromkeys(window.sample(share, rng)) if share else {}
        except BudgetError:
            continue  # an empty window, or a cost with no windows
    for _ in range(_ATTEMPTS * count):
        if len(found) >= count:
            break
        found[space.sample(rng)] = None
    return list(found)
