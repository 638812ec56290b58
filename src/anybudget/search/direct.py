"""The direct strategy: one distribution trained per budget set, what the generator does once for all."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from anybudget.budgets import BudgetSet
from anybudget.decoding.candidates import candidates_of
from anybudget.decoding.reachability import position
from anybudget.errors import ConfigError
from anybudget.generator.settings import DistributionSchedule
from anybudget.search.base import Found, SearchContext, Strategy
from anybudget.settings import Count, Rate, Settings

if TYPE_CHECKING:
    from anybudget.data import TrainingBatches
    from anybudget.generator.training import MixtureLoss
    from anybudget.training.loop import TrainingContext

_DRAWS = 8
"""Candidates drawn before the noise grows: as many as the generator draws with its 8 priors, to compare alike."""


class DirectSettings(DistributionSchedule):
    """`[search.direct]`: each distribution is trained as the schedule says, and `candidates` architectures evaluated.

    Logits move by about the learning rate a step, where the generator's many weights move them together, so that they
    need a higher one. `budgets_per_step` has no meaning but to bound `networks_per_step`.
    """

    learning_rate: Rate = 0.05
    candidates: Count = 40


class DirectStrategy(Strategy):
    """Differentiable search for every budget set anew: the N-times work that the generator amortises.

    For each budget set, one distribution is trained on the validation split against the frozen supernet with the
    generator's loss at one position, the most of the context's cost that the budgets allow; it is decoded and evaluated
    as the generator's distributions are. `training` counts what all of these trainings cost. Batches, relaxed
    architectures and candidates are drawn from the seed, equally for every budget set.

    Source: SGNAS §3.1, the N-times cost of differentiable search with a budget; the Gumbel softmax as in FBNet §3.3.
    Differs: FBNet trains the weights along with the distribution, and multiplies the cross-entropy by a power of the
    logarithm of the latency. Here weights are frozen and the budget term is added, both as for the generator, so that
    what is compared is one training for all budgets with one for each.
    """

    name = "direct"
    settings_type = DirectSettings
    conditioned = True
    settings: DirectSettings

    def __init__(self, context: SearchContext, settings: Settings | None = None) -> None:
        super().__init__(context, settings)
        if context.data is None:
            raise ConfigError(f"strategy {self.name}: trains on the validation split; give the context its data")
        self.data = context.data

    @cached_property
    def _loss(self) -> MixtureLoss:
        from anybudget.generator.training import MixtureLoss

        return MixtureLoss(self.evaluator.supernet, self._batches.class_weights)

    @cached_property
    def _batches(self) -> TrainingBatches:
        from anybudget.data import TrainingBatches

        settings, validation = self.settings, self.data.validation
        return TrainingBatches(
            self.data, validation, settings.batch_size, self.seed, class_balance=settings.class_balance
        )

    def log_probabilities(self, budgets: BudgetSet) -> list[NDArray[np.float64]]:
        """Train for this budget set: the log-probabilities of every decision's choices.

        Raises:
            BudgetError: no architecture meets the budgets; nothing was trained.
            TrainingError: the loss is not finite.
        """
        import torch

        from anybudget.generator.distributions import FixedPosition, Objective, train_distributions
        from anybudget.generator.free_distribution import FreeDistribution

        place = position(self.terms, self.context.cost.name, budgets)
        model = FreeDistribution(self.space).to(next(self.evaluator.supernet.parameters()).device)
        self.training += train_distributions(
            model,
            Objective(self._loss, self.context.cost.terms, self.settings),
            FixedPosition(place, self.settings.networks_per_step, model.logits.device),
            self._batches,
            name=self.name,
            seed=self.seed,
            context=self._training_context(budgets),
        )
        with torch.inference_mode():
            rows = model(model.logits.new_zeros(1), model.logits.new_zeros(1))[0].double().cpu().numpy()
        return [row[: len(decision.choices)] for row, decision in zip(rows, self.space.decisions, strict=True)]

    def find(self, budgets: BudgetSet) -> Found:
        """See `Strategy.find`."""
        decoded = candidates_of(
            [self.log_probabilities(budgets)],
            self.feasible(budgets),
            candidates=self.settings.candidates,
            seed=self.seed,
            draws=_DRAWS,
        )
        best = self.best(list(decoded))
        return Found(best, decoded[best])

    def _training_context(self, budgets: BudgetSet) -> TrainingContext | None:
        """Who watches the training for these budgets, by all their digits: what prints alike need not be the same."""
        if self.context.training_context is None:
            return None
        return self.context.training_context(" ".join(f"{cost} {limit!r}" for cost, limit in budgets.limits().items()))
