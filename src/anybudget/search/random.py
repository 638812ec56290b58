"""Owns uniform sampling of architectures whose cost lies in a window, and the random strategy's draws."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from anybudget.architecture import Architecture
from anybudget.costs import CostModel, common_unit
from anybudget.errors import BudgetError
from anybudget.search.decoding import reachable
from anybudget.spaces import SearchSpace

_MAX_BINS = 2**17
_MAX_ROUNDS = 20


class WindowSampler:
    """Draws architectures uniformly from all whose cost lies in `[low, high]`, however rare they are.

    Counts the architectures of every cost with one convolution per decision, draws a total cost by count and then each
    decision given what is left. Costs that are whole multiples of a unit are counted exactly; others are rounded to
    bins, and a draw whose exact cost falls outside the window is rejected. Additive costs only.
    """

    def __init__(self, space: SearchSpace, cost: CostModel, low: float, high: float) -> None:
        if cost.terms.pairwise:
            raise BudgetError(f"cost {cost.name} has pairwise terms; a window can be sampled for additive costs only")
        least, most = reachable({cost.name: cost.terms}, cost.name)
        if high < least or low > most or low > high:
            raise BudgetError(
                f"no architecture has {cost.name} in {low:,.12g} to {high:,.12g}; "
                f"reachable are {least:,.12g} to {most:,.12g}"
            )
        self._space, self._cost, self._low, self._high = space, cost, low, high
        exact = common_unit(np.concatenate([row - row.min() for row in cost.terms.unary]))
        if exact is not None and (most - least) / exact <= _MAX_BINS:
            unit, slack = exact, 0.5
        else:
            unit, slack = max((most - least) / _MAX_BINS, 1e-12), len(cost.terms.unary) / 2 + 1
        self._rows = [np.rint((row - row.min()) / unit).astype(np.int64) for row in cost.terms.unary]
        # counts[d][b]: in how many ways decisions d, d+1, ... add up to bin b.
        self._counts: list[NDArray[np.float64]] = [np.ones(1)]
        for row in reversed(self._rows):
            after = self._counts[0]
            total = np.zeros(len(after) + int(row.max()))
            for shift in row:
                total[shift : shift + len(after)] += after
            self._counts.insert(0, total)
        bins = np.arange(len(self._counts[0]))
        window = (bins >= (low - least) / unit - slack) & (bins <= (high - least) / unit + slack)
        self._weights = self._counts[0] * window

    def sample(self, count: int, rng: np.random.Generator) -> list[Architecture]:
        """Up to `count` distinct architectures; fewer when the window holds fewer or they are too rare to find.

        Raises:
            BudgetError: no architecture of the window was found.
        """
        found: dict[Architecture, None] = {}
        if self._weights.sum() > 0:
            for _ in range(_MAX_ROUNDS):
                for choices in self._draw(count, rng):
                    architecture = Architecture(self._space.name, tuple(int(choice) for choice in choices))
                    if len(found) < count and self._low <= self._cost.cost(architecture) <= self._high:
                        found[architecture] = None
                if len(found) >= count:
                    break
        if not found:
            raise BudgetError(
                f"found no architecture with {self._cost.name} in {self._low:,.12g} to {self._high:,.12g}"
            )
        return list(found)

    def _draw(self, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
        probabilities = self._weights / self._weights.sum()
        left = rng.choice(len(probabilities), size=count, p=probabilities)
        choices = np.empty((count, len(self._rows)), dtype=np.int64)
        for position, row in enumerate(self._rows):
            after = self._counts[position + 1]
            rest = left[:, None] - row[None, :]
            weights = np.where((rest >= 0) & (rest < len(after)), after[np.clip(rest, 0, len(after) - 1)], 0.0)
            cumulative = np.cumsum(weights, axis=1)
            chosen = (cumulative < (1.0 - rng.random((count, 1))) * cumulative[:, -1:]).sum(axis=1)
            choices[:, position] = chosen
            left = rest[np.arange(count), chosen]
        return choices
