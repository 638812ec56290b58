"""Rules for how long each training is: from the time of a step to epochs that fill the hours that are there."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from anybudget.errors import ConfigError
from anybudget.planning.workload import per_epoch

SUPERNET_SHARE = 2.5
"""Epochs of the supernet for one of retraining, as in the demo (20 and 8)."""

ROUND_SHARE = 8
"""A round of a race is this part of retraining, as in the demo (1 of 8 epochs)."""

RACERS = (16, 8, 4)
"""How many networks race for a budget; the demo's, and fewer where there is less time."""

JUDGED = (64, 32, 16)
"""How many networks the supernet judges for a budget; the demo's, and fewer."""

BASELINE_SHARE = 4
"""Random networks are scored for the report's picture: this part of those that are judged."""

GENERATOR_STEPS = (140, 70, 35)
"""Steps of the generator's training; the demo's (10 epochs of 14), and fewer."""

PART_SHARE = 0.15
"""The share of the time that judging, and the generator, may take beyond the shortest."""

ENOUGH_STEPS = 1200
"""Steps of retraining that a network is given before a larger one is worth it: about what the demo gives (8 x 159)."""

FEWEST_STEPS = 100
"""Steps of retraining without which nothing can be learnt."""

MOST_EPOCHS = 300
"""Epochs of retraining after which more hardly help."""

USED = 0.9
"""The share of the time that is planned for: an estimate errs, and a run that ends early is the better error."""


@dataclass(frozen=True, slots=True)
class Lengths:
    """How long a run's parts are: epochs of retraining, networks that race and are judged, steps of the generator."""

    retrain: int
    racers: int = RACERS[-1]
    judged: int = JUDGED[-1]
    generator_steps: int = GENERATOR_STEPS[-1]

    @property
    def supernet(self) -> int:
        """Epochs of the supernet."""
        return max(1, round(SUPERNET_SHARE * self.retrain))

    @property
    def round_epochs(self) -> float:
        """Epochs of a round of the race."""
        return round(self.retrain / ROUND_SHARE, 3)

    @property
    def baseline(self) -> int:
        """Random networks that are scored for each budget."""
        return self.judged // BASELINE_SHARE


def longest(seconds: Callable[[Lengths], float], hours: float, steps_per_epoch: int) -> Lengths:
    """The longest trainings that fit into the time.

    Judging and the generator are the demo's where each takes its share of the time at most, and else shorter. As many
    networks race as leave the steps that a network is given in the demo, or the fewest.

    Args:
        seconds: of a whole run with these lengths; the longer they are the more.
        hours: that there are.
        steps_per_epoch: of retraining.

    Raises:
        ConfigError: the shortest run takes longer; says how long.
    """
    least = max(1, math.ceil(FEWEST_STEPS / steps_per_epoch))
    room, shortest = USED * hours * 3600, Lengths(least)
    if seconds(shortest) > room:
        needed = seconds(shortest) / USED / 3600
        raise ConfigError(
            f"--hours {hours:g}: the shortest run of use ({least} epochs of retraining for each network) takes "
            f"{needed:.2g} hours here; give --hours {_up(needed):g} or more, or fewer budgets"
        )
    # Not more than its share beyond the shortest, and never more than there is.
    more = min(PART_SHARE * room, (room - seconds(shortest)) / 2)
    judged = _first(JUDGED, lambda count: seconds(replace(shortest, judged=count)) - seconds(shortest) <= more)
    steps = _first(
        GENERATOR_STEPS, lambda count: seconds(replace(shortest, generator_steps=count)) - seconds(shortest) <= more
    )
    found = replace(shortest, judged=judged, generator_steps=steps)
    enough = max(least, min(MOST_EPOCHS, math.ceil(ENOUGH_STEPS / steps_per_epoch)))
    found = replace(
        found, racers=_first(RACERS, lambda count: seconds(replace(found, retrain=enough, racers=count)) <= room)
    )
    low, high = least, MOST_EPOCHS
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if seconds(replace(found, retrain=middle)) <= room else (low, middle - 1)
    return replace(found, retrain=low)


def _first(values: Sequence[int], fits: Callable[[int], bool]) -> int:
    """The first of falling values that fits, or the last."""
    return next((value for value in values if fits(value)), values[-1])


def generator_batch(validation: int) -> int:
    """Validation images in a step of the generator: the demo's, or a quarter of those that there are."""
    return max(2, min(128, validation // 4))


def generator_epochs(validation: int, steps: int) -> int:
    """Epochs of the generator on so many validation images for about so many steps."""
    return max(1, round(steps / per_epoch(validation, generator_batch(validation))))


def _up(hours: float) -> float:
    """A number of hours rounded up to two digits."""
    step = 10.0 ** (math.floor(math.log10(hours)) - 1)
    return math.ceil(hours / step) * step
