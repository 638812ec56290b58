"""`Trellis`: sums over choices and pairs of choices as paths through states, for dynamic programming."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np
from numpy.typing import NDArray

from anybudget.costs import CostTerms

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

_MOST_EDGES = 2**18
"""Edges of one step, at most: pairs of far decisions keep many choices open at once."""


@dataclass(frozen=True, slots=True)
class Step:
    """One decision: what each choice adds in each state, `[functions, states, choices]`, and the state that follows."""

    values: Array
    after: Indices


@dataclass(frozen=True, slots=True)
class Priced:
    """The most that what is left of a path can be worth when every limit is replaced by a price (Lagrange)."""

    prices: Array  # [n, limits]
    left: list[Array]  # for every decision, [n, states]

    def of(self, rows: slice, spare: Array, decision: int, state: Indices) -> Array:
        """`[n, paths]` for some rows of the prices: what is spare `[limits, paths]`, sold, and the rest of the path."""
        return self.prices[rows] @ spare + self.left[decision][rows, state]

    def bound(self, room: Array) -> Array:
        """`[n]`, for whole paths."""
        return np.asarray(self.left[0][:, 0] + self.prices @ room)


class Trellis:
    """Several functions of the same decisions, each a `CostTerms`, as one layered graph; a path is an architecture.

    A state is what later decisions have to know of earlier ones: the choice of every decision that has a pair still to
    come. Choices that interact alike in every function share a state, so additive functions have one state, and those
    with pairs of neighbours as many as there are distinct rows. Constants are left to the caller.
    """

    def __init__(self, steps: Sequence[Step]) -> None:
        self.steps = list(steps)

    @cached_property
    def _in_one(self) -> tuple[Array, Indices] | None:
        """All values side by side `[functions, choices of all decisions]`, and where each decision begins.

        None where some step has several states.
        """
        if any(step.values.shape[1] > 1 for step in self.steps):
            return None
        starts = np.cumsum([0, *(step.values.shape[2] for step in self.steps[:-1])])
        return np.concatenate([step.values[:, 0] for step in self.steps], axis=1), starts

    @classmethod
    def of(cls, functions: Sequence[CostTerms]) -> Trellis | None:
        """The trellis of functions of the same decisions; None where too many choices would be open at once."""
        tables = [_ordered(terms) for terms in functions]
        sizes = [len(row) for row in functions[0].unary]
        last: dict[int, int] = {}
        for d, e in (pair for table in tables for pair in table):
            last[d] = max(e, last.get(d, e))
        groups = {d: _groups(d, size, tables) for d, size in enumerate(sizes) if d in last}
        steps, opened = [], list[int]()
        for decision, size in enumerate(sizes):
            following = [d for d in [*opened, decision] if last.get(d, -1) > decision]
            shape = tuple(len(groups[d][1]) for d in opened)
            if prod(shape) * size > _MOST_EDGES:
                return None
            states = np.indices(shape).reshape(len(opened), prod(shape))  # [open decisions, states]
            values = np.empty((len(functions), states.shape[1], size))
            for number, (terms, table) in enumerate(zip(functions, tables, strict=True)):
                values[number] = terms.unary[decision]
                for d, of_state in zip(opened, states, strict=True):
                    if (d, decision) in table:
                        values[number] += table[d, decision][groups[d][1][of_state]]
            index = dict(zip(opened, states[:, :, None], strict=True))
            if decision in groups:
                index[decision] = groups[decision][0][None, :]
            after = np.zeros((states.shape[1], size), dtype=np.int64)
            for d in following:
                after = after * len(groups[d][1]) + index[d]
            steps.append(Step(values, after))
            opened = following
        return cls(steps)

    def adding(self, rows: Sequence[Array]) -> Trellis:
        """The same with `rows`, a number for every choice of every decision, added to the last function."""
        steps = []
        for step, row in zip(self.steps, rows, strict=True):
            values = step.values.copy()
            values[-1] += row
            steps.append(Step(values, step.after))
        return Trellis(steps)

    def remainders(self, weights: Array) -> list[Array]:
        """The greatest weighted sum of the functions from every state to the end.

        Args:
            weights: `[n, functions]`, several sums at once.

        Returns:
            For every decision the values `[n, states]` before it is taken, and `[n, 1]` zeros after the last.
        """
        left = [np.zeros((len(weights), 1))]
        if self._in_one is not None:  # one product instead of one for every decision
            values, starts = self._in_one
            best = np.maximum.reduceat(weights @ values, starts, axis=1)
            return [*np.cumsum(best[:, ::-1], axis=1)[:, ::-1].T[:, :, None], *left]
        for step in reversed(self.steps):
            functions, states, choices = step.values.shape
            gained = (weights @ step.values.reshape(functions, -1)).reshape(-1, states, choices)
            left.append((gained + left[-1][:, step.after]).max(-1))
        return left[::-1]

    def sums(self, path: Sequence[int]) -> Array:
        """What each function adds up to along a path, `[functions]`."""
        state, total = 0, np.zeros(len(self.steps[0].values))
        for step, choice in zip(self.steps, path, strict=True):
            total += step.values[:, state, choice]
            state = int(step.after[state, choice])
        return total

    def spans(self) -> Array:
        """The largest difference that one choice makes to each function, `[functions]`."""
        return np.asarray(np.max([np.ptp(step.values, axis=(1, 2)) for step in self.steps], axis=0))

    def priced(self, prices: Array, share: float) -> Priced:
        """`share` times the last function minus the others at `prices` `[n, functions - 1]`, from every state on."""
        return Priced(prices, self.remainders(np.hstack([-prices, np.full((len(prices), 1), share)])))

    def best_path(self, weights: Array) -> tuple[int, ...]:
        """The path with the greatest weighted sum of the functions, for one row of weights `[functions]`."""
        state, path = 0, []
        for step, after in zip(self.steps, self.remainders(weights[None])[1:], strict=True):
            gained = weights @ step.values[:, state] + after[0, step.after[state]]
            path.append(int(gained.argmax()))
            state = int(step.after[state, path[-1]])
        return tuple(path)


def _ordered(terms: CostTerms) -> dict[tuple[int, int], Array]:
    """The pair tables with the earlier decision first."""
    return {(min(d, e), max(d, e)): table if d < e else table.T for (d, e), table in terms.pairwise.items()}


def _groups(decision: int, size: int, tables: Sequence[dict[tuple[int, int], Array]]) -> tuple[Indices, Indices]:
    """The group of every choice, and one choice of every group: equal are those with equal rows in all pairs."""
    rows = [pair for table in tables for (d, _), pair in table.items() if d == decision]
    _, members, group = np.unique(
        np.concatenate(rows, axis=1).reshape(size, -1), axis=0, return_index=True, return_inverse=True
    )
    return group.ravel().astype(np.int64), members.astype(np.int64)
