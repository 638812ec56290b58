"""The arithmetic of axes: nice ticks, their labels, and the map from values to pixels."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from anybudget.storage.records import LARGEST

SUFFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
"""Powers of ten and their suffixes, greatest first."""


@dataclass(frozen=True, slots=True)
class Scale:
    """A linear axis: `low` is drawn at pixel `start`, `high` at pixel `end`; `ticks` lie between them."""

    low: float
    high: float
    start: float
    end: float
    step: float

    def __call__(self, value: float) -> float:
        """The pixel of `value`."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    @property
    def ticks(self) -> list[float]:
        """The multiples of `step` within the axis."""
        tolerance = 1e-9 * (self.high - self.low) / self.step
        first = math.ceil(self.low / self.step - tolerance)
        last = math.floor(self.high / self.step + tolerance)
        return [index * self.step for index in range(first, last + 1)]

    def labels(self) -> list[str]:
        """The text of every tick, with no more decimals than the step needs and one suffix for all."""
        ticks = self.ticks
        greatest = max((abs(tick) for tick in ticks), default=0.0)
        divisor, suffix = next(((size, name) for size, name in SUFFIXES if greatest >= size), (1.0, ""))
        decimals = _decimals(self.step / divisor)
        pattern = f".{decimals}f" if decimals <= 9 and greatest < 1e15 else ".6g"
        return [f"{tick / divisor:{pattern}}{suffix}".replace("-", "−") if tick else "0" for tick in ticks]


def fit(
    values: Iterable[float],
    pixels: tuple[float, float],
    *,
    ticks: int = 6,
    padding: float = 0.0,
    widen: bool = False,
    whole: bool = False,
    bounds: tuple[float, float] = (-math.inf, math.inf),
) -> Scale:
    """An axis that shows all `values` that can be shown.

    `padding` is added on both sides, as a share of the range; `widen` moves the ends out to ticks; `whole` keeps ticks
    to integers; `bounds` are limits the quantity itself has, such as 0 and 100 percent.
    """
    finite = [value for value in values if can_show(value)] or [0.0]
    low, high = _spread(min(finite), max(finite))
    low, high = low - padding * (high - low), high + padding * (high - low)
    step = _step(low, high, ticks, whole)
    if widen:
        first = math.floor(low / step + 1e-9)
        low, high = first * step, max(first + 1, math.ceil(high / step - 1e-9)) * step
    # Values beyond the bounds cannot be, but if they are on file they must be seen.
    low, high = max(low, min(bounds[0], *finite)), min(high, max(bounds[1], *finite))
    return Scale(low, high, *pixels, step)


def can_show(value: float) -> bool:
    """Whether a value has a place on an axis: a number that is finite and not absurd."""
    return abs(value) <= LARGEST


def moving_apart(positions: Sequence[float], gap: float) -> list[float]:
    """`positions` shifted as little as a single sweep can so that all are `gap` apart; order is kept."""
    order = sorted(range(len(positions)), key=lambda index: positions[index])
    moved = list(positions)
    for before, after in pairwise(order):
        moved[after] = max(moved[after], moved[before] + gap)
    return moved


def _spread(low: float, high: float) -> tuple[float, float]:
    """A range that has a width even where all values are equal, wide enough for floats to tell its ends apart."""
    greatest = max(abs(low), abs(high))
    if greatest < 1.0 / LARGEST:
        return low - 1.0, high + 1.0
    if high - low > 1e-9 * greatest:
        return low, high
    margin = 0.05 * greatest
    return low - margin, high + margin


def _step(low: float, high: float, ticks: int, whole: bool) -> float:
    rough = (high - low) / max(1, ticks)
    power = 10.0 ** math.floor(math.log10(rough))
    factors = (1.0, 2.0, 5.0, 10.0) if whole else (1.0, 2.0, 2.5, 5.0, 10.0)
    step = next(factor * power for factor in factors if factor * power >= rough * (1 - 1e-9) or factor == 10.0)
    return max(1.0, step) if whole else step


def _decimals(step: float) -> int:
    """Decimals that write multiples of `step` without rounding."""
    for decimals in range(12):
        if abs(round(step, decimals) - step) <= 1e-6 * step:
            return decimals
    return 12
