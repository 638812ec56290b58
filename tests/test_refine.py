"""The refined strategy: never worse than what it starts from, bounded; its children."""

from collections.abc import Mapping

import numpy as np
import pytest
import torch

from anybudget.architecture import Architecture
from anybudget.budgets import Budget, BudgetSet
from anybudget.costs import CostModel, build_costs
from anybudget.data import DataSplits
from anybudget.decoding.feasible import FeasibleSampler
from anybudget.decoding.reachability import reachable
from anybudget.evaluation.evaluator import Evaluator
from anybudget.evaluation.settings import EvaluatorSettings
from anybudget.nets import UnifiedSupernet
from anybudget.runtime.accounting import Spending
from anybudget.search import base
from anybudget.search.base import SearchContext, TrainedGenerator
from anybudget.search.refined import CHILDREN, RefinedSettings, RefinedStrategy, promising, standardised
from generators import generator_for

BUDGETS = [BudgetSet.parse(text) for text in ("macs<=45k", "macs<=60k, params<=1800", "macs<=90k")]


def make(supernet: UnifiedSupernet, data: DataSplits, rounds: int, per_round: int = 5) -> RefinedStrategy:
    torch.manual_seed(0)
    costs = build_costs(supernet.space)
    generator = generator_for(supernet.space).eval()
    evaluator = Evaluator(supernet, data, EvaluatorSettings(calibration_images=16))
    trained = TrainedGenerator(generator, Spending(0, 100, 5.0, 1.0))
    context = SearchContext(evaluator, costs, cost_name="macs", generator=lambda: trained)
    return RefinedStrategy(context, RefinedSettings(priors=2, candidates=4, rounds=rounds, per_round=per_round))


def test_rounds_only_add_and_every_budget_holds(supernet: UnifiedSupernet, data: DataSplits) -> None:
    found = {rounds: (strategy := make(supernet, data, rounds), strategy.search(BUDGETS)) for rounds in (0, 1, 4)}
    for strategy, candidates in found.values():
        assert [candidate.budgets for candidate in candidates] == BUDGETS
        for candidate in candidates:
            assert candidate.budgets.allows(candidate.costs)
            assert candidate.log_probability is None
            within = [a for a in strategy.evaluator.scored if strategy.allowed(a, candidate.budgets)]
            best = max(strategy.evaluator.scored[a].top1_percent for a in within)
            assert candidate.supernet_top1_percent == best  # whatever budget it was evaluated for
    for fewer, more in ((0, 1), (1, 4)):
        assert set(found[fewer][0].evaluator.scored) < set(found[more][0].evaluator.scored)
        for before, after in zip(found[fewer][1], found[more][1], strict=True):
            assert after.supernet_top1_percent >= before.supernet_top1_percent
    strategy, _ = found[4]
    assert strategy.spent.evaluations <= 3 * (4 + 4 * 5)
    assert strategy.spent.images == 100 + strategy.spent.evaluations * (16 + len(data.validation))


def test_children_are_new_within_the_budget_and_best_predicted(supernet: UnifiedSupernet, data: DataSplits) -> None:
    strategy = make(supernet, data, 0)
    strategy.search(BUDGETS)
    evaluated = list(strategy.evaluator.scored)
    models = strategy._models(evaluated)
    few, many = (
        promising(strategy, BUDGETS[2], evaluated, models, count, np.random.default_rng(0)) for count in (3, CHILDREN)
    )
    assert few == many[:3]
    assert not set(many) & set(evaluated)
    assert all(strategy.allowed(child, BUDGETS[2]) for child in many)
    predicted = sum(model.predict(np.array([child.choices for child in many])) for model in models)
    assert list(predicted) == sorted(predicted, reverse=True)


def test_rounds_are_full_under_a_tight_budget(supernet: UnifiedSupernet, data: DataSplits) -> None:
    """Where offspring of the best are hardly ever within the budget, random networks that are fill the round."""
    strategy = make(supernet, data, 0)
    low, high = reachable(strategy.terms, "macs")
    budgets = BudgetSet((Budget("macs", low + 0.04 * (high - low)),))
    sampler = FeasibleSampler(strategy.space, strategy.costs, budgets)
    evaluated: list[Architecture] = sampler.sample(3, np.random.default_rng(1))
    models = strategy._models(evaluated)
    rng = np.random.default_rng(0)
    for _ in range(2):
        found = promising(strategy, budgets, evaluated, models, 5, rng)
        assert len(set(found) - set(evaluated)) == len(found) == 5
        assert all(strategy.allowed(child, budgets) for child in found)
        evaluated += found
    # Nothing within the budget is known to breed from: still a full round.
    assert len(promising(strategy, budgets, [], models, 5, rng)) == 5


def test_find_needs_no_search_before_it(supernet: UnifiedSupernet, data: DataSplits) -> None:
    asked, other = make(supernet, data, 2), make(supernet, data, 2)
    found = asked.find(BUDGETS[0])
    (candidate,) = other.search(BUDGETS[:1])
    assert found.architecture == candidate.architecture
    assert found.log_probability is None
    assert asked.spent.evaluations == other.spent.evaluations
    assert asked.find(BUDGETS[0]) == found  # nothing is left of a query that would change the next


def test_standardised() -> None:
    assert standardised([1.0, 3.0]).tolist() == [-1.0, 1.0]
    assert standardised([2.0, 2.0]).tolist() == [0.0, 0.0]


def test_costs_are_counted_once_for_all_budgets(
    supernet: UnifiedSupernet, data: DataSplits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every budget set looks at what was evaluated for any: that must not count each cost for each of them anew."""
    counted: list[Architecture] = []
    costs = base.exact_costs

    def exact_costs(models: Mapping[str, CostModel], architecture: Architecture) -> dict[str, float]:
        counted.append(architecture)
        return costs(models, architecture)

    monkeypatch.setattr(base, "exact_costs", exact_costs)
    low, high = reachable({"macs": build_costs(supernet.space, ["macs"])["macs"].terms}, "macs")
    budgets = [BudgetSet((Budget("macs", low + share * (high - low)),)) for share in np.linspace(0.2, 0.9, 8)]
    strategy = make(supernet, data, rounds=2, per_round=1)
    strategy.search(budgets)
    scored = list(strategy.evaluator.scored)
    assert len(counted) == len(scored) + len(budgets)  # and once for every answer
    for budget_set in budgets:
        allowed = [a for a in scored if strategy.allowed(a, budget_set)]
        assert strategy.within(budget_set, scored) == allowed
        assert len(allowed) > 0
    assert len(strategy.within(budgets[0], scored)) < len(scored)
