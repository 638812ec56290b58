"""The generator strategy: the architecture generator, trained once, answers any budget with a forward pass."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from anybudget.architecture import Architecture
from anybudget.budgets import BudgetSet
from anybudget.decoding.candidates import candidates_of
from anybudget.errors import ConfigError
from anybudget.search.base import Candidate, Found, SearchContext, Strategy
from anybudget.settings import Count, Settings


class GeneratorSettings(Settings):
    """`[search.generator]`: with how many `priors` a budget set is asked for, how many `candidates` are evaluated."""

    priors: Count = 8
    candidates: Count = 40


class GeneratorStrategy(Strategy):
    """Answers budgets with a trained generator, exact decoding, and the supernet as the evaluator.

    For each budget set, some random priors give as many distributions. They are decoded to different allowed
    architectures (see `Strategy`), and the one with the highest validation top-1 is returned. Without a floor the
    distributions alone decide how much of a budget is used.

    Source: SGNAS §3.2.
    Differs: the paper takes the most probable operation of every sub-block for one prior, whatever that costs. Here an
    exact search decodes within all budgets, for several priors, and the evaluator chooses among the candidates:
    a budget is a hard limit.
    """

    name = "generator"
    settings_type = GeneratorSettings
    needs_generator = True
    conditioned = True
    settings: GeneratorSettings

    def __init__(self, context: SearchContext, settings: Settings | None = None) -> None:
        super().__init__(context, settings)
        if context.generator is None:
            raise ConfigError(f"strategy {self.name}: needs a trained generator; give the context one")
        trained = context.generator()
        self.generator, self.training, self._interval = trained.network, trained.spent, trained.interval
        rng = np.random.default_rng(self.seed)
        self._priors = self.generator.random_priors(self.settings.priors, rng)

    def log_probabilities(self, budgets: BudgetSet) -> list[list[NDArray[np.float64]]]:
        """For each prior, the log-probabilities of every decision's choices at this budget set.

        The generator is asked for the greatest value of its own cost that all the budgets together allow, or for the
        nearest that it was trained for, see `TrainedInterval.position`.

        Raises:
            BudgetError: no architecture meets the budgets.
        """
        place = self._interval.position(self.terms, self.context.cost.name, budgets)
        return self.generator.log_probabilities(place, self._priors)

    def decode(self, budgets: BudgetSet) -> dict[Architecture, float]:
        """The distinct candidates that the priors lead to, each with its greatest log-probability; `candidates_of`.

        Raises:
            BudgetError: no architecture meets the budgets.
        """
        return candidates_of(
            self.log_probabilities(budgets),
            self.feasible(budgets),
            candidates=self.settings.candidates,
            seed=self.seed,
        )

    def search(self, budgets: Sequence[BudgetSet]) -> list[Candidate]:
        """See `Strategy.search`."""
        self.check(budgets)
        candidates: list[Candidate] = []
        with self.progress.task("generate", len(budgets)) as task:
            for budget_set in budgets:
                candidates.append(self.answer(budget_set))
                task.advance(1, str(candidates[-1].metrics))
        return candidates

    def find(self, budgets: BudgetSet) -> Found:
        """See `Strategy.find`; the probability is the greatest over the priors."""
        decoded = self.decode(budgets)
        best = self.best(list(decoded))
        return Found(best, decoded[best])
