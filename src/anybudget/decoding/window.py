"""Uniform sampling of architectures whose cost lies in a window, and the random strategy's draws."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from anybudget.architecture import Architecture
from anybudget.budgets import exact_quantity
from anybudget.costs import CostModel, CostTerms, common_unit
from anybudget.decoding.reachability import reachable
from anybudget.errors import BudgetError
from anybudget.spaces import SearchSpace

_MAX_BINS = 2**17
_MAX_ROUNDS = 20


class WindowSampler:
    """Draws architectures uniformly from all whose cost lies in `[low, high]`, however rare they are.

    Counts the combinations of choices of every cost with one convolution per decision, draws a total cost by count and
    then each decision given what is left. Costs that are whole multiples of a unit are counted exactly; others are
    rounded to bins, and a draw whose exact cost falls outside the window is rejected. Pairwise costs must be of
    neighbouring decisions: counts are then kept for every way in which the decision before can interact.

    Raises:
        BudgetError: the window is empty, or the cost has pairs of decisions that are no neighbours.
    """

    def __init__(self, space: SearchSpace, cost: CostModel, low: float, high: float) -> None:
        terms, low, high = cost.terms, float(low), float(high)
        if any(e != d + 1 for d, e in terms.pairwise):
            raise BudgetError(
                f"cost {cost.name} has pairwise terms of decisions that are no neighbours; a window cannot be sampled"
            )
        least, most = reachable({cost.name: terms}, cost.name)
        if high < least or low > most or low > high:
            raise BudgetError(
                f"no architecture has {cost.name} in {exact_quantity(low)} to {exact_quantity(high)}; "
                f"reachable are {exact_quantity(least)} to {exact_quantity(most)}"
            )
        self._space, self._cost, self._low, self._high = space, cost, low, high
        if terms.combine == "max":
            terms, low, high = _counting(terms, low, high)
        tables, self._groups = _tables(terms)
        base = terms.constant + sum(float(table.min()) for table in tables)
        shifted = [table - table.min() for table in tables]
        exact = common_unit(np.concatenate([table.ravel() for table in shifted]))
        bins = _MAX_BINS // max(len(table) for table in tables)
        span = sum(float(table.max()) for table in shifted)
        if exact is not None and span / exact <= bins:
            unit, slack = exact, 0.5
        else:
            unit, slack = max(span / bins, 1e-12), len(tables) / 2 + 1
        self._rows = [np.rint(table / unit).astype(np.int64) for table in shifted]
        self._counts = self._count()
        ends = (np.arange(self._counts[0].shape[1]) >= (low - base) / unit - slack) & (
            np.arange(self._counts[0].shape[1]) <= (high - base) / unit + slack
        )
        self._weights = self._counts[0][0] * ends

    def _count(self) -> list[NDArray[np.float64]]:
        """`counts[d][g][b]`: in how many ways decisions d, d+1, ... add up to bin b after a choice of group g."""
        counts = [np.ones((1, 1))]
        for rows, groups in zip(reversed(self._rows), reversed(self._groups), strict=True):
            after = counts[0]
            total = np.zeros((len(rows), after.shape[1] + int(rows.max())))
            for before, row in enumerate(rows):
                for choice, shift in enumerate(row):
                    total[before, shift : shift + after.shape[1]] += after[groups[choice]]
            counts.insert(0, total)
        return counts

    def sample(self, count: int, rng: np.random.Generator) -> list[Architecture]:
        """Up to `count` distinct architectures; fewer when the window holds fewer or they are too rare to find.

        Raises:
            BudgetError: no architecture of the window was found.
        """
        found: dict[Architecture, None] = {}
        if self._weights.sum() > 0:
            for _ in range(_MAX_ROUNDS):
                for choices in self._draw(count, rng):
                    drawn = Architecture(self._space.name, tuple(int(choice) for choice in choices))
                    architecture = self._space.simplified(drawn)
                    if len(found) < count and self._low <= self._cost.cost(architecture) <= self._high:
                        found[architecture] = None
                if len(found) >= count:
                    break
        if not found:
            raise BudgetError(
                f"found no architecture with {self._cost.name} in {exact_quantity(self._low)} to "
                f"{exact_quantity(self._high)}"
            )
        return list(found)

    def _draw(self, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
        probabilities = self._weights / self._weights.sum()
        left = rng.choice(len(probabilities), size=count, p=probabilities)
        group = np.zeros(count, dtype=np.int64)
        choices = np.empty((count, len(self._rows)), dtype=np.int64)
        for position, (rows, groups) in enumerate(zip(self._rows, self._groups, strict=True)):
            after = self._counts[position + 1]
            rest = left[:, None] - rows[group]
            ways = after[groups[None, :], np.clip(rest, 0, after.shape[1] - 1)]
            weights = np.where((rest >= 0) & (rest < after.shape[1]), ways, 0.0)
            cumulative = np.cumsum(weights, axis=1)
            chosen = (cumulative < (1.0 - rng.random((count, 1))) * cumulative[:, -1:]).sum(axis=1)
            choices[:, position] = chosen
            left, group = rest[np.arange(count), chosen], groups[chosen]
        return choices


def _counting(terms: CostTerms, low: float, high: float) -> tuple[CostTerms, float, float]:
    """A maximum's window as that of a sum: a number within counts 1, one above more than all that can be within."""
    within, above = terms.counts_above(low, at_least=True), terms.counts_above(high)
    most = 1.0 + len(terms.unary) + len(terms.pairwise)
    pairs = {
        pair: table + most * above.pairwise.get(pair, np.zeros_like(table)) for pair, table in within.pairwise.items()
    }
    unary = tuple(row + most * too_much for row, too_much in zip(within.unary, above.unary, strict=True))
    return CostTerms(within.constant + most * above.constant, unary, pairs), 1.0, most


def _tables(terms: CostTerms) -> tuple[list[NDArray[np.float64]], list[NDArray[np.int64]]]:
    """What every decision adds, `[group of the decision before, choice]`, and the group of each of its own choices.

    Choices that interact alike with the next decision share a group; without pairwise terms there is one.
    """
    decisions = len(terms.unary)
    tables, groups = [], []
    incoming = np.zeros((1, len(terms.unary[0])))
    for decision, row in enumerate(terms.unary):
        tables.append(row + incoming)
        pair = terms.pairwise.get((decision, decision + 1))
        if pair is None:
            groups.append(np.zeros(len(row), dtype=np.int64))
            incoming = np.zeros((1, len(terms.unary[min(decision + 1, decisions - 1)])))
        else:
            incoming, members = np.unique(pair, axis=0, return_inverse=True)
            groups.append(members.ravel().astype(np.int64))
    return tables, groups
