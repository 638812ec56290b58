"""Drawing architectures within budgets: all feasible, none twice, in tight windows too."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from anybudget.architecture import Architecture
from anybudget.budgets import Budget, BudgetSet
from anybudget.costs import CostModel, CostTerms, build_costs
from anybudget.decoding.feasible import FeasibleSampler
from anybudget.decoding.reachability import reachable
from anybudget.errors import BudgetError
from anybudget.spaces import (
    BlockSpec,
    NASBench201Settings,
    NASBench201Space,
    SearchSpace,
    UnifiedSpace,
)
from small_spaces import COSTS, MERGED, SPACES, budgets_at, within


@settings(max_examples=12)
@given(
    st.sampled_from(list(SPACES)),
    st.floats(0, 1),
    st.floats(0, 1),
    st.sampled_from([0.0, 0.7]),
    st.integers(0, 60),
    st.integers(0, 9),
)
def test_samples_are_feasible_and_distinct(
    kind: str, first: float, second: float, low: float, count: int, seed: int
) -> None:
    budgets = BudgetSet((*budgets_at(kind, first, "macs"), *budgets_at(kind, second, "params")))
    allowed = within(kind, budgets)
    costs, floor = COSTS[kind], low * budgets.limits()["macs"]
    inside = {a for a in allowed if costs["macs"].cost(a) >= floor}
    sampler = FeasibleSampler(SPACES[kind], costs, budgets, floor=floor)
    try:
        found = sampler.sample(count, np.random.default_rng(seed))
    except BudgetError as error:
        assert "together" in str(error)
        assert not allowed
        return
    assert len(set(found)) == len(found) <= count
    assert set(found) <= inside
    assert bool(found) == bool(inside and count)
    assert len(found) >= 0.8 * min(count, len(inside))
    assert found == sampler.sample(count, np.random.default_rng(seed))


@pytest.mark.parametrize("kind", SPACES)
def test_known_architectures_are_left_out(kind: str) -> None:
    budgets = budgets_at(kind, 0.3, "macs", "params")
    allowed = within(kind, budgets)
    sampler, rng = FeasibleSampler(SPACES[kind], COSTS[kind], budgets), np.random.default_rng(0)
    assert set(sampler.sample(len(allowed) + 5, rng)) == set(allowed)
    assert sampler.sample(10, rng, known=set(allowed[1:])) == allowed[:1]
    assert sampler.sample(10, rng, known=set(allowed)) == []


def test_tight_windows_of_a_large_space(imagenet_space: UnifiedSpace) -> None:
    costs = build_costs(imagenet_space)
    terms = {name: model.terms for name, model in costs.items()}
    least = {name: reachable(terms, name)[0] for name in ("macs", "params")}
    for share, there in ((1.001, 3), (1.01, 12)):
        budgets = BudgetSet(tuple(Budget(name, share * value) for name, value in least.items()))
        found = FeasibleSampler(imagenet_space, costs, budgets).sample(12, np.random.default_rng(0))
        assert len(set(found)) == len(found) == there
        assert all(budgets.allows({name: costs[name].cost(a) for name in least}) for a in found)


class TermsCost(CostModel):
    """A cost that is nothing but its terms."""

    def __init__(self, space: SearchSpace, name: str, terms: CostTerms) -> None:
        self.space, self.name, self.unit = space, name, "units"
        self._terms = terms

    def cost(self, architecture: Architecture) -> float:
        return self._terms.cost(architecture.choices)

    def count(self, specs: Sequence[BlockSpec]) -> float:
        raise NotImplementedError

    @property
    def terms(self) -> CostTerms:
        return self._terms


def _far_pairs(rng: np.random.Generator) -> CostTerms:
    sizes = [len(decision.choices) for decision in MERGED.decisions]
    table: NDArray[np.float64] = rng.integers(0, 9, (sizes[0], sizes[3])).astype(float)
    return CostTerms(1.0, tuple(rng.integers(1, 9, size).astype(float) for size in sizes), {(0, 3): table})


def test_pairs_that_are_no_neighbours_are_decoded() -> None:
    cost = TermsCost(MERGED, "far", _far_pairs(np.random.default_rng(0)))
    values = {a: cost.cost(a) for a in MERGED.enumerate()}
    budgets = BudgetSet((Budget("far", float(np.median(list(values.values())))),))
    allowed = {a for a, value in values.items() if value <= budgets.limits()["far"]}
    found = FeasibleSampler(MERGED, {"far": cost}, budgets).sample(10, np.random.default_rng(0))
    assert len(set(found)) == 10
    assert set(found) <= allowed


def test_dead_choices_do_not_slip_under_the_floor() -> None:
    """In a cell, the canonical network may be cheaper than the choices that a window or a solver found."""
    space = NASBench201Space(NASBench201Settings())
    costs = build_costs(space, ("macs", "params"))
    values = [costs["macs"].cost(space.sample(np.random.default_rng(seed))) for seed in range(50)]
    budgets = BudgetSet((Budget("macs", float(np.median(values))), Budget("params", 1e6)))
    found = FeasibleSampler(space, costs, budgets, floor=0.8 * budgets.limits()["macs"]).sample(
        20, np.random.default_rng(0)
    )
    assert len(found) == 20
    for architecture in found:
        assert space.simplified(architecture) == architecture
        assert 0.8 * budgets.limits()["macs"] <= costs["macs"].cost(architecture) <= budgets.limits()["macs"]
