"""The training of distributions over architectures, each towards a budget, against the frozen supernet."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from anybudget.costs import CostTerms
from anybudget.decoding.reachability import extremes
from anybudget.errors import TrainingError
from anybudget.generator.network import gumbel_softmax
from anybudget.generator.settings import DistributionSchedule
from anybudget.nets.compiled.kernels import kernels_allowed
from anybudget.nets.synchronised import synchronised
from anybudget.runtime.accounting import Spending
from anybudget.runtime.distributed import Processes
from anybudget.storage.checkpoint import Stateful
from anybudget.training.annealing import Annealing
from anybudget.training.batches import Batches
from anybudget.training.loop import EpochLoop, Figures, Row, TrainingContext

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""The loss of a mixture, a number: of images `[B, ...]`, labels `[B]` and probabilities `[decisions, choices]`.

Gradients reach the probabilities; whatever else it holds is frozen. A decision with fewer choices than the widest has
zeros in the last columns of its row.
"""


class Targets(Stateful, Protocol):
    """What each step trains on; its state is saved with the training."""

    def draw(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Positions `[B]`, 0 the least reachable cost and 1 the most, and priors `[B, ...]` as the model takes them.

        The first `networks_per_step` of the distributions that the model gives for them are sampled.
        """


class FixedPosition:
    """Targets of a model that is trained for one budget alone, whose position is `position`; there is no prior."""

    def __init__(self, position: float, count: int, device: torch.device) -> None:
        self._positions = torch.full((count,), position, device=device)

    def draw(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:  # noqa: ARG002 - nothing is random
        """See `Targets.draw`."""
        return self._positions, self._positions

    def state_dict(self) -> dict[str, Any]:
        """See `Stateful`; there is none."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Stateful`."""


BETAS = (0.5, 0.999)
"""Of Adam, as in SGNAS."""


@dataclass(frozen=True)
class Objective:
    """What is lowered: the `loss` of relaxed architectures, and the budget term of the cost with these `terms`."""

    loss: Loss
    terms: CostTerms
    schedule: DistributionSchedule


def train_distributions(
    model: nn.Module,
    objective: Objective,
    targets: Targets,
    batches: Batches,
    *,
    name: str,
    seed: int = 0,
    context: TrainingContext | None = None,
) -> Spending:
    """Train a model of distributions over architectures.

    Each step lowers the loss of relaxed architectures, drawn from the distributions of the positions that `targets`
    gives, plus the budget term of all of them.

    Args:
        model: positions `[B]` and priors to log-probabilities `[B, decisions, choices]`, `-inf` where a decision has
            fewer choices; left in evaluation mode.
        objective: the two terms of the loss, how long, and with what.
        targets: asked once a step, with the source of all that is random.
        batches: what the loss is computed on.
        name: in progress and errors.
        seed: draws positions and Gumbel noise.
        context: who watches.

    Returns:
        Every image counts once for each mixture that it is forwarded through.

    Source: SGNAS §3.2, Eq. 10.
    Differs: the budget term is of the distributions, unless `budget_loss` asks for that of the relaxed samples, see
        `budget_gaps`.

    Raises:
        TrainingError: the loss is not finite.
        Stopped: training was asked to stop, and has been saved.
    """
    context = context or TrainingContext(processes=Processes(next(model.parameters()).device))
    loop = EpochLoop(batches, context, name=name, epochs=objective.schedule.epochs)
    trainer = _Trainer(model, objective, loop, torch.Generator().manual_seed(seed))

    def row(epoch: int, sums: Mapping[str, float]) -> Row:
        return {
            "epoch": epoch,
            "cross_entropy": sums["cross_entropy"] / sums["steps"],
            "budget_gap_percent": 100.0 * sums["gap"] / sums["steps"],
            "temperature": trainer.temperature,
        }

    parts: dict[str, Stateful] = {"trainer": trainer, "targets": targets}
    model.train()
    frozen = objective.loss if isinstance(objective.loss, nn.Module) else nn.Identity()
    with synchronised(frozen, context.processes):
        loop.run(model, parts, lambda images, labels: trainer.step(images, labels, targets), row, loss="cross_entropy")
    model.eval()
    return trainer.spent


class _Trainer:
    """One training: the two losses, the optimiser, and what the mixtures have cost so far."""

    def __init__(self, model: nn.Module, objective: Objective, loop: EpochLoop, draws: torch.Generator) -> None:
        self.spent = Spending()
        self._model, self._objective, self._schedule = model, objective, objective.schedule
        self._loop, self._draws, self._processes = loop, draws, loop.context.processes
        self._low, high = extremes(objective.terms)
        self._interval = high - self._low or 1.0  # a constant cost has no gap to weigh
        schedule = self._schedule
        self._plain = torch.optim.Adam(model.parameters(), lr=schedule.learning_rate, betas=BETAS)
        cosine = Annealing(schedule.epochs * loop.steps_per_epoch).cosine
        self._decay = torch.optim.lr_scheduler.LambdaLR(
            self._plain, cosine if schedule.annealing == "cosine" else lambda _: 1.0
        )
        self._optimiser = self._processes.optimiser(self._plain)
        self._macs_per_image: float | None = None

    @property
    def temperature(self) -> float:
        """Of the Gumbel softmax in this epoch."""
        return self._schedule.temperature * self._schedule.temperature_decay ** (self._loop.epoch - 1)

    def step(self, images: Tensor, labels: Tensor, targets: Targets) -> Figures:
        """One step of the optimiser down both losses; nothing changes where they are not finite."""
        started = time.perf_counter()
        cross_entropy, gap = self._losses(images, labels, targets)
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
        """The optimiser, its schedule, the source of noise, and what has been spent."""
        return {
            "optimiser": self._plain.state_dict(),
            "decay": self._decay.state_dict(),
            "draws": self._draws.get_state(),
            "spent": self.spent.to_dict(),
            "macs_per_image": self._macs_per_image,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore such a state."""
        self._plain.load_state_dict(state["optimiser"])
        self._decay.load_state_dict(state["decay"])
        self._draws.set_state(state["draws"])
        self.spent = Spending(**state["spent"])
        self._macs_per_image = state["macs_per_image"]

    def _losses(self, images: Tensor, labels: Tensor, targets: Targets) -> tuple[Tensor, Tensor]:
        """The loss of the sampled mixtures, and the mean squared budget gap as a share of the interval squared."""
        positions, priors = targets.draw(self._draws)
        log_probabilities = self._model(positions, priors)
        budgets = self._low + positions * self._interval
        samples = gumbel_softmax(
            log_probabilities[: self._schedule.networks_per_step],
            self.temperature,
            hard=self._schedule.straight_through,
            generator=self._draws,
        )
        if self._schedule.budget_loss == "sampled":
            gaps = sampled_gaps(self._objective.terms, samples, budgets[: len(samples)]) / self._interval**2
        else:
            gaps = budget_gaps(self._objective.terms, log_probabilities.exp(), budgets) / self._interval**2
        with self._processes.precision():  # of the images; probabilities near 0 and 1 need all their digits
            losses = [self._objective.loss(images, labels, sample) for sample in samples]
        if self._macs_per_image is None:  # all mixtures cost the same, so the first is measured and stands for them
            self._macs_per_image = mixture_macs(self._objective.loss, images, labels, samples[0])
        forwarded = len(images) * len(samples) * self._processes.count
        self.spent.images += forwarded
        self.spent.macs += self._macs_per_image * forwarded
        return torch.stack(losses).mean(), gaps.mean()


def mixture_macs(loss: Loss, images: Tensor, labels: Tensor, probabilities: Tensor) -> float:
    """Multiply-adds of a mixture's forward for one image, measured over a batch.

    What is done once a batch, such as adding up kernels, is shared out; norms and activations do not count.
    """
    # PyTorch's operators alone: what the compiled ones compute is not seen by its counter.
    with kernels_allowed(False), FlopCounterMode(display=False) as counter, torch.no_grad():
        loss(images, labels, probabilities.detach())
    return float(counter.get_total_flops()) / 2 / len(images)


def budget_gaps(terms: CostTerms, probabilities: Tensor, budgets: Tensor) -> Tensor:
    """Expected squared difference `[B]` between a drawn architecture's cost and its budget, in closed form.

    With independent decisions this is (mean - budget)² plus the variance of the cost, so the budget term needs no
    sample and no network: many budgets per step cost next to nothing.

    Source: SGNAS §3.2, the second term of Eq. 10.
    Differs: the paper squares the gap of one relaxed sample (`sampled_gaps`). At its first temperatures such a sample
    is far from any architecture, and its cost far from both ends of the interval whatever the distribution; the
    expectation is over architectures. The authors' code weighs gaps above the budget 1.2 times; here both sides count
    alike, since decoding holds the budget.
    """
    mean, variance = terms.moments(probabilities)
    return (mean - budgets).square() + variance


def sampled_gaps(terms: CostTerms, samples: Tensor, budgets: Tensor) -> Tensor:
    """Squared difference `[B]` between the costs of relaxed architectures and their budgets.

    Args:
        terms: of the cost.
        samples: relaxed architectures `[B, decisions, choices]`.
        budgets: `[B]`, in the cost's unit.

    Source: SGNAS §3.2, the second term of Eq. 10, and Algorithm 1.
    """
    return (terms.relaxed(samples) - budgets).square()


def _check(loss: float, loop: EpochLoop) -> None:
    if not math.isfinite(loss):
        raise TrainingError(
            f"{loop.name}: the loss became {loss} in {loop.where}; lower its learning_rate, or set "
            "generator.rollbacks to go on by itself with a lower rate; what was saved before is kept"
        )
