"""Random architectures within a cost window: uniform, bounded in time, honest about empty windows."""

from collections import Counter

import numpy as np
import pytest
from scipy.stats import chisquare

from anybudget.costs import build_costs
from anybudget.decoding.reachability import reachable
from anybudget.decoding.window import WindowSampler
from anybudget.errors import BudgetError
from anybudget.spaces import (
    SearchSpace,
    UnifiedSpace,
    stages,
)
from tiny_spaces import small_channels, small_mbconv, tiny_macro

SMALL = UnifiedSpace(tiny_macro(stages=stages((4, 1, 1), (6, 1, 2)), max_expansion=4))
SMALL_CHANNELS = small_channels()
SMALL_MACRO = small_mbconv()
COST = build_costs(SMALL)["macs"]


def test_samples_lie_in_the_window_and_are_distinct(imagenet_space: UnifiedSpace) -> None:
    cost = build_costs(imagenet_space)["macs"]
    low, high = reachable({"macs": cost.terms}, "macs")
    rng = np.random.default_rng(0)
    for share in (0.001, 0.02, 0.5, 0.98, 1.0):  # uniform sampling would practically never reach the ends
        limit = low + share * (high - low)
        found = WindowSampler(imagenet_space, cost, 0.97 * limit, limit).sample(20, rng)
        assert len(set(found)) == len(found) == 20
        assert all(0.97 * limit <= cost.cost(architecture) <= limit for architecture in found)


@pytest.mark.parametrize("space", [SMALL_CHANNELS, SMALL_MACRO], ids=["pairwise", "merged encodings"])
def test_other_kinds_of_costs(space: SearchSpace) -> None:
    """Costs of pairs of neighbours, and encodings of one network: every network of the window, and no other."""
    cost = build_costs(space)["macs"]
    costs = {architecture: cost.cost(architecture) for architecture in space.enumerate()}
    low, high = np.quantile(list(costs.values()), [0.3, 0.5])
    inside = {architecture for architecture, value in costs.items() if low <= value <= high}
    assert set(WindowSampler(space, cost, low, high).sample(20 * len(inside), np.random.default_rng(0))) == inside


def test_draws_with_pairwise_costs_are_uniform() -> None:
    cost = build_costs(SMALL_CHANNELS)["macs"]
    values = [cost.cost(architecture) for architecture in SMALL_CHANNELS.enumerate()]
    low, high = np.quantile(values, [0.3, 0.4])
    sampler = WindowSampler(SMALL_CHANNELS, cost, low, high)
    inside = sum(low <= value <= high for value in values)
    rng = np.random.default_rng(0)
    counts = Counter(sampler.sample(1, rng)[0] for _ in range(30 * inside))
    assert len(counts) == inside
    assert chisquare(list(counts.values())).pvalue > 1e-3


def test_sampling_is_uniform_over_the_window() -> None:
    costs = {architecture: COST.cost(architecture) for architecture in SMALL.enumerate()}
    low, high = np.quantile(list(costs.values()), [0.2, 0.3])
    inside = [architecture for architecture, cost in costs.items() if low <= cost <= high]
    sampler = WindowSampler(SMALL, COST, low, high)
    rng = np.random.default_rng(0)
    counts = Counter(sampler.sample(1, rng)[0] for _ in range(40 * len(inside)))
    assert set(counts) <= set(inside)
    assert chisquare([counts[architecture] for architecture in inside]).pvalue > 1e-3


def test_a_small_window_gives_all_it_has() -> None:
    low, _ = reachable({"macs": COST.terms}, "macs")
    rng = np.random.default_rng(0)
    assert [COST.cost(a) for a in WindowSampler(SMALL, COST, low, low).sample(50, rng)] == [low]


@pytest.mark.parametrize("window", [(0, 10), (1e12, 1e13), (5e4, 4e4)])
def test_an_empty_window_says_what_is_reachable(window: tuple[float, float]) -> None:
    with pytest.raises(BudgetError, match="reachable are"):
        WindowSampler(SMALL, COST, *window)


def test_a_gap_inside_the_interval_ends() -> None:
    values = sorted({COST.cost(architecture) for architecture in SMALL.enumerate()})
    widest = max(range(len(values) - 1), key=lambda i: values[i + 1] - values[i])
    low, high = values[widest] + 1, values[widest + 1] - 1
    assert low < high
    with pytest.raises(BudgetError, match="found no architecture"):
        WindowSampler(SMALL, COST, low, high).sample(3, np.random.default_rng(0))
