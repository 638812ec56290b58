"""How the learning rate goes: up in a warm-up, then down, to 0 with the last step or otherwise."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

from anybudget.training.optimiser_settings import OptimiserSettings
from anybudget.training.settings import Schedule

MILESTONES = (2 / 3, 11 / 12)
"""Where the learning rate falls by steps, unless epochs are given: after 8 and 11 of 12 epochs."""


@dataclass(frozen=True)
class Annealing:
    """The length of a training and of its warm-up, in steps, which count from 0."""

    steps: int
    warmup: int = 0

    @classmethod
    def of(cls, schedule: Schedule, steps_per_epoch: int) -> Self:
        """The length that a schedule says."""
        return cls(schedule.epochs * steps_per_epoch, round(schedule.warmup_epochs * steps_per_epoch))

    def progress(self, step: int) -> float:
        """What share of the steps after the warm-up has passed before this one: from 0 to below 1, and 1 at the end."""
        return min(1.0, max(0, step - self.warmup) / max(1, self.steps - self.warmup))

    def factor(self, step: int, fall: Callable[[float], float]) -> float:
        """What the learning rate is multiplied by: linear from 0 during the warm-up, then `fall` of the progress."""
        return (step + 1) / (self.warmup + 1) if step < self.warmup else fall(self.progress(step))

    def cosine(self, step: int) -> float:
        """What the learning rate is multiplied by if it falls as half a cosine."""
        return self.factor(step, lambda progress: 0.5 * (1 + math.cos(math.pi * progress)))

    def linear(self, step: int) -> float:
        """What the learning rate is multiplied by if it falls along a line."""
        return self.factor(step, lambda progress: 1.0 - progress)

    def exponential(self, step: int, rate: float, every: float) -> float:
        """What the learning rate is multiplied by if it falls by the factor `rate` after every so many steps.

        Steps are counted from the start of the training, those of the warm-up included.

        Source: timm, `StepLRScheduler` with its default `warmup_prefix = False`.
        """
        return self.factor(step, lambda _progress: float(rate ** math.floor(step / every)))

    def steps_at(self, step: int, rate: float, milestones: Sequence[int]) -> float:
        """What the learning rate is multiplied by if it falls by the factor `rate` at each of these steps."""
        return self.factor(step, lambda _progress: float(rate ** sum(step >= milestone for milestone in milestones)))

    def constant(self, step: int) -> float:
        """What the learning rate is multiplied by if it stays after the warm-up."""
        return self.factor(step, lambda _progress: 1.0)


def rate_factor(schedule: Schedule, steps_per_epoch: int) -> Callable[[int], float]:
    """What the learning rate is multiplied by in a step, which count from 0, as a schedule says.

    Example:
        >>> schedule = Schedule(
        ...     epochs=9, batch_size=2, learning_rate=1.0, annealing="exponential", decay_rate=0.5, decay_epochs=3
        ... )
        >>> [rate_factor(schedule, 10)(step) for step in (0, 29, 30, 60)]
        [1.0, 1.0, 0.5, 0.25]
    """
    return fall_of(schedule, Annealing.of(schedule, steps_per_epoch), steps_per_epoch)


def fall_of(settings: OptimiserSettings, annealing: Annealing, steps_per_epoch: int) -> Callable[[int], float]:
    """What the learning rate is multiplied by in a step of a training of this length; see `rate_factor`."""
    every = settings.decay_epochs * steps_per_epoch
    milestones = [epoch * steps_per_epoch for epoch in settings.milestones] or [
        round(share * annealing.steps) for share in MILESTONES
    ]
    falls: dict[str, Callable[[int], float]] = {
        "cosine": annealing.cosine,
        "linear": annealing.linear,
        "exponential": lambda step: annealing.exponential(step, settings.decay_rate, every),
        "steps": lambda step: annealing.steps_at(step, settings.decay_rate, milestones),
        "constant": annealing.constant,
    }
    return falls[settings.annealing]
