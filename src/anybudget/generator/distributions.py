"""The training of distributions over architectures, each towards a budget, against the frozen supernet."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from anybudget.costs import CostModel, CostTerms
from anybudget.data import DataSource, TrainingBatches
from anybudget.decoding.reachability import reachable
from anybudget.errors import TrainingError
from anybudget.generator.network import gumbel_softmax
from anybudget.nets.base import RelaxedSupernet
from anybudget.nets.synchronised import synchronised
from anybudget.runtime.accounting import Spending
from anybudget.runtime.distributed import Processes
from anybudget.storage.checkpoint import Stateful, TorchRandom
from anybudget.training.loop import EpochLoop, Figures, Row, TrainingContext
from anybudget.training.sgd import cosine_factor

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
    The paper keeps the learning rate constant and picks the best epoch; here it falls, so that the last epoch is the
    one to take, and no figure on validation images picks it. The paper has one budget in a step, which is one value of
    `budgets_per_step`; more give the budget term less noise and cost next to nothing.
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
    data: DataSource,
    schedule: GeneratorSchedule,
    draw: Draw,
    *,
    name: str,
    seed: int = 0,
    parts: Mapping[str, Stateful] | None = None,
    context: TrainingContext | None = None,
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
        parts: what `draw` keeps from step to step, to be saved.
        context: who watches.

    Returns:
        Every image counts once for each mixture that it is forwarded through.

    Source: SGNAS §3.2, Eq. 10.
    Differs: the budget term is of the distributions and not of the relaxed sample, see `budget_gaps`; cross-entropy is
    without the smoothing of labels that the authors' code has; `relaxed` may normalise by the batch, see
    `RelaxedSupernet`.

    Raises:
        TrainingError: the loss is not finite.
        Stopped: training was asked to stop, and has been saved.
    """
    context = context or TrainingContext(processes=Processes(next(model.parameters()).device))
    draws = torch.Generator().manual_seed(seed)
    batches = TrainingBatches(data, data.validation, schedule.batch_size, seed)
    loop = EpochLoop(batches, context, name=name, epochs=schedule.epochs)
    trainer = _Trainer(model, relaxed, cost, schedule, loop, context.processes)

    def temperature() -> float:
        return schedule.temperature * schedule.temperature_decay ** (loop.epoch - 1)

    def step(images: Tensor, labels: Tensor) -> Figures:
        return trainer.step(images, labels, draw, temperature(), draws)

    def row(epoch: int, sums: Mapping[str, float]) -> Row:
        return {
            "epoch": epoch,
            "cross_entropy": sums["cross_entropy"] / sums["steps"],
            "budget_gap_percent": 100.0 * sums["gap"] / sums["steps"],
            "temperature": temperature(),
        }

    model.train()
    with synchronised(relaxed, context.processes):
        own: dict[str, Stateful] = {"trainer": trainer, "draws": TorchRandom(draws)}
        loop.run(model, {**own, **(parts or {})}, step, row, loss="cross_entropy")
    model.eval()
    return trainer.spent


class _Trainer:
    """One training: the two losses, the optimiser, and what the mixtures have cost so far."""

    def __init__(
        self,
        model: nn.Module,
        relaxed: RelaxedSupernet,
        cost: CostModel,
        schedule: GeneratorSchedule,
        loop: EpochLoop,
        processes: Processes,
    ) -> None:
        self.spent = Spending()
        self._model, self._relaxed, self._terms, self._schedule = model, relaxed, cost.terms, schedule
        self._low, high = reachable({cost.name: cost.terms}, cost.name)
        self._interval = high - self._low or 1.0  # a constant cost has no gap to weigh
        self._plain = torch.optim.Adam(model.parameters(), lr=schedule.learning_rate, betas=schedule.betas)
        self._decay = torch.optim.lr_scheduler.LambdaLR(
            self._plain, cosine_factor(schedule.epochs * loop.steps_per_epoch)
        )
        self._loop, self._processes = loop, processes
        self._optimiser = processes.optimiser(self._plain)
        self._macs_per_image: float | None = None

    def step(self, images: Tensor, labels: Tensor, draw: Draw, temperature: float, draws: torch.Generator) -> Figures:
        """One step of the optimiser down both losses; nothing changes where they are not finite."""
        started = time.perf_counter()
        cross_entropy, gap = self._losses(images, labels, draw, temperature, draws)
        loss = cross_entropy + self._schedule.penalty * gap
        figures = self._processes.mean([float(cross_entropy.detach()), float(gap.detach().sqrt())])
        _check(sum(figures), self._loop)
        self._plain.zero_grad(set_to_none=True)
        self._processes.backward(loss)
        self._processes.average_gradients(self._model.parameters())
        self._loop.scale_rate(self._plain, self._decay)
        self._optimiser.step()
        self._decay.step()
        self.spent.seconds += time.perf_counter() - started
        return Figures(figures[0], {"cross_entropy": figures[0], "gap": figures[1]})

    def state_dict(self) -> dict[str, Any]:
        """The optimiser, its schedule, and what has been spent."""
        return {
            "optimiser": self._plain.state_dict(),
            "decay": self._decay.state_dict(),
            "spent": self.spent.to_dict(),
            "macs_per_image": self._macs_per_image,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore such a state."""
        self._plain.load_state_dict(state["optimiser"])
        self._decay.load_state_dict(state["decay"])
        self.spent = Spending(**state["spent"])
        self._macs_per_image = state["macs_per_image"]

    def _losses(
        self, images: Tensor, labels: Tensor, draw: Draw, temperature: float, draws: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Cross-entropy of the sampled mixtures, and the mean squared budget gap as a share of the interval squared."""
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
        with self._processes.precision():  # of the images; probabilities near 0 and 1 need all their digits
            logits = [self._relaxed(images, sample) for sample in samples]
        cross_entropy = torch.stack([F.cross_entropy(answers.float(), labels) for answers in logits])
        self._count(images, samples)
        return cross_entropy.mean(), gaps.mean()

    def _count(self, images: Tensor, samples: Tensor) -> None:
        """Count the images of every mixture; all cost the same, so the first is measured and stands for them."""
        if self._macs_per_image is None:
            self._macs_per_image = mixture_macs(self._relaxed, images, samples[0])
        forwarded = len(images) * len(samples) * self._processes.count
        self.spent.images += forwarded
        self.spent.macs += self._macs_per_image * forwarded


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

    Source: SGNAS §3.2, the second term of Eq. 10.
    Differs: the paper squares the gap of one relaxed sample. At its first temperatures such a sample is far from any
    architecture, and its cost far from both ends of the interval whatever the distribution; the expectation is over
    architectures. The authors' code weighs gaps above the budget 1.2 times; here both sides count alike, since decoding
    holds the budget.
    """
    mean, variance = terms.moments(probabilities)
    return (mean - budgets).square() + variance


def _check(loss: float, loop: EpochLoop) -> None:
    if not math.isfinite(loss):
        raise TrainingError(
            f"{loop.name}: the loss became {loss} in {loop.where}; lower generator.learning_rate, or set "
            "generator.rollbacks to go on by itself with a lower rate; what was saved before is kept"
        )
