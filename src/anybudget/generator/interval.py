"""`TrainedInterval`: the budgets that a generator is trained for, and what it is asked for outside of them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from anybudget.budgets import BudgetSet, exact_quantity
from anybudget.costs import CostTerms
from anybudget.decoding.reachability import attainable, extremes
from anybudget.errors import ConfigError
from anybudget.generator.settings import GeneratorSchedule

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TrainedInterval:
    """Between which budgets of its cost a generator is trained, in the cost's unit.

    An end of 0 is where the space ends. Positions count from 0, the least that can be reached, to 1, the most.

    Example:
        >>> import numpy as np
        >>> terms = CostTerms(0.0, (np.array([10.0, 20.0]), np.array([0.0, 30.0])))
        >>> TrainedInterval(low=20.0, high=40.0).positions(terms)
        (0.25, 0.75)
    """

    low: float = 0.0
    high: float = 0.0

    @classmethod
    def of(cls, schedule: GeneratorSchedule) -> Self:
        """The interval that a schedule says."""
        return cls(schedule.low, schedule.high)

    @property
    def whole(self) -> bool:
        """Whether it is all that the space can reach."""
        return not self.low and not self.high

    def positions(self, terms: CostTerms) -> tuple[float, float]:
        """Where its two ends lie in the reachable interval of the cost with these terms.

        Raises:
            ConfigError: an end is not in there.
        """
        if self.whole:
            return 0.0, 1.0
        low, high = self._ends(terms)
        least, most = extremes(terms)
        return (low - least) / (most - least), (high - least) / (most - least)

    def position(self, terms: Mapping[str, CostTerms], cost: str, budgets: BudgetSet) -> float:
        """What the generator is asked for: the most of its cost that the budgets allow, as a position.

        Outside of the interval it is asked for the nearest end, and a warning says so: the answer keeps its budgets as
        every answer does, but the distribution that it comes from is that of another budget.

        Args:
            terms: of every cost, by name.
            cost: the one that the generator is conditioned on.
            budgets: what is asked for.

        Raises:
            BudgetError: no architecture meets the budgets.
        """
        least, most = extremes(terms[cost])
        asked = attainable(terms, cost, budgets)
        low, high = (least, most) if self.whole else self._ends(terms[cost])
        if not low <= asked <= high:
            nearest = min(max(asked, low), high)
            log.warning(
                "budget %s: allows %s %s, and the generator was trained for %s to %s (generator.low, generator.high); "
                "it is asked for %s",
                budgets,
                exact_quantity(round(asked)),
                cost,
                exact_quantity(low),
                exact_quantity(high),
                exact_quantity(nearest),
            )
            asked = nearest
        return (asked - least) / (most - least) if most > least else 1.0

    def _ends(self, terms: CostTerms) -> tuple[float, float]:
        """Its ends in the cost's unit."""
        least, most = extremes(terms)
        for key, value in (("low", self.low), ("high", self.high)):
            if value and not least <= value <= most:
                raise ConfigError(
                    f"generator.{key}: {exact_quantity(value)} is outside of what networks of this space cost, from "
                    f"{exact_quantity(least)} to {exact_quantity(most)}; take a value from there, or 0 for its end"
                )
        low, high = self.low or least, self.high or most
        if low >= high:
            raise ConfigError(
                f"generator.low: budgets from {exact_quantity(low)} to {exact_quantity(high)} are none; take a lower "
                "one, or a greater generator.high"
            )
        return low, high
