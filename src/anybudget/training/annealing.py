"""How the learning rate goes: up in a warm-up, then down to 0 with the last step."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from anybudget.training.settings import Schedule


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
