"""The integer program: the choices with the best scores under limits, whatever pairs there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from anybudget.costs import common_unit
from anybudget.decoding.limit import Limit
from anybudget.decoding.trellis import Array

if TYPE_CHECKING:
    from scipy.sparse import csr_array


@dataclass(frozen=True)
class _Pair:
    """The variables of a pair of decisions, one for every two groups of choices.

    Choices that interact alike with the other decision, having equal rows in every table, share a group: in a channel
    search 40 choices have 10 widths, and the program is an eighth of the size.
    """

    rows: NDArray[np.int64]  # group of each choice of the first decision
    columns: NDArray[np.int64]  # and of the second
    variables: NDArray[np.int64]  # [groups, groups]

    @classmethod
    def of(cls, tables: Array, start: int) -> _Pair:
        """Group the choices of `tables` `[tables, first, second]`; variables are numbered from `start`."""
        rows = np.unique(tables.transpose(1, 0, 2).reshape(tables.shape[1], -1), axis=0, return_inverse=True)[1].ravel()
        columns = np.unique(tables.reshape(-1, tables.shape[2]), axis=1, return_inverse=True)[1].ravel()
        shape = (int(rows.max()) + 1, int(columns.max()) + 1)
        return cls(rows, columns, np.arange(shape[0] * shape[1]).reshape(shape) + start)

    def values(self, table: Array) -> Array:
        """One table's value for every two groups."""
        found = np.empty(self.variables.shape)
        found[np.ix_(self.rows, self.columns)] = table
        return found


class IntegerProgram:
    """One binary variable per choice, one row per decision and per limit; pairs are linearised.

    Solved by HiGHS. Its tolerance may let a limit slip: check what it returns. SciPy is imported for a program to
    solve: most budgets never need one, and that takes longer than all else that `anybudget space` does.

    Args:
        scores: for each decision, the score of each choice.
        limits: what must hold.
        pair_scores: for some pairs of decisions, what two choices score together, `[choices, choices]`.
        gap: the relative distance from the best that will do.
    """

    def __init__(
        self,
        scores: Sequence[Array],
        limits: Sequence[Limit],
        pair_scores: Mapping[tuple[int, int], Array],
        gap: float = 0.0,
    ) -> None:
        self._gap = gap
        self._start = np.cumsum([0, *(len(row) for row in scores)])
        self._binaries = self._size = int(self._start[-1])
        self._pairs: dict[tuple[int, int], _Pair] = {}
        tables = [*(limit.terms.pairwise for limit in limits), pair_scores]
        for pair in dict.fromkeys(pair for table in tables for pair in table):
            self._pairs[pair] = _Pair.of(np.stack([table[pair] for table in tables if pair in table]), self._size)
            self._size += self._pairs[pair].variables.size
        self._objective = np.zeros(self._size)
        self._objective[: self._binaries] = -np.concatenate(scores)
        for pair, table in pair_scores.items():
            self._objective[self._pairs[pair].variables] = -self._pairs[pair].values(table)
        self._rows: list[csr_array] = []
        self._low: list[float] = []
        self._high: list[float] = []
        for decision in range(len(scores)):
            columns = self._variables(decision)
            self._add(columns, np.ones(len(columns)), 1.0, 1.0)
        for (d, e), variables in self._pairs.items():
            self._couple(d, variables.rows, variables.variables)
            self._couple(e, variables.columns, variables.variables.T)
        for limit in limits:
            self._add_limit(limit)

    def solve(self) -> tuple[int, ...] | None:
        """The best choices not yet excluded, or None when there are none."""
        from scipy.optimize import Bounds, LinearConstraint, milp
        from scipy.sparse import vstack

        result = milp(
            self._objective,
            integrality=(np.arange(self._size) < self._binaries).astype(int),
            bounds=Bounds(0, 1),
            constraints=LinearConstraint(vstack(self._rows, format="csr"), np.array(self._low), np.array(self._high)),
            options={"mip_rel_gap": self._gap},
        )
        if result.x is None:
            return None
        return tuple(int(part.argmax()) for part in np.split(result.x[: self._binaries], self._start[1:-1]))

    def exclude(self, choices: Sequence[int]) -> None:
        """Forbid exactly this combination from now on."""
        self._add(self._start[:-1] + np.array(choices), np.ones(len(choices)), -np.inf, len(choices) - 1.0)

    def _variables(self, decision: int) -> NDArray[np.int64]:
        return np.arange(self._start[decision], self._start[decision + 1])

    def _add(self, columns: NDArray[np.int64], values: Array, low: float, high: float) -> None:
        from scipy.sparse import csr_array

        row = (values, (np.zeros(len(columns), dtype=int), columns))
        self._rows.append(csr_array(row, shape=(1, self._size)))
        self._low.append(low)
        self._high.append(high)

    def _couple(self, decision: int, groups: NDArray[np.int64], variables: NDArray[np.int64]) -> None:
        """The pair variables of each group of choices add up to the variables of these choices."""
        choices = self._variables(decision)
        for group, pairs in enumerate(variables):
            members = choices[groups == group]
            columns = np.concatenate([members, pairs])
            self._add(columns, np.concatenate([-np.ones(len(members)), np.ones(len(pairs))]), 0.0, 0.0)

    def _add_limit(self, limit: Limit) -> None:
        columns, values = [np.arange(self._binaries)], [np.concatenate(limit.terms.unary)]
        for pair, table in limit.terms.pairwise.items():
            columns.append(self._pairs[pair].variables.ravel())
            values.append(self._pairs[pair].values(table).ravel())
        coefficients, bound = _scaled(np.concatenate(values), limit.most - limit.terms.constant)
        self._add(np.concatenate(columns), coefficients, -np.inf, bound)


def _scaled(values: Array, bound: float) -> tuple[Array, float]:
    """The row in its largest unit: whole numbers stay whole, so that the solver's tolerance cannot blur them."""
    unit = common_unit(values)
    if unit is not None:
        return values / unit, float(np.floor(bound / unit))
    scale = max(float(np.abs(values).max()), abs(bound)) / 1e4
    return values / scale, bound / scale
