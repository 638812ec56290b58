"""The generator strategy: train the architecture generator once, then answer any budget with a forward pass."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from anybudget.architecture import Architecture
from anybudget.budgets import BudgetSet
from anybudget.costs import CostModel
from anybudget.decoding.candidates import candidates_of
from anybudget.decoding.reachability import position
from anybudget.evaluation.evaluator import Evaluator
from anybudget.generator.network import ArchitectureGenerator
from anybudget.runtime.progress import Progress
from anybudget.search.base import Strategy


class GeneratorStrategy(Strategy):
    """Answers budgets with a trained generator, exact decoding, and the supernet as the evaluator.

    For each budget set, `priors` random priors give as many distributions. They are decoded to `candidates` different
    allowed architectures (see `Strategy`), and the one with the highest validation top-1 is returned. Without a floor
    the distributions alone decide how much of a budget is used.

    Source: SGNAS §3.2.
    Differs: the paper takes the most probable operation of every sub-block for one prior, whatever that costs. Here an
    integer program decodes within all budgets, for several priors, and the evaluator chooses among the candidates:
    a budget is a hard limit.
    """

    name = "generator"

    def __init__(
        self,
        generator: ArchitectureGenerator,
        cost: CostModel,
        costs: Mapping[str, CostModel],
        evaluator: Evaluator,
        *,
        priors: int = 8,
        candidates: int = 40,
        min_use: float = 0.0,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> None:
        super().__init__(evaluator, costs, min_use=min_use, seed=seed, progress=progress)
        self.generator = generator
        self.cost = cost
        self.candidates = candidates
        self._priors = generator.random_priors(priors, np.random.default_rng(seed))
        self._decoded: dict[Architecture, float] = {}

    def log_probabilities(self, budgets: BudgetSet) -> list[list[np.ndarray[tuple[int], np.dtype[np.float64]]]]:
        """For each prior, the log-probabilities of every decision's choices at this budget set.

        The generator is asked for the greatest value of its own cost that all the budgets together allow.

        Raises:
            BudgetError: no architecture meets the budgets.
        """
        place = position(self.terms, self.cost.name, budgets)
        return self.generator.log_probabilities(place, self._priors)

    def decode(self, budgets: BudgetSet) -> dict[Architecture, float]:
        """The distinct candidates that the priors lead to, each with its greatest log-probability; `candidates_of`.

        Raises:
            BudgetError: no architecture meets the budgets.
        """
        return candidates_of(
            self.log_probabilities(budgets),
            self.feasible(budgets),
            candidates=self.candidates,
            seed=self.seed,
        )

    def find(self, budgets: BudgetSet) -> Architecture:
        """See `Strategy.find`."""
        self._decoded = self.decode(budgets)
        return self.best(list(self._decoded))

    def log_probability(self, architecture: Architecture) -> float:
        """See `Strategy.log_probability`; the greatest over the priors."""
        return self._decoded[architecture]
