"""Owns `Strategy`: budgets in, architectures out; and `Candidate`, what every strategy returns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from anybudget.architecture import Architecture
from anybudget.budgets import BudgetSet
from anybudget.costs import CostModel


@dataclass(frozen=True, slots=True)
class Candidate:
    """One architecture found for one budget set.

    `slack` is what each budget leaves unused, limit minus cost, in the cost's unit; never below 0.
    `log_probability` is None for strategies that have no distribution. `seconds` is the time of this query, judging
    included.
    """

    budgets: BudgetSet
    architecture: Architecture
    costs: Mapping[str, float]
    supernet_top1_percent: float
    log_probability: float | None
    seconds: float

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
            "supernet_top1_percent": self.supernet_top1_percent,
            "log_probability": self.log_probability,
            "seconds": self.seconds,
        }


class Strategy(ABC):
    """A way to find architectures under hard budgets, judged by one supernet."""

    @abstractmethod
    def search(self, budgets: Sequence[BudgetSet]) -> list[Candidate]:
        """One candidate per budget set, in order; each meets its budgets exactly.

        Raises:
            BudgetError: a budget set cannot be met by any architecture of the space.
        """


def exact_costs(costs: Mapping[str, CostModel], architecture: Architecture) -> dict[str, float]:
    """Every cost of `architecture`, by name."""
    return {name: model.cost(architecture) for name, model in costs.items()}
