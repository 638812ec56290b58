"""Joint training: the weights of a supernet and a distribution over its architectures, a step of each in turn."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from anybudget.architecture import Architecture
from anybudget.costs import CostTerms, build_costs
from anybudget.data import DataSource
from anybudget.data.balanced import Selected
from anybudget.data.drawing import stratified
from anybudget.data.protocol import Split
from anybudget.decoding.reachability import extremes
from anybudget.errors import DataError, TrainingError
from anybudget.generator.distributions import BETAS, budget_gaps, mixture_macs
from anybudget.generator.free_distribution import FreeDistribution
from anybudget.generator.joint_settings import DrawName, JointSettings
from anybudget.generator.network import gumbel_softmax
from anybudget.nets import Supernet
from anybudget.nets.base import without_gradients
from anybudget.nets.synchronised import synchronised
from anybudget.runtime.accounting import Spending
from anybudget.runtime.distributed import Processes
from anybudget.spaces import SearchSpace
from anybudget.storage.checkpoint import Stateful
from anybudget.training.annealing import rate_factor
from anybudget.training.loop import TrainingContext
from anybudget.training.loss import TrainingLoss
from anybudget.training.sgd import Course, GradientStep, StepResult, run_course, train_on, training_batches

Draw = Callable[[Tensor, float, torch.Generator], Tensor]
"""From log-probabilities `[decisions, choices]`, a temperature and a source of noise: probabilities for one forward.

Of the same shape; 0 where a decision has fewer choices than the widest. In training a supernet runs what has a share
alone, so one-hot rows are a path, and train its weights and no others.
"""


def _softmax(rows: Tensor, temperature: float, generator: torch.Generator) -> Tensor:  # noqa: ARG001 - see `Draw`
    return rows.exp()


def _uniform_path(rows: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    even = torch.zeros_like(rows).masked_fill(rows.isinf(), -torch.inf)
    return gumbel_softmax(even, temperature, hard=True, generator=generator)


DRAWS: Mapping[DrawName, Draw] = {
    "softmax": _softmax,
    "gumbel": lambda rows, temperature, generator: gumbel_softmax(rows, temperature, hard=False, generator=generator),
    "gumbel-path": lambda rows, temperature, generator: gumbel_softmax(
        rows, temperature, hard=True, generator=generator
    ),
    "uniform-path": _uniform_path,
}
"""The mixture of all choices; a relaxed sample; a drawn path that has the gradient of one; a path drawn uniformly."""

PATHS: frozenset[DrawName] = frozenset({"gumbel-path", "uniform-path"})
"""Which draws give one-hot rows."""


def drawn_path(space: SearchSpace, rows: Tensor) -> Architecture:
    """The architecture that one-hot rows `[decisions, choices]` are of."""
    return Architecture(space.name, tuple(rows.detach().argmax(-1).tolist()))


@dataclass(frozen=True)
class Aim:
    """A budget to train for: the `terms` of its cost, and its place in what that can reach, 0 to 1."""

    terms: CostTerms
    position: float


@dataclass(frozen=True)
class Method:
    """A way of joint training: what weights are trained by, what the distribution is trained by, and how long.

    `name` is that in progress and errors; without an `aim` the distribution knows of no budget.
    """

    name: str
    weights: DrawName
    architecture: DrawName
    settings: JointSettings
    aim: Aim | None = None


def train_jointly(
    supernet: Supernet,
    distribution: FreeDistribution,
    data: DataSource,
    method: Method,
    *,
    seed: int = 0,
    context: TrainingContext | None = None,
) -> Spending:
    """Train the weights of a supernet and a distribution over its architectures together.

    Every step first moves the distribution by the gradient of the loss on images of its half of the training split,
    with the weights as they are, and then the weights by that on images of the other half.

    Args:
        supernet: with weights to start from; trained in place, left in evaluation mode. Its norms have no running
            statistics of their own.
        distribution: over the architectures of its space; trained in place.
        data: the training split is trained on.
        method: how.
        seed: draws the halves, the order of images, their augmentation, and samples.
        context: who watches.

    Returns:
        Every image counts once for each forward; forward multiply-adds, of a path those of its network.

    Source: DARTS §2.3, Algorithm 1 with ξ = 0 (first order); SGNAS §3.1, Eq. 3 and 4, as what it replaces.
    Differs: the budget term is the expected squared gap of `budget_gaps`, as for the generator; logits start at 0, not
        at small random numbers.

    Raises:
        ConfigError: a batch cannot be cut as the schedule says.
        DataError: there are too few training images for two halves.
        TrainingError: a loss is not finite or diverges.
        Stopped: training was asked to stop, and has been saved.
    """
    context = context or TrainingContext(processes=Processes(next(supernet.parameters()).device))
    settings, batches = method.settings, HalvedBatches(data, method.settings, seed)
    supernet.train()
    steps = _JointStep(supernet, distribution, method, batches, seed, context.processes)
    course = Course(batches, settings.epochs, rate_factor(settings, batches.per_epoch), data.classes, seed)
    with synchronised(supernet, context.processes):
        run_course(steps, course, settings, context, name=method.name)
    supernet.eval()
    return steps.spent


class HalvedBatches:
    """Batches of two halves of the training split, joined: the images that train weights, then those that do not.

    Args:
        data: the training split is halved, class by class.
        settings: `batch_size` images of each half make a batch, augmented alike.
        seed: draws the halves, the orders and the augmentation.

    Raises:
        DataError: a half has too few images.
    """

    def __init__(self, data: DataSource, settings: JointSettings, seed: int) -> None:
        parts = stratified(data.train.labels, [0.5], seed)
        count = min(map(len, parts))
        if count < settings.batch_size:
            raise DataError(
                f"half of the {len(data.train)} training images is fewer than a batch of {settings.batch_size}; lower "
                "its batch_size, or give more images"
            )
        halves: list[Split] = [Selected(data.train, part[:count]) for part in parts]
        self._weights, self._architecture = (training_batches(data, settings, seed, half) for half in halves)
        self.per_epoch, self.size = self._weights.per_epoch, self._weights.size
        self.labels, self.class_weights = self._weights.labels, self._weights.class_weights

    def epoch(
        self, epoch: int, device: torch.device, *, start: int = 0, share: Callable[[Tensor], Tensor] = lambda all_: all_
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """See `Batches.epoch`; images and labels of both halves, equally many of each."""
        both = [half.epoch(epoch, device, start=start, share=share) for half in (self._weights, self._architecture)]
        for (images, labels), (others, answers) in zip(*both, strict=True):
            yield torch.cat([images, others]), torch.cat([labels, answers])


class _JointStep(GradientStep):
    """Steps of joint training; `spent` is what they have cost."""

    def __init__(
        self,
        supernet: Supernet,
        distribution: FreeDistribution,
        method: Method,
        batches: HalvedBatches,
        seed: int,
        processes: Processes,
    ) -> None:
        super().__init__(supernet)
        self.spent = Spending()
        self._space = supernet.space
        self._distribution, self._method, self._processes = distribution, method, processes
        self._settings, self._steps_per_epoch = method.settings, batches.per_epoch
        self._loss = TrainingLoss(self._settings.label_smoothing, batches.class_weights)
        self._draws = torch.Generator().manual_seed(seed)
        self._plain = torch.optim.Adam(
            distribution.parameters(),
            lr=self._settings.architecture_learning_rate,
            betas=BETAS,
            weight_decay=self._settings.architecture_weight_decay,
        )
        self._optimiser = processes.optimiser(self._plain)
        self._macs = _Macs(supernet, method)

    def backward(self, images: Tensor, labels: Tensor, step: int) -> StepResult:
        """See `GradientStep.backward`: the distribution takes its step, the weights get their gradients."""
        started = time.perf_counter()
        images, others = images.chunk(2)
        labels, answers = labels.chunk(2)
        temperature = self._settings.temperature_at(1 + step // self._steps_per_epoch)
        self._train_distribution(others, answers, temperature)
        drawn = self._drawn(self._method.weights, self._rows().detach(), temperature, len(images))
        # What nothing but weights learn from computes as in the training of a supernet, which is faster.
        path = drawn_path(self._space, drawn) if self._method.weights in PATHS else drawn
        forward = partial(self.model, path=path)
        result = train_on(images, labels, forward, self._processes, self._settings.accumulate, lowered=self._loss)
        self.spent.seconds += time.perf_counter() - started
        return result

    def _train_distribution(self, images: Tensor, labels: Tensor, temperature: float) -> None:
        """One step down the loss of the images, and the budget term where there is an aim."""
        rows = self._rows()
        path = self._drawn(self._method.architecture, rows, temperature, len(images))
        with without_gradients(self.model), self._processes.precision():
            loss = self._loss(self.model(images, path).float(), labels)
        if not loss.requires_grad:  # nothing of what was drawn reaches the output, as in a cell without connections
            loss = loss + 0.0 * self._distribution.logits.sum()
        if self._method.aim is not None:
            loss = loss + self._settings.penalty * _gap(self._method.aim, rows)
        (mean,) = self._processes.mean([float(loss.detach())])
        if not math.isfinite(mean):
            raise TrainingError(
                f"{self._method.name}: the loss of the distribution became {mean}; lower learning_rate or "
                f"architecture_learning_rate of [search.{self._method.name}]; what was saved before is kept"
            )
        self._plain.zero_grad(set_to_none=True)
        self._processes.backward(loss)
        self._processes.average_gradients(self._distribution.parameters())
        self._optimiser.step()

    def _rows(self) -> Tensor:
        """The log-probabilities `[decisions, choices]`."""
        nothing = self._distribution.logits.new_zeros(1)
        found: Tensor = self._distribution(nothing, nothing)
        return found[0]

    def _drawn(self, name: DrawName, rows: Tensor, temperature: float, images: int) -> Tensor:
        """What a forward of so many images in this process computes with; it is counted."""
        path = DRAWS[name](rows, temperature, self._draws)
        forwarded = images * self._processes.count
        self.spent.images += forwarded
        self.spent.macs += forwarded * self._macs.per_image(name, path)
        return path

    @property
    def parts(self) -> Mapping[str, Stateful]:
        """See `GradientStep.parts`."""
        return {"distribution": self._distribution, "joint": self}

    def state_dict(self) -> dict[str, Any]:
        """The distribution's optimiser, the source of noise, and what has been spent."""
        return {
            "optimiser": self._plain.state_dict(),
            "draws": self._draws.get_state(),
            "spent": self.spent.to_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore such a state."""
        self._plain.load_state_dict(state["optimiser"])
        self._draws.set_state(state["draws"])
        self.spent = Spending(**state["spent"])


class _Macs:
    """Forward multiply-adds of what is drawn: of a mixture measured once, since all run the same; of a path counted."""

    def __init__(self, supernet: Supernet, method: Method) -> None:
        self._space = supernet.space
        self._path = build_costs(supernet.space, ("macs",))["macs"].cost
        self._mixture = 0.0
        if {method.weights, method.architecture} - PATHS:
            net, widest = copy.deepcopy(supernet), max(len(decision.choices) for decision in supernet.space.decisions)
            weight = next(net.parameters())
            even = weight.new_full((len(supernet.space.decisions), widest), 1 / widest)
            images = weight.new_zeros(2, *supernet.space.input_shape)
            self._mixture = mixture_macs(lambda x, _labels, rows: net(x, rows), images, images, even)

    def per_image(self, name: DrawName, path: Tensor) -> float:
        """Those of one image through what `name` has drawn, `[decisions, choices]`."""
        if name not in PATHS:
            return self._mixture
        return self._path(self._space.simplified(drawn_path(self._space, path)))


def _gap(aim: Aim, rows: Tensor) -> Tensor:
    """The expected squared gap between a drawn architecture's cost and the budget, in units of the interval."""
    low, high = extremes(aim.terms)
    interval = high - low or 1.0  # a constant cost has no gap to weigh
    budget = rows.new_tensor([low + aim.position * interval])
    return budget_gaps(aim.terms, rows.exp()[None], budget)[0] / interval**2
