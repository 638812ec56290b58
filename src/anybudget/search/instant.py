"""Answers without judging: what a trained generator holds most probable, within the budgets, in milliseconds."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from anybudget.architecture import Architecture
from anybudget.budgets import BudgetSet
from anybudget.costs import CostModel
from anybudget.decoding.candidates import most_probable
from anybudget.decoding.feasible import FeasibleSampler
from anybudget.errors import BudgetError
from anybudget.generator.interval import TrainedInterval
from anybudget.search.base import exact_costs, found_for
from anybudget.spaces import SearchSpace

if TYPE_CHECKING:
    from anybudget.generator.network import ArchitectureGenerator


@dataclass(frozen=True, slots=True)
class Proposal:
    """An architecture for one budget set that nobody has judged: no image was looked at, so it has no accuracy.

    `log_probability` is the natural logarithm of its probability under the generator, by which it was chosen, and
    `seconds` the time of this query.
    """

    budgets: BudgetSet
    architecture: Architecture
    costs: Mapping[str, float]
    log_probability: float
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """The documented JSON object of `anybudget generate --instant --json`."""
        return {
            **found_for(self.budgets, self.architecture, self.costs),
            "judged": False,
            "log_probability": self.log_probability,
            "seconds": self.seconds,
        }


@dataclass(frozen=True)
class ProposalSettings:
    """How a generator is asked.

    Args:
        cost: the name of the cost that it is conditioned on.
        priors: how many random priors each budget set is asked for with.
        min_use: the least share of a budget that has to be used, 0 to 1; see `Strategy`.
        seed: draws the priors.
        interval: the budgets that it was trained for.
    """

    cost: str
    priors: int = 8
    min_use: float = 0.0
    seed: int = 0
    interval: TrainedInterval = field(default_factory=TrainedInterval)


class InstantGenerator:
    """A trained generator that answers budgets by itself.

    The same distributions as of `GeneratorStrategy`, of which this gives the most probable architecture that they lead
    to, exactly. That strategy judges this one and others, and takes the best of them.

    Args:
        space: the search space.
        costs: every cost model of the space, by name.
        generator: trained.
        settings: how it is asked.

    Source: SGNAS §3.2: a budget in, an architecture out, one forward pass.
    Differs: within the budgets, whatever the distributions say; the most probable for several priors.
    """

    def __init__(
        self,
        space: SearchSpace,
        costs: Mapping[str, CostModel],
        generator: ArchitectureGenerator,
        settings: ProposalSettings,
    ) -> None:
        self.space, self.costs, self.generator, self.settings = space, costs, generator, settings
        self._terms = {name: model.terms for name, model in costs.items()}
        self._priors = generator.random_priors(settings.priors, np.random.default_rng(settings.seed))

    def propose(self, budgets: Sequence[BudgetSet]) -> list[Proposal]:
        """One architecture for each budget set, in order; each meets its budgets exactly.

        Raises:
            BudgetError: a budget set cannot be met by any architecture of the space; nothing is returned.
        """
        return [self._propose(budget_set) for budget_set in budgets]

    def _propose(self, budgets: BudgetSet) -> Proposal:
        started, settings = time.perf_counter(), self.settings
        place = settings.interval.position(self._terms, settings.cost, budgets)
        sampler = FeasibleSampler.using(self.space, self.costs, budgets, settings.min_use, settings.seed)
        distributions = self.generator.log_probabilities(place, self._priors)
        architecture, log_probability = most_probable(distributions, sampler, seed=settings.seed)
        costs = exact_costs(self.costs, architecture)
        if not budgets.allows(costs):
            raise BudgetError(f"found an architecture over {budgets}; this is a defect of the decoder")
        return Proposal(budgets, architecture, costs, log_probability, time.perf_counter() - started)
