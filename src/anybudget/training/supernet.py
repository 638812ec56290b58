"""Supernet training: paths from a sampler, one step for several, norm statistics at the end."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from anybudget.costs import build_costs
from anybudget.data import DataSource, TrainingBatches
from anybudget.errors import ConfigError
from anybudget.nets import Supernet
from anybudget.nets.synchronised import synchronised
from anybudget.runtime.accounting import TrainingSpending
from anybudget.runtime.distributed import Processes
from anybudget.spaces import PathEncoding
from anybudget.storage.checkpoint import NumpyRandom, Stateful
from anybudget.training.annealing import Annealing, rate_factor
from anybudget.training.complexity import ComplexityRate
from anybudget.training.loop import TrainingContext
from anybudget.training.loss import TrainingLoss
from anybudget.training.samplers import Length, PathSampler, ScorePaths
from anybudget.training.scoring import PathScorer
from anybudget.training.settings import SupernetSchedule
from anybudget.training.sgd import Course, GradientStep, StepResult, merge, run_course, train_on, training_batches
from anybudget.training.spreading import Spreading


def train_supernet(
    supernet: Supernet,
    sampler: PathSampler,
    data: DataSource,
    schedule: SupernetSchedule,
    *,
    seed: int = 0,
    context: TrainingContext | None = None,
) -> TrainingSpending:
    """Train the shared weights on the training split, then gather the norms' running statistics.

    Each step draws one batch and runs `paths_per_step` paths on it, one after the other, so that memory is that of one
    path; their gradients are added up before the one update, as FairNAS does. With "round" these are the paths of one
    whole round of the sampler, which makes strict fairness hold in each update; else a round may span several steps.
    The sum is not divided: weights that all paths share get `paths_per_step` times the gradient of one path, so the
    learning rate has to be lower than for one path. With `share_batch` each of them runs on images of its own instead,
    cut from the one batch and differing in number by one at most, and the gradient is that of the mean loss over the
    batch. With `complexity_rate` each path's loss is weighted by `ComplexityRate`.

    With `spread_epoch` the small operations are trained first, see `Spreading`.

    A sampler that scores paths does so on its `score_images` validation images, equally many of each class, drawn anew
    every time, with the norms of the batch.

    Several processes train the same paths in a step, each on its share of the batch, and normalise by all of it.
    Without `same_paths` each trains paths of its own: more paths a step, norms of its share alone, and every weight's
    gradient is the mean over the processes that used it.

    With `ema` the supernet ends with the average of its weights; paths are scored by the present ones.

    Raises:
        ConfigError: a step is to train a round, and the sampler has none; or a batch leaves a path fewer than 2 images;
            or the networks do not differ in complexity, which is to set their rates; or small operations are to
            spread, and none is contained in another, or the sampler scores paths.
        TrainingError: the loss is not finite or diverges.
        Stopped: training was asked to stop, and has been saved.

    Source: FairNAS, Algorithm 1 (one update for the gradients of a round).
    """
    context = context or TrainingContext(processes=Processes(next(supernet.parameters()).device))
    _check(schedule, sampler, len(data.train), context.processes)
    batches = training_batches(data, schedule, seed)
    annealing, factor = Annealing.of(schedule, batches.per_epoch), rate_factor(schedule, batches.per_epoch)
    complexity = ComplexityRate(supernet.space, annealing) if schedule.complexity_rate else None
    factor = factor if complexity is None else complexity.factor
    spread_step = schedule.spread_epoch * batches.per_epoch
    lowered = TrainingLoss(schedule.label_smoothing, batches.class_weights)
    rules = _Rules(complexity, Spreading(supernet, spread_step, seed) if spread_step else None, lowered)
    gradients = _PathsStep(supernet, sampler, data, schedule, seed, context.processes, rules)
    supernet.train()
    with synchronised(supernet, context.processes) if schedule.same_paths else nullcontext():
        run_course(
            gradients, Course(batches, schedule.epochs, factor, data.classes, seed), schedule, context, name="supernet"
        )
    record_statistics(supernet, data, seed=seed, batch_size=schedule.batch_size)
    return gradients.spent


def _check(schedule: SupernetSchedule, sampler: PathSampler, images: int, processes: Processes) -> None:
    """Check that paths of this sampler can be trained so, on so many images.

    Raises:
        ConfigError: they cannot.
    """
    if schedule.paths_per_step == "round" and not sampler.has_rounds:
        raise ConfigError(
            f'supernet.paths_per_step: "round" needs a sampler with rounds, and {type(sampler).__name__} draws paths '
            "one at a time; give a number of paths"
        )
    if schedule.spread_epoch and sampler.has_pool:
        raise ConfigError(
            f"supernet.spread_epoch: {sampler.name} scores paths of large operations, none of which is trained before "
            "small ones spread; take another supernet.sampler, or leave it out"
        )
    if schedule.share_batch:
        most = sampler.most_paths if schedule.paths_per_step == "round" else schedule.paths_per_step
        processes.check_batch(min(schedule.batch_size, images), schedule.accumulate, most)


@dataclass(frozen=True, slots=True)
class _Rules:
    """What decides, besides the sampler, which paths are trained, how much each counts, and by what loss."""

    complexity: ComplexityRate | None
    spreading: Spreading | None
    lowered: TrainingLoss

    def path(self, path: PathEncoding, step: int) -> PathEncoding:
        """What is trained in place of a path."""
        return path if self.spreading is None else self.spreading.path(path, step)

    def weight(self, path: PathEncoding, step: int) -> float:
        """What the path's loss is multiplied by."""
        return 1.0 if self.complexity is None else self.complexity.weight(path, step)


class _PathsStep(GradientStep):
    """Steps of a supernet: the gradients of several paths, added up; `spent` is what they have cost."""

    def __init__(
        self,
        supernet: Supernet,
        sampler: PathSampler,
        data: DataSource,
        schedule: SupernetSchedule,
        seed: int,
        processes: Processes,
        rules: _Rules,
    ) -> None:
        super().__init__(supernet)
        self.alike = schedule.same_paths
        self.spent = TrainingSpending()
        self._supernet, self._sampler, self._schedule, self._processes = supernet, sampler, schedule, processes
        self._macs = build_costs(supernet.space, ("macs",))["macs"].cost
        self._score = PathScorer(supernet, data, sampler.score_images, seed, self.spent, processes)
        self._paths = PathQueue(sampler, np.random.default_rng(seed), self._score)
        self._rules = rules
        self._failed: PathEncoding | None = None
        """The first path of the last step whose loss was no number."""

    def prepare(self, model: nn.Module, step: int) -> None:
        """See `GradientStep.prepare`: small operations spread before the step that is to train large ones."""
        if self._rules.spreading is not None and step == self._rules.spreading.step:
            self._rules.spreading.spread(model)

    def backward(self, images: Tensor, labels: Tensor, step: int) -> StepResult:
        """See `GradientStep.backward`."""
        processes = self._processes
        self._failed = None
        # Every process draws the paths of all, so that their samplers stay equal.
        drawn = [self._paths.take(self._schedule.paths_per_step) for _ in range(1 if self.alike else processes.count)]
        paths = [self._rules.path(path, step) for path in drawn[0 if self.alike else processes.rank]]
        if self._schedule.share_batch:
            processes.check_batch(len(images) * processes.count, self._schedule.accumulate, len(paths))
            parts = list(zip(images.tensor_split(len(paths)), labels.tensor_split(len(paths)), strict=True))
        else:
            parts = [(images, labels)] * len(paths)
        results = []
        for path, (own, answers) in zip(paths, parts, strict=True):
            weight = self._rules.weight(path, step) * len(own) / len(images)
            results.append(self._train(path, own, answers, weight))
        return merge(results)

    def _train(self, path: PathEncoding, images: Tensor, labels: Tensor, weight: float) -> StepResult:
        """Add the gradients of one path, and count them."""
        started = time.perf_counter()
        forward, parts = partial(self._supernet, path=path), self._schedule.accumulate
        lowered = self._rules.lowered
        result = train_on(images, labels, forward, self._processes, parts, weight=weight, lowered=lowered)
        if self._failed is None and not math.isfinite(result.loss):
            self._failed = path
        trained = len(images) * self._processes.count
        macs = trained * self._macs(self._supernet.space.canonical(path))
        self.spent.trained.add(trained, macs, time.perf_counter() - started)
        return result

    @property
    def parts(self) -> Mapping[str, Stateful]:
        """See `GradientStep.parts`."""
        return {"paths": self._paths, "scores": self._score, "spent": self.spent}

    @property
    def finished(self) -> bool:
        """See `GradientStep.finished`."""
        return self._sampler.finished

    @property
    def trained(self) -> str:
        """See `GradientStep.trained`."""
        if self._failed is None:
            return ""
        return f", on path {self._supernet.space.canonical(self._failed).to_dict()['choices']}"


def length_of(data: DataSource, schedule: SupernetSchedule, processes: int = 1) -> Length:
    """How long training in so many processes is."""
    steps = schedule.epochs * max(1, len(data.train) // schedule.batch_size)
    several = 1 if schedule.same_paths else processes
    if schedule.paths_per_step == "round":
        return Length(steps, several, rounds=True)
    return Length(steps, schedule.paths_per_step * several)


class PathQueue:
    """The paths of a sampler, as many at a time as a step trains; a round of the sampler may span several steps."""

    def __init__(self, sampler: PathSampler, rng: np.random.Generator, score: ScorePaths) -> None:
        self._sampler, self._rng, self._score = sampler, NumpyRandom(rng), score
        self._waiting: deque[PathEncoding] = deque()

    def take(self, count: int | Literal["round"]) -> list[PathEncoding]:
        """The next `count` paths, or those of the next round."""
        if count == "round":
            return self._sampler.paths(self._rng.generator, self._score)
        taken: list[PathEncoding] = []
        while len(taken) < count:
            if not self._waiting:
                self._waiting.extend(self._sampler.paths(self._rng.generator, self._score))
            taken.append(self._waiting.popleft())
        return taken

    def state_dict(self) -> dict[str, Any]:
        """The rest of the round, the sampler's state and the source of the next rounds."""
        return {
            "waiting": [[path.space, path.operations] for path in self._waiting],
            "sampler": self._sampler.state_dict(),
            "random": self._rng.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore such a state."""
        self._waiting = deque(PathEncoding(space, tuple(map(tuple, slots))) for space, slots in state["waiting"])
        self._sampler.load_state_dict(state["sampler"])
        self._rng.load_state_dict(state["random"])


def record_statistics(supernet: Supernet, data: DataSource, *, seed: int, batch_size: int, rounds: int = 4) -> None:
    """Replace the running statistics of all norms by averages over `rounds` fair rounds on training images.

    Fair rounds whatever the sampler was: every operation's norms need statistics, and equally many batches.

    The frozen supernet that the generator trains against normalises by these. A single architecture is never evaluated
    by them: `Evaluator` recalibrates its norms.
    """
    supernet.reset_statistics()
    rng = np.random.default_rng(seed)
    batches = _batches(data, batch_size, seed, next(supernet.parameters()).device)
    for _ in range(rounds):
        for path in supernet.space.fair_round(rng):
            supernet.record_statistics(next(batches), path)
    supernet.eval()


def _batches(data: DataSource, batch_size: int, seed: int, device: torch.device) -> Iterator[Tensor]:
    batches = TrainingBatches(data, data.train, batch_size, seed)
    for epoch in count(1):
        for images, _ in batches.epoch(epoch, device):
            yield images.contiguous(memory_format=torch.channels_last)
