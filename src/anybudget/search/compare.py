"""The comparison of strategies: the same supernet, the same budgets, the same accounting."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from anybudget.architecture import Architecture
from anybudget.budgets import BudgetSet
from anybudget.costs import CostModel
from anybudget.decoding.pareto import hypervolume
from anybudget.decoding.reachability import reachable
from anybudget.evaluation.metrics import LOSS, Metrics
from anybudget.runtime.accounting import Spending
from anybudget.search.base import Candidate, Strategy

RaceOf = Callable[[Strategy, Sequence[Candidate]], tuple[list[Candidate], Spending]]
"""Races the best that a strategy has judged: its answers after the race, and what that cost; see `race_answers`."""


def compare(strategies: Sequence[Strategy], budgets: Sequence[BudgetSet], race: RaceOf | None = None) -> dict[str, Any]:
    """Run every strategy on all budget sets and return plain data, the content of `compare.json`.

    Give every strategy an evaluator of its own and the same `min_use`, so that all answer on equal terms and nobody
    profits from what another has evaluated. What a race has trained for several of them counts for each.

    Args:
        strategies: what is compared.
        budgets: what each is asked for.
        race: the race at the end of each search; none if None.

    Returns:
        `budgets`, the `cost` that orders them, the primary `metric`, the `reference` of the hypervolume, the floor
        that applied (`min_use`, and in `floors` the least cost of each budget set), and for each of `strategies` its
        `candidates`, `hypervolume`, what was `spent` (of it in `training` and in the `race`), and all that were
        `evaluated`, in order. The hypervolume is the share of the rectangle from cost 0 and 100%, or no loss, to the
        reference that is dominated by the strategy's candidates.

    Raises:
        BudgetError: a budget set cannot be met.
    """
    cost = next(iter(budgets[0])).cost
    terms = {cost: strategies[0].costs[cost].terms}
    limits = [budget_set.limits().get(cost) for budget_set in budgets]
    most = max((limit for limit in limits if limit is not None), default=0.0)
    reference = {"cost": min(most, reachable(terms, cost)[1]), **worst(strategies[0])}
    return {
        "budgets": [budget_set.limits() for budget_set in budgets],
        "cost": cost,
        "metric": strategies[0].evaluator.metric,
        "reference": reference,
        "min_use": strategies[0].min_use,
        "floors": [strategies[0].feasible(budget_set).floors for budget_set in budgets],
        "strategies": [_run(strategy, strategy.search(budgets), race, cost, reference) for strategy in strategies],
    }


def _run(
    strategy: Strategy, found: list[Candidate], race: RaceOf | None, cost: str, reference: Mapping[str, float]
) -> dict[str, Any]:
    candidates, raced = (found, None) if race is None else race(strategy, found)
    points = [
        (candidate.costs[cost] / reference["cost"], shortfall(candidate.metrics, reference)) for candidate in candidates
    ]
    return {
        "name": strategy.name,
        "candidates": [candidate.to_dict() for candidate in candidates],
        "hypervolume": hypervolume(points, (1.0, 1.0)),
        "spent": (strategy.spent + (raced or Spending())).to_dict(),
        "training": strategy.training.to_dict(),
        **({} if raced is None else {"race": raced.to_dict()}),
        "evaluated": evaluated(strategy.evaluator.scored, strategy.costs[cost]),
    }


def worst(strategy: Strategy) -> dict[str, float]:
    """The figure of the primary metric from which on a network is worth nothing: 0 %, or the loss of guessing."""
    metric = strategy.evaluator.metric
    return {metric: math.log(strategy.space.classes) if metric == LOSS else 0.0}


def shortfall(metrics: Metrics, reference: Mapping[str, float]) -> float:
    """How far a network is from the best there can be, as a share of what the reference is: 0 for 100 % or no loss."""
    if metrics.primary == LOSS:
        return metrics.loss / reference[LOSS]
    return (100.0 - metrics.value) / 100.0


def evaluated(scored: Mapping[Architecture, Metrics], cost: CostModel) -> list[dict[str, float]]:
    """Cost and metrics of everything evaluated, in order."""
    return [{"cost": cost.cost(architecture), **metrics.to_dict()} for architecture, metrics in scored.items()]
