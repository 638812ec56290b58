"""The random strategy: the best of some random architectures within the budgets."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from anybudget.architecture import Architecture
from anybudget.budgets import BudgetSet
from anybudget.costs import CostModel
from anybudget.evaluation.evaluator import Evaluator
from anybudget.runtime.progress import Progress
from anybudget.search.base import Strategy


class RandomStrategy(Strategy):
    """Evaluates random architectures and returns the best: what every other strategy has to beat.

    They are drawn uniformly from all that are allowed (see `Strategy` and `FeasibleSampler`), at most `count` for each
    budget set. Without a `min_use` many of them are much smaller than a large budget allows.
    """

    name = "random"

    def __init__(
        self,
        evaluator: Evaluator,
        costs: Mapping[str, CostModel],
        *,
        count: int = 50,
        min_use: float = 0.0,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> None:
        super().__init__(evaluator, costs, min_use=min_use, seed=seed, progress=progress)
        self.count = count

    def find(self, budgets: BudgetSet) -> Architecture:
        """See `Strategy.find`."""
        drawn = self.feasible(budgets).sample(self.count, np.random.default_rng(self.seed))
        with self.progress.task("random", len(drawn)) as task:
            self.evaluator.scores(drawn, task)
        return self.best(drawn)
