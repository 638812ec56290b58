"""The training of the architecture generator: once, for all budgets, on any supernet that has a loss of a mixture."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from anybudget.costs import CostTerms
from anybudget.errors import ConfigError
from anybudget.generator.distributions import Loss, Objective, train_distributions
from anybudget.generator.interval import TrainedInterval
from anybudget.generator.network import ArchitectureGenerator
from anybudget.generator.settings import GeneratorSchedule
from anybudget.nets import Supernet
from anybudget.runtime.accounting import Spending
from anybudget.storage.checkpoint import NumpyRandom
from anybudget.training.batches import Batches
from anybudget.training.loop import TrainingContext
from anybudget.training.loss import TrainingLoss


class MixtureLoss(nn.Module):
    """Cross-entropy of the mixtures of one of our supernets, frozen; norms normalise by the batch, nothing is random.

    Differs: the authors' code smooths labels in this loss; here it is plain cross-entropy, as SGNAS's Eq. 10 has it,
    since the weights are frozen and cannot overfit to the labels.

    Args:
        supernet: has the weights.
        class_weights: what the loss of an image of each class is multiplied by, `[C]`; 1 if None.
    """

    def __init__(self, supernet: Supernet, class_weights: Tensor | None = None) -> None:
        super().__init__()
        self.relaxed = supernet.eval().relaxed().train()
        self._loss = TrainingLoss(class_weights=class_weights)

    def forward(self, images: Tensor, labels: Tensor, probabilities: Tensor) -> Tensor:
        """Images `[B, C, H, W]`, labels `[B]` and probabilities `[decisions, choices]` to a number, in nats."""
        return self._loss(self.relaxed(images, probabilities).float(), labels)


def train_generator(
    generator: ArchitectureGenerator,
    loss: Loss,
    terms: CostTerms,
    batches: Batches,
    schedule: GeneratorSchedule | None = None,
    *,
    seed: int = 0,
    context: TrainingContext | None = None,
) -> Spending:
    """Train the generator against a frozen supernet; what it cost.

    Each step draws `budgets_per_step` budgets uniformly over the interval of the schedule, by default all that the cost
    can reach, and a prior for each, and lowers the budget term of all of them plus the loss of the relaxed
    architectures of the first `networks_per_step`.

    Args:
        generator: trained in place, left in evaluation mode.
        loss: of a mixture: `MixtureLoss` of one of our supernets, or what another one has.
        terms: the cost that budgets are of, for the decisions and choices that the generator was made for.
        batches: images that the supernet was not trained on: `TrainingBatches`, `ListedBatches`.
        schedule: how long, and with what; its `batch_size` is not used here.
        seed: draws budgets, priors and noise.
        context: who watches.

    Source: SGNAS §3.2, Eq. 10 and Algorithm 1.
    Differs: the paper gives the generator one fixed random prior (its code keeps a pool, by default of one); here every
    budget has a fresh one in every step, so that a query may ask with several priors and choose among what they give,
    unless the generator was made with a `fixed_prior`. The paper draws budgets from a given interval (270 to 450 MMACs
    in its ImageNet recipe), as `low` and `high` of the schedule do; by default it is all that the space can reach, so
    that no budget is outside of what was trained. The paper's step has one budget and one network; the budget term of
    more costs next to nothing here.

    Raises:
        ConfigError: more networks than budgets in a step, terms of other choices than the generator's, or an interval
            that cannot be reached.
        TrainingError: the loss is not finite.
        Stopped: training was asked to stop, and has been saved.
    """
    schedule = schedule or GeneratorSchedule()
    if schedule.networks_per_step > schedule.budgets_per_step:
        raise ConfigError(
            f"networks_per_step {schedule.networks_per_step} is more than the {schedule.budgets_per_step} of "
            "budgets_per_step, each of which gives one network; take fewer networks or more budgets"
        )
    sizes = [len(row) for row in terms.unary]
    if sizes != generator.sizes:
        raise ConfigError(
            f"the cost terms are of decisions with {sizes} choices, the generator's have {generator.sizes}; make both "
            "for the same decisions"
        )
    interval = TrainedInterval.of(schedule).positions(terms)
    targets = _RandomBudgets(generator, schedule.budgets_per_step, interval, np.random.default_rng(seed))
    objective = Objective(loss, terms, schedule)
    return train_distributions(generator, objective, targets, batches, name="generator", seed=seed, context=context)


class _RandomBudgets:
    """Budgets drawn uniformly between two positions, each with a prior: the `Targets` of the generator."""

    def __init__(
        self, generator: ArchitectureGenerator, count: int, interval: tuple[float, float], rng: np.random.Generator
    ) -> None:
        self._generator, self._count, self._interval, self._rng = generator, count, interval, rng

    def draw(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """See `Targets.draw`."""
        low, high = self._interval
        positions = low + (high - low) * torch.rand(self._count, generator=generator)
        positions = positions.to(self._generator.encoding.device)
        return positions, self._generator.random_priors(self._count, self._rng)

    def state_dict(self) -> dict[str, Any]:
        """See `Stateful`."""
        return NumpyRandom(self._rng).state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Stateful`."""
        NumpyRandom(self._rng).load_state_dict(state)
