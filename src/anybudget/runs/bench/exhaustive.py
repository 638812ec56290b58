"""The yardstick of searches: the best of all networks within a budget, by the supernet's score."""

from __future__ import annotations

from functools import cached_property

from anybudget.architecture import Architecture
from anybudget.budgets import BudgetSet
from anybudget.search.base import Found, Strategy


class ExhaustiveStrategy(Strategy):
    """Judges every network within the budgets: what a search on this supernet could find at most.

    Not registered: it is for spaces that can be listed, with scores that are there already.
    """

    name = "exhaustive"

    @cached_property
    def _everything(self) -> list[Architecture]:
        return list(self.space.enumerate())

    def find(self, budgets: BudgetSet) -> Found:
        """See `Strategy.find`."""
        return Found(self.best(self.within(budgets, self._everything)))
