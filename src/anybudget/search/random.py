"""The random strategy: the best of some random architectures within the budgets."""

from __future__ import annotations

import numpy as np

from anybudget.budgets import BudgetSet
from anybudget.search.base import Found, Strategy
from anybudget.settings import Count, Settings


class RandomSettings(Settings):
    """`[search.random]`: at most `count` architectures are evaluated for each budget set."""

    count: Count = 50


class RandomStrategy(Strategy):
    """Evaluates random architectures and returns the best: what every other strategy has to beat.

    They are drawn uniformly from all that are allowed (see `Strategy` and `FeasibleSampler`). Without a `min_use` many
    of them are much smaller than a large budget allows.
    """

    name = "random"
    settings_type = RandomSettings
    settings: RandomSettings

    def find(self, budgets: BudgetSet) -> Found:
        """See `Strategy.find`."""
        drawn = self.feasible(budgets).sample(self.settings.count, np.random.default_rng(self.seed))
        with self.progress.task("random", len(drawn)) as task:
            self.evaluator.scores(drawn, task)
        return Found(self.best(drawn))
