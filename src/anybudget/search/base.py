"""`Strategy`: budgets in, architectures out; and `Candidate`, what every strategy returns."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from anybudget.architecture import Architecture
from anybudget.budgets import BudgetSet, least_unused_percent
from anybudget.costs import CostModel
from anybudget.decoding.feasible import FeasibleSampler
from anybudget.decoding.reachability import attainable, check_jointly_reachable
from anybudget.errors import BudgetError
from anybudget.evaluation.evaluator import Evaluator
from anybudget.evaluation.metrics import Metrics
from anybudget.runtime.accounting import Spending
from anybudget.runtime.progress import Progress, SilentProgress


@dataclass(frozen=True, slots=True)
class Candidate:
    """One architecture found for one budget set.

    `metrics` are of the validation images, with the supernet's weights; beside them stands the share of the largest
    class of these images: what always answering with it would score in top-1. `slack` is what each budget leaves
    unused, limit minus cost, in the cost's unit; never below 0. `log_probability` is None for strategies that have no
    distribution. `seconds` is the time of this query, evaluation included.
    """

    budgets: BudgetSet
    architecture: Architecture
    costs: Mapping[str, float]
    metrics: Metrics
    validation_largest_class_percent: float
    log_probability: float | None
    seconds: float

    @property
    def supernet_top1_percent(self) -> float:
        """Validation top-1 with the supernet's weights."""
        return self.metrics.top1_percent

    @property
    def slack(self) -> dict[str, float]:
        """Limit minus cost of each budget."""
        return {budget.cost: budget.limit - self.costs[budget.cost] for budget in self.budgets}

    def to_dict(self) -> dict[str, Any]:
        """The documented JSON object of `anybudget generate --json`."""
        return {
            "budgets": self.budgets.limits(),
            "architecture": self.architecture.to_dict(),
            "costs": dict(self.costs),
            "slack": self.slack,
            "unused_percent": least_unused_percent(self.budgets.limits(), self.costs),
            **self.metrics.to_dict("supernet"),
            "validation_largest_class_percent": self.validation_largest_class_percent,
            "log_probability": self.log_probability,
            "seconds": self.seconds,
        }


class Strategy(ABC):
    """A way to find architectures under hard budgets, evaluated by one supernet.

    Whatever is evaluated for a budget set is `allowed`: within every budget, and using at least the share `min_use` of
    what the budgets together leave attainable of their first cost. The floor is the same for all strategies, 0 unless
    asked for, and dropped for a budget set that no network uses as much of.

    Args:
        evaluator: the evaluator; give every strategy one of its own to compare what they spend.
        costs: every cost model of the space, by name.
        min_use: the least share of a budget that has to be used, 0 to 1.
        seed: draws everything that is random.
        progress: where long work says how far it is.
    """

    name: ClassVar[str]

    def __init__(
        self,
        evaluator: Evaluator,
        costs: Mapping[str, CostModel],
        *,
        min_use: float = 0.0,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> None:
        self.evaluator = evaluator
        self.space = evaluator.supernet.space
        self.costs = costs
        self.terms = {name: model.terms for name, model in costs.items()}
        self.min_use = min_use
        self.seed = seed
        self.progress = progress or SilentProgress()
        self.training = Spending()
        self._feasible: dict[BudgetSet, FeasibleSampler] = {}

    @property
    def spent(self) -> Spending:
        """What the search has cost so far: supernet forwards of its own training, and of evaluating."""
        return self.training + self.evaluator.spent

    def search(self, budgets: Sequence[BudgetSet]) -> list[Candidate]:
        """One candidate per budget set, in order; each meets its budgets exactly.

        All budget sets are checked before the first is answered.

        Raises:
            BudgetError: a budget set cannot be met by any architecture of the space.
        """
        for budget_set in budgets:
            check_jointly_reachable(self.terms, budget_set)
        return [self.answer(budget_set) for budget_set in budgets]

    def answer(self, budgets: BudgetSet) -> Candidate:
        """The candidate for one budget set."""
        started = time.perf_counter()
        found = self.find(budgets)
        costs = exact_costs(self.costs, found)
        if not budgets.allows(costs):
            raise BudgetError(f"{self.name}: found an architecture over {budgets}; this is a defect of the strategy")
        (metrics,) = self.evaluator.scores([found])
        seconds = time.perf_counter() - started
        return Candidate(
            budgets,
            found,
            costs,
            metrics,
            self.evaluator.largest_class_percent,
            self.log_probability(found),
            seconds,
        )

    @abstractmethod
    def find(self, budgets: BudgetSet) -> Architecture:
        """The best architecture found within the budgets, by the evaluator's primary metric.

        Raises:
            BudgetError: no architecture meets the budgets.
        """

    def log_probability(self, architecture: Architecture) -> float | None:  # noqa: ARG002 - most have no distribution
        """Natural logarithm of the probability of what `find` just returned, where there is a distribution."""
        return None

    def best(self, architectures: Sequence[Architecture]) -> Architecture:
        """The one with the highest `Metrics.rank`; evaluates those that are new."""
        scores = dict(zip(architectures, self.evaluator.scores(architectures), strict=True))
        return max(scores, key=lambda a: scores[a].rank)

    def feasible(self, budgets: BudgetSet) -> FeasibleSampler:
        """What may be evaluated for these budgets, and random networks of it.

        Raises:
            BudgetError: no architecture meets the budgets.
        """
        if budgets not in self._feasible:
            cost, floor = next(iter(budgets)).cost, 0.0
            if self.min_use:
                floor = self.min_use * attainable(self.terms, cost, budgets)
                asked = FeasibleSampler(self.space, self.costs, budgets, floor=floor)
                floor = floor if asked.sample(1, np.random.default_rng(self.seed)) else 0.0
            self._feasible[budgets] = FeasibleSampler(self.space, self.costs, budgets, floor=floor)
        return self._feasible[budgets]

    def allowed(self, architecture: Architecture, budgets: BudgetSet) -> bool:
        """Whether an architecture meets the budgets exactly, and uses as much of them as `min_use` asks for."""
        return self.feasible(budgets).allows(architecture)


def exact_costs(costs: Mapping[str, CostModel], architecture: Architecture) -> dict[str, float]:
    """Every cost of `architecture`, by name."""
    return {name: model.cost(architecture) for name, model in costs.items()}
