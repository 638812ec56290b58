"""Supernet training: paths from a sampler, one step for several, norm statistics at the end."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from itertools import count
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from anybudget.costs import build_costs
from anybudget.data import DataSource, TrainingBatches
from anybudget.errors import ConfigError
from anybudget.nets import Supernet
from anybudget.nets.modes import scoring
from anybudget.nets.prefix_tree import forward_many
from anybudget.nets.synchronised import synchronised
from anybudget.runtime.accounting import TrainingSpending
from anybudget.runtime.distributed import Processes
from anybudget.spaces import PathEncoding
from anybudget.storage.checkpoint import NumpyRandom, Stateful
from anybudget.training.annealing import Annealing
from anybudget.training.complexity import ComplexityRate
from anybudget.training.loop import TrainingContext
from anybudget.training.samplers import Length, PathSampler, ScorePaths
from anybudget.training.settings import SupernetSchedule
from anybudget.training.sgd import Course, GradientStep, StepResult, merge, run_course, train_on, training_batches


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

    A sampler that scores paths does so on its `score_images` validation images, equally many of each class, drawn anew
    every time, with the norms of the batch.

    Several processes train the same paths in a step, each on its share of the batch, and normalise by all of it.
    Without `same_paths` each trains paths of its own: more paths a step, norms of its share alone, and every weight's
    gradient is the mean over the processes that used it.

    With `ema` the supernet ends with the average of its weights; paths are scored by the present ones.

    Raises:
        ConfigError: a step is to train a round, and the sampler has none; or a batch leaves a path fewer than 2 images;
            or the networks do not differ in complexity, which is to set their rates.
        TrainingError: the loss is not finite or diverges.
        Stopped: training was asked to stop, and has been saved.

    Source: FairNAS, Algorithm 1 (one update for the gradients of a round).
    """
    if schedule.paths_per_step == "round" and not sampler.has_rounds:
        raise ConfigError(
            f'supernet.paths_per_step: "round" needs a sampler with rounds, and {type(sampler).__name__} draws paths '
            "one at a time; give a number of paths"
        )
    context = context or TrainingContext(processes=Processes(next(supernet.parameters()).device))
    if schedule.share_batch:
        most = sampler.most_paths if schedule.paths_per_step == "round" else schedule.paths_per_step
        context.processes.check_batch(min(schedule.batch_size, len(data.train)), schedule.accumulate, most)
    batches = training_batches(data, schedule, seed)
    annealing = Annealing.of(schedule, batches.per_epoch)
    complexity = ComplexityRate(supernet.space, annealing) if schedule.complexity_rate else None
    factor = annealing.cosine if complexity is None else complexity.factor
    gradients = _PathsStep(supernet, sampler, data, schedule, seed, context.processes, complexity)
    supernet.train()
    with synchronised(supernet, context.processes) if schedule.same_paths else nullcontext():
        run_course(
            gradients, Course(batches, schedule.epochs, factor, data.classes), schedule, context, name="supernet"
        )
    record_statistics(supernet, data, seed=seed, batch_size=schedule.batch_size)
    return gradients.spent


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
        complexity: ComplexityRate | None,
    ) -> None:
        super().__init__(supernet)
        self.alike = schedule.same_paths
        self.spent = TrainingSpending()
        self._supernet, self._sampler, self._schedule, self._processes = supernet, sampler, schedule, processes
        self._macs = build_costs(supernet.space, ("macs",))["macs"].cost
        self._score = PathScorer(supernet, data, sampler.score_images, seed, self.spent, processes)
        self._paths = PathQueue(sampler, np.random.default_rng(seed), self._score)
        self._complexity = complexity
        self._failed: PathEncoding | None = None
        """The first path of the last step whose loss was no number."""

    def backward(self, images: Tensor, labels: Tensor, step: int) -> StepResult:
        """See `GradientStep.backward`."""
        processes = self._processes
        self._failed = None
        # Every process draws the paths of all, so that their samplers stay equal.
        drawn = [self._paths.take(self._schedule.paths_per_step) for _ in range(1 if self.alike else processes.count)]
        paths = drawn[0 if self.alike else processes.rank]
        if self._schedule.share_batch:
            processes.check_batch(len(images) * processes.count, self._schedule.accumulate, len(paths))
            parts = list(zip(images.tensor_split(len(paths)), labels.tensor_split(len(paths)), strict=True))
        else:
            parts = [(images, labels)] * len(paths)
        results = []
        for path, (own, answers) in zip(paths, parts, strict=True):
            weight = 1.0 if self._complexity is None else self._complexity.weight(path, step)
            results.append(self._train(path, own, answers, weight * len(own) / len(images)))
        return merge(results)

    def _train(self, path: PathEncoding, images: Tensor, labels: Tensor, weight: float) -> StepResult:
        """Add the gradients of one path, and count them."""
        started = time.perf_counter()
        forward, parts = partial(self._supernet, path=path), self._schedule.accumulate
        smoothing = self._schedule.label_smoothing
        result = train_on(images, labels, forward, self._processes, parts, weight=weight, label_smoothing=smoothing)
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


class PathScorer:
    """The loss of paths on a class-balanced validation batch, drawn anew at every call, with the norms of the batch.

    Nothing else of training is on: no dropout, and no running statistics are changed.

    Source: GreedyNAS §3.2: a surrogate of 1,000 images is enough to tell good paths from weak ones.
    """

    def __init__(
        self,
        supernet: Supernet,
        data: DataSource,
        images: int,
        seed: int,
        spent: TrainingSpending,
        processes: Processes | None = None,
    ) -> None:
        self._supernet, self._data, self._images, self._spent = supernet, data, images, spent
        self._processes = processes or Processes()
        self._seed, self._calls = seed, 0
        self._macs = build_costs(supernet.space, ("macs",))["macs"].cost

    def __call__(self, paths: Sequence[PathEncoding]) -> list[float]:
        """The loss of each path."""
        started = time.perf_counter()
        device, spent = next(self._supernet.parameters()).device, self._spent
        batch = self._data.validation.sample(self._images, self._seed + self._calls, balanced=True)
        self._calls += 1
        x = self._data.normalise(batch.images.to(device)).contiguous(memory_format=torch.channels_last)
        labels = batch.labels.to(device)
        with scoring(self._supernet), self._processes.precision():
            losses = [float(F.cross_entropy(logits, labels)) for logits in forward_many(self._supernet, paths, x)]
        seconds = time.perf_counter() - started
        macs = len(batch) * sum(self._macs(self._supernet.space.canonical(path)) for path in paths)
        spent.scored.add(len(batch) * len(paths), macs, seconds)
        # Devices may round differently, and all processes have to take the same paths.
        return self._processes.same(losses)

    def state_dict(self) -> dict[str, Any]:
        """How many batches have been drawn."""
        return {"calls": self._calls}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore such a state."""
        self._calls = state["calls"]


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
