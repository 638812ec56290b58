"""What answers to budgets are worth in truth: regret, the random search they equal, and the hypervolume they cover."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from anybudget.decoding.pareto import hypervolume
from anybudget.errors import DataError
from anybudget.tabular.truth import Truth, Values

FIRST = (1, 5, 10, 16)
"""How many networks with the best scores the truly best is looked for in: what a race among them could get."""

ROUNDING = 1e-9
"""Points of accuracy by which sums of the same numbers in another order may differ."""


@dataclass(frozen=True, eq=False)
class BudgetTruth:
    """The truth at some budgets, in multiply-adds of the full network; what is worked out once is kept.

    Raises:
        DataError: the table has no network within a budget.
    """

    truth: Truth
    limits: tuple[float, ...]

    def __post_init__(self) -> None:
        for limit, rows in zip(self.limits, self.rows, strict=True):
            if not len(rows):
                raise DataError(f"the table has no network of at most {limit / 1e6:g} M multiply-adds")

    @cached_property
    def rows(self) -> tuple[NDArray[np.int64], ...]:
        """The networks within each budget, as rows of the truth."""
        return tuple(self.truth.within(limit) for limit in self.limits)

    @cached_property
    def best(self) -> Values:
        """The highest true accuracy within each budget, in percent."""
        return np.array([self.truth.percent[rows].max() for rows in self.rows])

    def regret(self, answers: Sequence[int]) -> Values:
        """For each budget, how many points the answer, a row of the truth, is worse than the best within it."""
        return self.best - self.truth.percent[list(answers)]

    def violations(self, answers: Sequence[int]) -> int:
        """How many answers cost more than their budget."""
        return int((self.truth.macs[list(answers)] > np.array(self.limits)).sum())

    def picked(self, scores: Values) -> list[int]:
        """The network with the highest score within each budget: what exhaustive search on these scores answers."""
        return [int(rows[np.argmax(scores[rows])]) for rows in self.rows]

    def first_regret(self, scores: Values, count: int) -> Values:
        """The regret, at each budget, of the truly best among the `count` networks with the best scores."""
        answers = []
        for rows in self.rows:
            first = rows[np.argsort(-scores[rows], kind="stable")[:count]]
            answers.append(int(first[np.argmax(self.truth.percent[first])]))
        return self.regret(answers)

    def hypervolume_ratio(self, answers: Sequence[int]) -> float:
        """The hypervolume of the answers over that of the best network at every budget; 1 where all are the best.

        Budgets in MACs are minimised and accuracy is maximised, up to the largest budget and the lowest accuracy of the
        table. A budget's answer also answers larger ones.
        """
        lowest, most = float(self.truth.percent.min()), max(self.limits)

        def volume(percent: Values) -> float:
            points = np.stack([np.array(self.limits) / most, -percent], axis=1)
            # Just beyond the largest budget, or what answers it alone would not count.
            return hypervolume(points, (1.0 + 1.0 / len(self.limits), -lowest))

        whole = volume(self.best)
        return volume(self.truth.percent[list(answers)]) / whole if whole else 1.0

    def random_regret(self, evaluations: int) -> Values:
        """The expected regret, at each budget, of the best of so many random networks whose truth is known.

        They are drawn uniformly from the distinct networks within the budget, none twice, so it is exact.
        """
        return np.array([_expected_regret(self.truth.percent[rows], evaluations) for rows in self.rows])

    def equivalent(self, regret: float) -> int:
        """The equivalent N at a mean regret in points: the least true evaluations with which random search has no more.

        That is in expectation, and over the same budgets, each with so many evaluations. 1 where already one random
        network does; where only looking at every network does, the number of networks in the largest budget.
        """
        most = max(len(rows) for rows in self.rows)
        return least_count(lambda count: float(self.random_regret(count).mean()), regret, most)


def expected_best(values: Values, count: int, worth: Values | None = None) -> float:
    """The expected highest of `count` of the values `[n]`, drawn uniformly without replacement; all if `count` >= n.

    With `worth` `[n]` it is the expected worth of what has the highest value, as where test accuracy is expected of a
    network chosen by validation. The k-th lowest is the highest of those drawn with probability
    C(k-1, count-1) / C(n, count).
    """
    ordered, n = (values if worth is None else worth)[np.argsort(values, kind="stable")], len(values)
    if count >= n:
        return float(ordered[-1])
    # From the highest down: P(max <= x_k) = C(k, count) / C(n, count), as a running product that cannot overflow.
    k = np.arange(n, count, -1, dtype=np.float64)
    below = np.cumprod((k - count) / k)  # at n-1, n-2, ..., count
    at_most = np.concatenate([[1.0], below])  # at n, n-1, ..., count
    shares = at_most - np.append(at_most[1:], 0.0)
    return float(shares @ ordered[::-1][: len(shares)])


def _expected_regret(values: Values, count: int) -> float:
    return float(values.max()) - expected_best(values, count)


def least_count(falling: Callable[[int], float], target: float, most: int) -> int:
    """The least whole number from 1 to `most` at which a falling function is at most `target`; `most` if none is."""
    low, high = 1, most
    while low < high:
        middle = (low + high) // 2
        if falling(middle) <= target + ROUNDING:
            high = middle
        else:
            low = middle + 1
    return low
