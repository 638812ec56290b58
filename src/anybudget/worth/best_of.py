"""The best of N random networks: how good it is, and how many random networks an answer is worth.

The equivalent N of an answer is the number of random networks whose best is as good, on average. Among the n that were
trained this is exact. What is better than all of them needs a model of those that were not trained: a normal one, whose
mean and spread are known as well as n networks tell them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv, chdtri, gammaln, log_ndtr, ndtr

MOST = 1e9
"""The greatest equivalent N that is told from a greater one."""

CONFIDENCE = 0.9
"""How probably the range of an equivalent N holds it."""

_ROUNDING = 1e-9
"""Figures in percent that differ by no more are equal."""

_NODES = 4000
"""Equally probable values of the spread that the posterior of it is averaged over."""
_POSITIVE: NDArray[np.float64] = np.linspace(0.0, 12.0, 4801)


def expected_best(values: Sequence[float], count: int) -> float:
    """The mean, over all choices of `count` of these values without replacement, of the greatest one.

    The value of rank i (from 1, ascending) is the greatest in C(i - 1, count - 1) of the C(n, count) choices.

    Args:
        values: figures of n networks, higher being better.
        count: 1 to n.

    Example:
        >>> expected_best([1.0, 2.0, 6.0], 2)  # the best of (1, 2), (1, 6), (2, 6)
        4.666666666666667
    """
    ordered, choices = sorted(values), math.comb(len(values), count)
    return math.fsum(value * (math.comb(index, count - 1) / choices) for index, value in enumerate(ordered))


def expected_best_of_normal(count: float) -> float:
    """The expected greatest of `count` >= 1 standard normal numbers; a `count` between whole ones is between theirs."""
    # E[X] is the integral of 1 - F over the positive numbers, minus that of F over the negative ones.
    above = np.trapezoid(-np.expm1(count * log_ndtr(_POSITIVE)), _POSITIVE)
    return float(above - np.trapezoid(np.exp(count * log_ndtr(-_POSITIVE)), _POSITIVE))


def count_of_normal(height: float) -> float:
    """How many standard normal numbers have an expected greatest of `height`; at least 1, at most `MOST`."""
    if height <= 0:
        return 1.0
    if height >= expected_best_of_normal(MOST):
        return MOST
    found = _root(lambda log: expected_best_of_normal(math.exp(log)) - height, 0.0, math.log(MOST))
    return math.exp(found)


def count_in_sample(values: Sequence[float], figure: float) -> float:
    """The N at which the expected best of N of these values is `figure`; between whole numbers, on the line.

    0 where `figure` is below their mean, the best of 1; their number where it is above the greatest. Of several N with
    equal bests it is the smallest.
    """
    best = [expected_best(values, count) for count in range(1, len(values) + 1)]
    equal = [count for count, value in enumerate(best, start=1) if abs(value - figure) <= _ROUNDING]
    if equal:
        return float(equal[0])
    reached = sum(value < figure for value in best)
    if reached in (0, len(best)):
        return float(reached)
    low, high = best[reached - 1], best[reached]
    return reached + (figure - low) / (high - low)


def least_count(values: Sequence[float], figure: float, confidence: float = 0.95) -> float:
    """An N that the figure is worth at least, whatever the distribution of networks, with this confidence.

    The share p of random networks that are at least as good is at most the upper limit of Clopper and Pearson, and the
    best of N leaves a share of 1 / (N + 1) above it on average, so N = 1 / p - 1.
    """
    above = sum(value >= figure for value in values)
    if above == len(values):
        return 0.0
    most = float(betaincinv(above + 1, len(values) - above, confidence))
    return 1.0 / most - 1.0


@dataclass(frozen=True, slots=True)
class Normal:
    """Figures of random networks as a normal distribution of which n values are known.

    Args:
        mean: of the n values.
        spread: their standard deviation (with n - 1).
        count: n, 3 or more.

    Source: the reference prior: spread² · (n - 1) / σ² is chi-squared with n - 1 degrees of freedom, and the mean is
    normal given σ, so that the next network's figure has Student's t distribution with n - 1 degrees of freedom.
    """

    mean: float
    spread: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Normal | None:
        """The distribution of these values; None where they are fewer than three, or all the same."""
        if len(values) < 3 or max(values) == min(values):
            return None
        return cls(float(np.mean(values)), float(np.std(values, ddof=1)), len(values))

    def equivalent(self, figure: float) -> float:
        """The N whose expected best is `figure`, where the expectation is over what mean and spread may be, too."""
        freedom = self.count - 1
        # E[σ] under the posterior: the spread of few values is on average too small.
        log_ratio = gammaln((freedom - 1) / 2) - gammaln(freedom / 2)
        expected_spread = self.spread * math.sqrt(freedom / 2) * math.exp(log_ratio)
        return count_of_normal((figure - self.mean) / expected_spread)

    def range(self, figure: float, error: float = 0.0) -> tuple[float, float]:
        """The N that hold the equivalent of `figure` with probability `CONFIDENCE`, with equal tails.

        Args:
            figure: of the answer.
            error: its standard error.
        """
        tail = (1 - CONFIDENCE) / 2
        low, high = (self._height(figure, error, share) for share in (tail, 1 - tail))
        return count_of_normal(low), count_of_normal(high)

    def _height(self, figure: float, error: float, share: float) -> float:
        """The quantile of (figure - mean) / σ: in how many standard deviations the figure is above the mean."""
        freedom = self.count - 1
        spreads = self.spread * np.sqrt(freedom / chdtri(freedom, 1 - (np.arange(_NODES) + 0.5) / _NODES))
        widths = np.sqrt(spreads**2 / self.count + error**2)

        def below(height: float) -> float:
            return float(ndtr((height * spreads - (figure - self.mean)) / widths).mean()) - share

        reach = 1.0
        while below(-reach) > 0 or below(reach) < 0:
            reach *= 2
        return _root(below, -reach, reach)


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    """Where a continuous function with other signs at `low` and `high` is 0."""
    from scipy.optimize import brentq  # here: it takes as long to import as most commands run

    return float(brentq(function, low, high))
