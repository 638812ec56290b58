"""The direct strategy: one distribution trained per budget set, what the generator does once for all."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from anybudget.architecture import Architecture
from anybudget.budgets import BudgetSet
from anybudget.costs import CostModel
from anybudget.data import DataSource, TrainingBatches
from anybudget.decoding.candidates import candidates_of
from anybudget.decoding.reachability import position
from anybudget.evaluation.evaluator import Evaluator
from anybudget.generator.distributions import FixedPosition, GeneratorSchedule, Objective, train_distributions
from anybudget.generator.training import MixtureLoss
from anybudget.runtime.distributed import Processes
from anybudget.search.base import Strategy
from anybudget.spaces import SearchSpace
from anybudget.training.loop import TrainingContext

_DRAWS = 8
"""Candidates drawn before the noise grows: as many as the generator draws with its 8 priors, to compare alike."""


class FreeDistribution(nn.Module):
    """One distribution over architectures with a logit of its own for every choice; uniform at first."""

    absent: Tensor  # [decisions, choices]: padding of decisions with fewer choices than the widest

    def __init__(self, space: SearchSpace) -> None:
        super().__init__()
        sizes = torch.tensor([len(decision.choices) for decision in space.decisions])
        self.logits = nn.Parameter(torch.zeros(len(sizes), int(sizes.max())))
        self.register_buffer("absent", torch.arange(int(sizes.max())) >= sizes[:, None], persistent=False)

    def forward(self, positions: Tensor, priors: Tensor) -> Tensor:  # noqa: ARG002 - called as the generator is
        """The same log-probabilities `[B, decisions, choices]` for every of `B` positions; padding has `-inf`."""
        rows = self.logits.masked_fill(self.absent, -torch.inf).log_softmax(-1)
        return rows.expand(len(positions), -1, -1)


class DirectStrategy(Strategy):
    """Differentiable search for every budget set anew: the N-times work that the generator amortises.

    For each budget set, one distribution is trained on the validation split against the frozen supernet with the
    generator's loss at one position, the most of `cost` that the budgets allow; it is decoded and evaluated as the
    generator's distributions are. `training` counts what all of these trainings cost.

    Args:
        evaluator: the evaluator; its supernet is trained against, and never changed.
        costs: every cost model of the space, by name.
        cost: the one that the budget term is about.
        data: the validation split is trained on.
        schedule: the generator's; `budgets_per_step` has no meaning here. Logits move by about the learning rate a
            step, where the generator's many weights move them together, so that they need a higher one.
        candidates: how many different architectures are evaluated.
        min_use: see `Strategy`.
        seed: draws batches, relaxed architectures and candidates, equally for every budget set.
        context: who watches the training for one budget set, by its text.

    Source: SGNAS §3.1, the N-times cost of differentiable search with a budget; the Gumbel softmax as in FBNet §3.3.
    Differs: FBNet trains the weights along with the distribution, and multiplies the cross-entropy by a power of the
    logarithm of the latency. Here weights are frozen and the budget term is added, both as for the generator, so that
    what is compared is one training for all budgets with one for each.
    """

    name = "direct"

    def __init__(
        self,
        evaluator: Evaluator,
        costs: Mapping[str, CostModel],
        cost: CostModel,
        data: DataSource,
        schedule: GeneratorSchedule,
        *,
        candidates: int = 40,
        min_use: float = 0.0,
        seed: int = 0,
        context: Callable[[str], TrainingContext] | None = None,
    ) -> None:
        device = next(evaluator.supernet.parameters()).device
        self._context = context or (lambda _name: TrainingContext(processes=Processes(device)))
        super().__init__(evaluator, costs, min_use=min_use, seed=seed)
        self.cost = cost
        self.data = data
        self.schedule = schedule
        self.candidates = candidates
        self._loss: MixtureLoss | None = None
        self._decoded: dict[Architecture, float] = {}

    def log_probabilities(self, budgets: BudgetSet) -> list[NDArray[np.float64]]:
        """Train for this budget set: the log-probabilities of every decision's choices.

        Raises:
            BudgetError: no architecture meets the budgets; nothing was trained.
            TrainingError: the loss is not finite.
        """
        place = position(self.terms, self.cost.name, budgets)
        supernet = self.evaluator.supernet
        if self._loss is None:
            self._loss = MixtureLoss(supernet)
        model = FreeDistribution(self.space).to(next(supernet.parameters()).device)
        targets = FixedPosition(place, self.schedule.networks_per_step, model.logits.device)
        batches = TrainingBatches(self.data, self.data.validation, self.schedule.batch_size, self.seed)
        self.training += train_distributions(
            model,
            Objective(self._loss, self.cost.terms, self.schedule),
            targets,
            batches,
            name=self.name,
            seed=self.seed,
            context=self._context(_exact(budgets)),
        )
        with torch.inference_mode():
            rows = model(model.logits.new_zeros(1), model.logits.new_zeros(1))[0].double().cpu().numpy()
        return [row[: len(decision.choices)] for row, decision in zip(rows, self.space.decisions, strict=True)]

    def find(self, budgets: BudgetSet) -> Architecture:
        """See `Strategy.find`."""
        self._decoded = candidates_of(
            [self.log_probabilities(budgets)],
            self.feasible(budgets),
            candidates=self.candidates,
            seed=self.seed,
            draws=_DRAWS,
        )
        return self.best(list(self._decoded))

    def log_probability(self, architecture: Architecture) -> float:
        """See `Strategy.log_probability`."""
        return self._decoded[architecture]


def _exact(budgets: BudgetSet) -> str:
    """The budgets with all their digits: what prints alike need not be the same."""
    return " ".join(f"{cost} {limit!r}" for cost, limit in budgets.limits().items())
