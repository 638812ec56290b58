"""Spaces small enough to try every network, with their costs and budgets on them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from anybudget.architecture import Architecture
from anybudget.budgets import Budget, BudgetSet
from anybudget.costs import CostModel, build_costs
from anybudget.spaces import (
    NASBench201Settings,
    SearchSpace,
    UnifiedSpace,
    stages,
)
from tiny_spaces import small_channels, small_mbconv, tiny_macro

UNIFIED = UnifiedSpace(tiny_macro(stages=stages((4, 1, 1), (6, 1, 2)), max_expansion=3))  # 256 networks
CHANNELS = small_channels()
MERGED = small_mbconv()
SPACES: dict[str, SearchSpace] = {"unified": UNIFIED, "pairwise": CHANNELS, "merged": MERGED}
COSTS: dict[str, Mapping[str, CostModel]] = {name: build_costs(space) for name, space in SPACES.items()}
NETWORKS = {name: list(space.enumerate()) for name, space in SPACES.items()}
TINY_CELLS = NASBench201Settings(input_size=8, input_channels=1, classes=3, width=4, cells=1, stages=2)
"""Settings of cells that are small to train; they are too many to try all."""


def budgets_at(kind: str, share: float, *costs: str) -> BudgetSet:
    """Each cost at most what this share of all networks has."""
    found = []
    for cost in costs:
        values = [COSTS[kind][cost].cost(a) for a in NETWORKS[kind]]
        found.append(Budget(cost, float(np.quantile(values, share, method="lower"))))
    return BudgetSet(tuple(found))


def within(kind: str, budgets: BudgetSet) -> list[Architecture]:
    """Every network that meets the budgets, by trying all."""
    return [a for a in NETWORKS[kind] if all(COSTS[kind][b.cost].cost(a) <= b.limit for b in budgets)]
