"""The generator strategy: train the architecture generator once, then answer any budget with a forward pass."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from anybudget.architecture import Architecture
from anybudget.budgets import BudgetSet
from anybudget.costs import CostModel
from anybudget.data import DataSource
from anybudget.decoding.candidates import candidates_of
from anybudget.decoding.reachability import position
from anybudget.errors import ConfigError
from anybudget.evaluation.evaluator import Evaluator
from anybudget.generator.distributions import GeneratorSchedule, budget_gaps, train_distributions
from anybudget.generator.network import ArchitectureGenerator
from anybudget.nets import Supernet
from anybudget.runtime.accounting import Spending
from anybudget.runtime.progress import Progress
from anybudget.search.base import Strategy
from anybudget.spaces import SearchSpace
from anybudget.storage.checkpoint import NumpyRandom
from anybudget.training.loop import TrainingContext

__all__ = ["GeneratorSchedule", "GeneratorStrategy", "budget_gaps", "random_priors", "train_generator"]


def train_generator(
    generator: ArchitectureGenerator,
    supernet: Supernet,
    cost: CostModel,
    data: DataSource,
    schedule: GeneratorSchedule,
    *,
    seed: int = 0,
    context: TrainingContext | None = None,
) -> Spending:
    """Train the generator on the validation split against the frozen supernet; what it cost.

    Each step draws `budgets_per_step` budgets uniformly over the reachable interval of `cost` and a random prior for
    each, and lowers the budget term of all of them plus the cross-entropy of the relaxed architectures of the first
    `networks_per_step`.

    Source: SGNAS §3.2, Eq. 10 and Algorithm 1.
    Differs: the paper gives the generator one fixed random prior (its code keeps a pool, by default of one); here every
    budget has a fresh one in every step, so that a query may ask with several priors and choose among what they give.
    The paper draws budgets from a given interval (270 to 450 MMACs in its ImageNet recipe); here it is all that the
    space can reach, so that no budget is outside of what was trained. The paper's step has one budget and one network;
    the budget term of more costs next to nothing here. The authors' code smooths labels in this loss; here it is plain
    cross-entropy, as Eq. 10 has it, since the weights are frozen and cannot overfit to the labels.

    Raises:
        ConfigError: more networks than budgets in a step.
        TrainingError: the loss is not finite.
        Stopped: training was asked to stop, and has been saved.
    """
    if schedule.networks_per_step > schedule.budgets_per_step:
        raise ConfigError(
            f"networks_per_step {schedule.networks_per_step} is more than the {schedule.budgets_per_step} of "
            "budgets_per_step, each of which gives one network; take fewer networks or more budgets"
        )
    rng = np.random.default_rng(seed)

    def draw(draws: torch.Generator) -> tuple[Tensor, Tensor]:
        positions = torch.rand(schedule.budgets_per_step, generator=draws).to(generator.encoding.device)
        return positions, random_priors(generator, supernet.space, len(positions), rng)

    relaxed = supernet.eval().relaxed().train()
    return train_distributions(
        generator,
        relaxed,
        cost,
        data,
        schedule,
        draw,
        name="generator",
        seed=seed,
        parts={"priors": NumpyRandom(rng)},
        context=context,
    )


def random_priors(generator: ArchitectureGenerator, space: SearchSpace, count: int, rng: np.random.Generator) -> Tensor:
    """`count` priors `[count, decisions, slots * operations]`: one-hot maps of random architectures."""
    choices = torch.tensor([space.sample(rng).choices for _ in range(count)], device=generator.encoding.device)
    return generator.prior(choices)


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
        self._priors = random_priors(generator, self.space, priors, np.random.default_rng(seed))
        self._decoded: dict[Architecture, float] = {}

    def log_probabilities(self, budgets: BudgetSet) -> list[list[np.ndarray[tuple[int], np.dtype[np.float64]]]]:
        """For each prior, the log-probabilities of every decision's choices at this budget set.

        The generator is asked for the greatest value of its own cost that all the budgets together allow.

        Raises:
            BudgetError: no architecture meets the budgets.
        """
        place = position(self.terms, self.cost.name, budgets)
        with torch.inference_mode():
            budget = torch.full((len(self._priors),), place, device=self._priors.device)
            maps = self.generator(budget, self._priors).double().cpu().numpy()
        return [[row[: len(d.choices)] for row, d in zip(rows, self.space.decisions, strict=True)] for rows in maps]

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
