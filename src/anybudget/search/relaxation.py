"""Owns the training of distributions over architectures, each towards a budget, against the frozen supernet."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from anybudget.costs import CostModel, CostTerms
from anybudget.data import DataSplits, iterate_batches
from anybudget.errors import TrainingError
from anybudget.evaluation import Spending
from anybudget.nets.base import RelaxedSupernet
from anybudget.nets.generator import gumbel_softmax
from anybudget.progress import Progress, SilentProgress
from anybudget.search.decoding import reachable
from anybudget.training.loop import Log, cosine_factor, no_log

Draw = Callable[[torch.Generator], tuple[Tensor, Tensor]]
"""What a step trains on: positions `[B]`, 0 the least reachable cost and 1 the most, and priors `[B, decisions, ...]`.

The first `networks_per_step` of the distributions that the model gives for them are sampled.
"""


@dataclass(frozen=True, slots=True)
class GeneratorSchedule:
    """How the generator is trained.

    `penalty` weighs the expected squared gap between cost and budget, in units of the reachable interval of the cost,
    so that one value serves every space. The learning rate falls to 0 along half a cosine.

    Source: SGNAS §4.1 and supplement C: Adam 0.001 (0.5, 0.999), temperature 5.0 annealed by 0.95 per epoch.
    Differs: the paper's λ = 0.0003 per MMAC² is tied to ImageNet, where over an interval of 400 MMACs it would be a
    penalty of 48, and has to hold the budget alone; here decoding does that, and the penalty only has to point the way.
    The paper keeps the learning rate constant and picks the best epoch.
    """

    epochs: int = 50
    batch_size: int = 128
    learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.5, 0.999)
    temperature: float = 5.0
    temperature_decay: float = 0.95
    penalty: float = 10.0
    straight_through: bool = False
    budgets_per_step: int = 16
    networks_per_step: int = 1


def train_distributions(
    model: nn.Module,
    relaxed: RelaxedSupernet,
    cost: CostModel,
    data: DataSplits,
    schedule: GeneratorSchedule,
    draw: Draw,
    *,
    name: str,
    seed: int = 0,
    progress: Progress | None = None,
    log: Log = no_log,
) -> Spending:
    """Train a model of distributions on the validation split against the frozen supernet.

    Each step lowers the cross-entropy of relaxed architectures, drawn from the distributions of the positions that
    `draw` gives, plus the budget term of all of them.

    Args:
        model: positions `[B]` and priors to log-probabilities `[B, decisions, choices]`, `-inf` where a decision has
            fewer choices; left in evaluation mode.
        relaxed: in the mode that the mixtures are to be computed in; never changed.
        cost: what positions are positions of.
        data: the validation split is trained on.
        schedule: how long, and with what.
        draw: called once a step with the source of all that is random.
        name: in progress and errors.
        seed: draws batches, positions and Gumbel noise.
        progress: advanced once a step.
        log: gets one row of metrics per epoch.

    Returns:
        Every image counts once for each mixture that it is forwarded through.

    Source: SGNAS §3.2, Eq. 10.

    Raises:
        TrainingError: the loss is not finite.
    """
    started = time.perf_counter()
    device = next(model.parameters()).device
    draws = torch.Generator().manual_seed(seed)
    total = schedule.epochs * max(1, len(data.validation) // schedule.batch_size)
    trainer = _Trainer(model, relaxed, cost, schedule, total)
    temperature = schedule.temperature
    model.train()
    with (progress or SilentProgress()).task(name, total) as task:
        for epoch in range(1, schedule.epochs + 1):
            began = time.perf_counter()
            sums = np.zeros(2)
            batches = iterate_batches(
                data.validation,
                schedule.batch_size,
                generator=draws,
                augment=None,
                normalise=data.normalise,
                device=device,
            )
            for steps, (images, labels) in enumerate(batches, start=1):
                cross_entropy, gap = trainer.losses(images, labels, draw, temperature, draws)
                _check(float(cross_entropy.detach()) + float(gap.detach()), name, epoch)
                trainer.update(cross_entropy, gap)
                sums += [float(cross_entropy.detach()), float(gap.detach().sqrt())]
                task.advance(1, f"epoch {epoch}/{schedule.epochs} loss {sums[0] / steps:.3f}")
            log(_row(epoch, sums / steps, temperature, time.perf_counter() - began))
            temperature *= schedule.temperature_decay
    model.eval()
    trainer.spent.seconds = time.perf_counter() - started
    return trainer.spent


class _Trainer:
    """One training: the two losses, the optimiser, and what the mixtures have cost so far."""

    def __init__(
        self, model: nn.Module, relaxed: RelaxedSupernet, cost: CostModel, schedule: GeneratorSchedule, steps: int
    ) -> None:
        self.spent = Spending()
        self._model, self._relaxed, self._terms, self._schedule = model, relaxed, cost.terms, schedule
        self._low, high = reachable({cost.name: cost.terms}, cost.name)
        self._interval = high - self._low or 1.0  # a constant cost has no gap to weigh
        self._optimiser = torch.optim.Adam(model.parameters(), lr=schedule.learning_rate, betas=schedule.betas)
        self._decay = torch.optim.lr_scheduler.LambdaLR(self._optimiser, cosine_factor(steps))
        self._macs_per_image: float | None = None

    def losses(
        self, images: Tensor, labels: Tensor, draw: Draw, temperature: float, draws: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Cross-entropy of the sampled mixtures, and the mean squared budget gap as a share of the interval squared."""
        images = images.contiguous(memory_format=torch.channels_last)
        positions, priors = draw(draws)
        log_probabilities = self._model(positions, priors)
        budgets = self._low + positions * self._interval
        gaps = budget_gaps(self._terms, log_probabilities.exp(), budgets) / self._interval**2
        samples = gumbel_softmax(
            log_probabilities[: self._schedule.networks_per_step],
            temperature,
            hard=self._schedule.straight_through,
            generator=draws,
        )
        cross_entropy = torch.stack([F.cross_entropy(self._relaxed(images, sample), labels) for sample in samples])
        self._count(images, samples)
        return cross_entropy.mean(), gaps.mean()

    def update(self, cross_entropy: Tensor, gap: Tensor) -> None:
        """One step of the optimiser down both losses."""
        loss = cross_entropy + self._schedule.penalty * gap
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self._optimiser.step()
        self._decay.step()

    def _count(self, images: Tensor, samples: Tensor) -> None:
        """Count the images of every mixture; all cost the same, so the first is measured and stands for them."""
        if self._macs_per_image is None:
            self._macs_per_image = mixture_macs(self._relaxed, images, samples[0])
        self.spent.images += len(images) * len(samples)
        self.spent.macs += self._macs_per_image * len(images) * len(samples)


def mixture_macs(relaxed: RelaxedSupernet, images: Tensor, probabilities: Tensor) -> float:
    """Multiply-adds of a mixture's forward for one image, measured over a batch.

    What is done once a batch, such as adding up kernels, is shared out; norms and activations do not count.
    """
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        relaxed(images, probabilities.detach())
    return float(counter.get_total_flops()) / 2 / len(images)


def budget_gaps(terms: CostTerms, probabilities: Tensor, budgets: Tensor) -> Tensor:
    """Expected squared difference `[B]` between a drawn architecture's cost and its budget, in closed form.

    With independent decisions this is (mean - budget)² plus the variance of the cost, so the budget term needs no
    sample and no network: many budgets per step cost next to nothing.
    """
    mean, variance = terms.moments(probabilities)
    return (mean - budgets).square() + variance


def _check(loss: float, name: str, epoch: int) -> None:
    if not math.isfinite(loss):
        raise TrainingError(f"{name}: the loss became {loss} in epoch {epoch}; lower generator.learning_rate")


def _row(epoch: int, means: NDArray[np.float64], temperature: float, seconds: float) -> dict[str, float]:
    """Metrics of an epoch; `means` holds the cross-entropy and the budget gap as a share of the interval."""
    return {
        "epoch": epoch,
        "cross_entropy": float(means[0]),
        "budget_gap_percent": 100.0 * float(means[1]),
        "temperature": temperature,
        "seconds": seconds,
    }
