"""Owns the random strategy: the best of some random architectures that use most of the budget."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from anybudget.architecture import Architecture
from anybudget.budgets import BudgetSet
from anybudget.costs import CostModel
from anybudget.evaluation import Evaluator
from anybudget.progress import Progress
from anybudget.search.feasible import FeasibleSampler
from anybudget.search.strategy import Strategy


class RandomStrategy(Strategy):
    """Judges random architectures and returns the best: what every other strategy has to beat.

    They meet every budget and use at least the share `window` of the first; where no architecture does, any that meet
    the budgets will do. At most `count` are judged for each budget set.
    """

    name = "random"

    def __init__(
        self,
        evaluator: Evaluator,
        costs: Mapping[str, CostModel],
        *,
        count: int = 50,
        window: float = 0.9,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> None:
        super().__init__(evaluator, costs, seed=seed, progress=progress)
        self.count = count
        self.window = window

    def find(self, budgets: BudgetSet) -> Architecture:
        """See `Strategy.find`."""
        drawn = self._draw(budgets, self.window) or self._draw(budgets, 0.0)
        with self.progress.task("random", len(drawn)) as task:
            self.evaluator.scores(drawn, task)
        return self.best(drawn)

    def _draw(self, budgets: BudgetSet, low: float) -> list[Architecture]:
        sampler = FeasibleSampler(self.space, self.costs, budgets, low=low)
        return sampler.sample(self.count, np.random.default_rng(self.seed))
