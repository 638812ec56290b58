"""The strategy `linear`, and the most that budgets allow of a cost, on spaces small enough to try all."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from anybudget.architecture import Architecture
from anybudget.budgets import Budget, BudgetSet
from anybudget.costs import CostModel, CostTerms, build_costs
from anybudget.costs.ridge import ridge
from anybudget.data import DataSplits
from anybudget.decoding.reachability import attainable, position, reachable
from anybudget.decoding.spread import spread_samples
from anybudget.errors import BudgetError
from anybudget.evaluation.evaluator import Evaluator
from anybudget.evaluation.settings import EvaluatorSettings
from anybudget.nets import UnifiedSupernet
from anybudget.search.additive import fit_additive
from anybudget.search.base import SearchContext
from anybudget.search.linear import LinearSettings, LinearStrategy
from anybudget.spaces import (
    SearchSpace,
    UnifiedSpace,
    stages,
)
from anybudget.testing import PlantedEvaluator
from tiny_spaces import small_channels, small_mbconv, tiny_macro

UNIFIED = UnifiedSpace(tiny_macro(stages=stages((4, 1, 1), (6, 1, 2)), max_expansion=3))
SINGLE = small_mbconv(4, "k3_e3", "k5_e3", "k3_e6")  # one slot per decision: 81 networks
CHANNELS = small_channels()
SPACES: dict[str, SearchSpace] = {"unified": UNIFIED, "single": SINGLE, "channels": CHANNELS}


@cache
def costs_of(kind: str) -> dict[str, CostModel]:
    return build_costs(SPACES[kind])


@cache
def networks_of(kind: str) -> tuple[list[Architecture], NDArray[np.int64], dict[str, NDArray[np.float64]]]:
    """Every network of a space, its choices, and its costs."""
    networks = list(SPACES[kind].enumerate())
    costs = {name: np.array([model.cost(a) for a in networks]) for name, model in costs_of(kind).items()}
    return networks, np.array([a.choices for a in networks]), costs


def planted(space: SearchSpace, seed: int, *, pairs: bool) -> CostTerms:
    """A random worth of every slot's operation and, with `pairs`, of what neighbours do together."""
    rng = np.random.default_rng(seed)
    encodings = [d.encoding().reshape(len(d.choices), d.slots, -1).sum(1) for d in space.decisions]
    worth = tuple(e @ rng.normal(size=e.shape[1]) for e in encodings)
    tables = {}
    for d, (first, second) in enumerate(zip(space.decisions, space.decisions[1:], strict=False)):
        if pairs and first.slots == 1:
            tables[d, d + 1] = rng.normal(size=(len(first.choices), len(second.choices)))
        elif pairs:
            tables[d, d + 1] = 2 * rng.normal() * np.outer(*(e[:, :-1].sum(1) for e in encodings[d : d + 2]))
    return CostTerms(0.0, worth, tables)


def linear(kind: str, seed: int = 0, *, pairs: bool, **options: object) -> LinearStrategy:
    evaluator = PlantedEvaluator(SPACES[kind], planted(SPACES[kind], seed, pairs=pairs))
    return LinearStrategy(
        SearchContext(evaluator, costs_of(kind), seed), LinearSettings.model_validate({"samples": 60, **options})
    )


def budgets_at(kind: str, share: float, *costs: str) -> BudgetSet:
    """Each cost at most what this share of all networks has."""
    values = networks_of(kind)[2]
    return BudgetSet(tuple(Budget(cost, float(np.quantile(values[cost], share, method="lower"))) for cost in costs))


@pytest.mark.parametrize("kind", SPACES)
def test_attainable_is_the_most_that_budgets_allow(kind: str) -> None:
    terms = {name: model.terms for name, model in costs_of(kind).items()}
    costs = networks_of(kind)[2]
    low, high = reachable(terms, "macs")
    for budgets in (
        budgets_at(kind, 0.4, "macs"),
        budgets_at(kind, 0.3, "params"),
        budgets_at(kind, 0.5, "params", "macs"),
    ):
        within = np.all([costs[b.cost] <= b.limit for b in budgets], axis=0)
        found = attainable(terms, "macs", budgets)
        assert costs["macs"][within].max() == pytest.approx(found, rel=0.01)
        assert position(terms, "macs", budgets) == pytest.approx((found - low) / (high - low))
    assert position(terms, "macs", BudgetSet.parse("macs<=1T")) == 1.0


def test_attainable_refuses_what_cannot_be_met() -> None:
    terms = {
        "a": CostTerms(0.0, (np.array([1.0, 9.0]),)),
        "b": CostTerms(0.0, (np.array([9.0, 1.0]),)),
    }
    with pytest.raises(BudgetError, match="together"):
        attainable(terms, "a", BudgetSet.parse("a<=2, b<=2"))
    with pytest.raises(BudgetError, match="unknown cost"):
        attainable(terms, "a", BudgetSet.parse("joules<=2"))


@settings(max_examples=40)
@given(st.sampled_from(list(SPACES)), st.floats(0, 1), st.booleans(), st.booleans(), st.integers(0, 10**6))
def test_linear_finds_the_planted_optimum(kind: str, share: float, both: bool, pairs: bool, seed: int) -> None:
    budgets = budgets_at(kind, share, *(("macs", "params") if both else ("macs",)))
    networks, choices, costs = networks_of(kind)
    within = np.all([costs[b.cost] <= b.limit for b in budgets], axis=0)
    strategy = linear(kind, seed, pairs=pairs and kind != "channels", samples=120)  # no products there, see below
    if not within.any():
        with pytest.raises(BudgetError, match="together"):
            strategy.search([budgets])
        return
    (candidate,) = strategy.search([budgets])
    assert isinstance(strategy.evaluator, PlantedEvaluator)
    best = strategy.evaluator.objective.costs(choices[within]).max()
    assert candidate.supernet_top1_percent == pytest.approx(best, abs=1e-6)
    assert candidate.architecture in [a for a, meets in zip(networks, within, strict=True) if meets]


@settings(max_examples=30)
@given(st.integers(3, 30), st.integers(1, 20), st.floats(0, 2), st.integers(0, 10**6))
def test_leave_one_out_is_what_refits_say(samples: int, features: int, noise: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(samples, features))
    y = x @ rng.normal(size=features) + noise * rng.normal(size=samples) + 3.0
    fit = ridge(x, y)

    def refit(x: NDArray[np.float64], y: NDArray[np.float64], at: NDArray[np.float64]) -> float:
        mean = x.mean(0)
        gram = (x - mean).T @ (x - mean) + fit.penalty * np.eye(features)
        return float(y.mean() + (at - mean) @ np.linalg.solve(gram, (x - mean).T @ (y - y.mean())))

    expected = [refit(np.delete(x, i, 0), np.delete(y, i), x[i]) for i in range(samples)]
    np.testing.assert_allclose(fit.left_out, expected, rtol=1e-4, atol=1e-4)
    assert fit.error == pytest.approx(np.sqrt(np.mean((y - fit.left_out) ** 2)))
    np.testing.assert_allclose(fit.intercept + x @ fit.weights, [refit(x, y, row) for row in x], rtol=1e-4, atol=1e-4)


def test_the_penalty_has_the_least_error() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20, 15))
    clean, noisy = (ridge(x, x @ np.ones(15) + noise * rng.normal(size=20)) for noise in (0.0, 10.0))
    assert clean.penalty < 1e-3 < 1 < noisy.penalty
    assert noisy.error < 1.5 * 10  # far from what 15 free weights would do with 20 samples


def test_equal_scores_give_a_model_of_nothing() -> None:
    choices = networks_of("unified")[1][::30]
    model = fit_additive(UNIFIED, choices, np.full(len(choices), 2.5))
    assert model.loo_error == pytest.approx(0.0)
    assert model.kendall is None
    np.testing.assert_allclose(model.predict(choices), 2.5)


@pytest.mark.parametrize("kind", ["unified", "single"])
def test_pairs_are_used_where_they_help(kind: str) -> None:
    choices = networks_of(kind)[1]
    rng = np.random.default_rng(0)
    sampled = choices[rng.permutation(len(choices))[:80]]
    for pairs in (False, True):
        clean = planted(SPACES[kind], 3, pairs=pairs).costs(sampled)
        model = fit_additive(SPACES[kind], sampled, clean + 0.1 * clean.std() * rng.normal(size=80))
        assert model.paired == bool(model.terms.pairwise) == pairs
        assert model.kendall is not None
        assert model.kendall > 0.8
        assert model.loo_error < 0.2 * clean.std()


def test_decisions_that_cannot_be_summed_up_have_no_products() -> None:
    """Two slots, kernel and width, and nothing to skip."""
    choices = networks_of("channels")[1]
    model = fit_additive(CHANNELS, choices, planted(CHANNELS, 0, pairs=True).costs(choices))
    assert not model.paired
    assert not model.curved


def test_diminishing_returns_are_seen() -> None:
    space = UnifiedSpace(tiny_macro())
    rng = np.random.default_rng(0)
    choices = np.array([space.sample(rng).choices for _ in range(100)])
    used = np.stack([d.encoding().reshape(80, 6, 4).sum(1)[:, :3].sum(1) for d in space.decisions])
    returns = np.stack([used[d, choices[:, d]] for d in range(3)], axis=1)
    model = fit_additive(space, choices, -((returns - 6.0) ** 2).sum(1))
    assert model.curved
    assert not model.paired
    assert model.loo_error < 1e-3
    assert model.kendall is not None
    assert model.kendall > 0.95  # equal scores are never predicted to be equal to the last bit


def test_products_have_few_distinct_rows() -> None:
    """What keeps the programs small: choices with as many slots in use interact alike, to the last bit."""
    space = UnifiedSpace(tiny_macro())
    rng = np.random.default_rng(0)
    choices = np.array([space.sample(rng).choices for _ in range(100)])
    model = fit_additive(space, choices, planted(space, 0, pairs=True).costs(choices))
    assert set(model.terms.pairwise) == {(0, 1), (1, 2)}
    for table in model.terms.pairwise.values():
        assert table.shape == (80, 80)
        assert len(np.unique(table, axis=0)) == len(np.unique(table, axis=1).T) == 5  # 2 to 6 slots in use


def test_samples_reach_both_ends() -> None:
    space = UnifiedSpace(tiny_macro())
    cost = build_costs(space)["macs"]
    low, high = reachable({"macs": cost.terms}, "macs")
    found = spread_samples(space, cost, 100, np.random.default_rng(0))
    used = np.array([cost.cost(a) for a in found])
    assert len(set(found)) == 100
    assert np.histogram(used, bins=10, range=(low, high))[0].min() >= 4
    assert len(spread_samples(SINGLE, costs_of("single")["macs"], 200, np.random.default_rng(0))) == 81


def test_the_samples_are_evaluated_once_for_all_budgets() -> None:
    strategy = linear("unified", pairs=True, samples=50, candidates=3)
    strategy.search([budgets_at("unified", share, "macs") for share in (0.3, 0.6, 0.9)])
    assert 50 <= strategy.spent.evaluations <= 50 + 3 * 3


def test_linear_can_fit_top1() -> None:
    strategy = linear("single", pairs=False, target="top1")
    value = strategy.model.predict(networks_of("single")[1])
    assert isinstance(strategy.evaluator, PlantedEvaluator)
    np.testing.assert_allclose(value, strategy.evaluator.objective.costs(networks_of("single")[1]), atol=1e-3)


def test_linear_with_a_real_supernet(supernet: UnifiedSupernet, data: DataSplits) -> None:
    evaluator = Evaluator(supernet, data, EvaluatorSettings(calibration_images=16))
    strategy = LinearStrategy(
        SearchContext(evaluator, build_costs(supernet.space)), LinearSettings(samples=20, candidates=3)
    )
    for candidate in strategy.search([BudgetSet.parse("macs<=50k"), BudgetSet.parse("macs<=60k, params<=1300")]):
        assert candidate.budgets.allows(candidate.costs)
        assert candidate.log_probability is None
    assert strategy.spent.evaluations == len(evaluator.scored) <= 20 + 2 * 3
