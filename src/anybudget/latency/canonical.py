"""Terms under which the canonical form of a network costs no more than any other way to write it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anybudget.architecture import Architecture
from anybudget.costs import CostTerms
from anybudget.errors import DataError
from anybudget.spaces import SearchSpace

Array = NDArray[np.float64]

_LISTED = 20_000
"""Spaces of at most this many combinations of choices are looked at whole, others at `_DRAWN` of them."""
_DRAWN = 2_000
_STEPS = 20_000
_GRID_BITS = 40
"""Bits of a number relative to the dearest network: sums of such numbers are exact, in whatever order."""


def with_cheap_canonicals(space: SearchSpace, terms: CostTerms, groups: Sequence[int]) -> CostTerms:
    """The nearest terms, all but exactly, under which no canonical form costs more than the choices it stands for.

    Searches limit what choices cost and hand out the canonical form, which must not be dearer. Each way to write a
    network is a half-space that the numbers have to be in; they are moved into the one that they are farthest from
    until they are in all (successive projection). Numbers are put on a grid, so that equal sums are equal to the last
    bit.

    Args:
        space: whose networks the terms are of.
        terms: equal for decisions of one group.
        groups: the group of every decision; see `Tying`.

    Raises:
        DataError: no such terms were found.

    Source: Agmon 1954, The relaxation method for linear inequalities.
    """
    tables = [*terms.unary, *terms.pairwise.values()]
    most = abs(terms.constant) + sum(float(np.abs(table).max()) for table in tables)
    unit = 2.0 ** (math.frexp(most or 1.0)[1] - _GRID_BITS)
    first = [groups.index(group) for group in groups]
    shared = _Numbers(tuple(first), terms)
    numbers = np.rint(shared.of(terms) / unit)
    rows = shared.differences(space)
    lengths = (rows**2).sum(1)
    for _ in range(_STEPS if len(rows) else 0):
        excess = rows @ numbers
        worst = int(np.argmax(excess / np.sqrt(lengths)))
        if excess[worst] <= 0:
            break
        step = rows[worst] * ((excess[worst] + 1.0) / lengths[worst])
        numbers = numbers - np.sign(step) * np.ceil(np.abs(step))  # whole steps of the grid, and never too short
    else:
        if len(rows):
            raise DataError("the measured latencies contradict that equal networks take equally long; measure more")
    return shared.terms(numbers * unit, float(np.rint(terms.constant / unit) * unit))


@dataclass(frozen=True)
class _Numbers:
    """The numbers of terms as one vector, those of decisions of one group once: `first[d]` is the group's first."""

    first: tuple[int, ...]
    like: CostTerms

    def of(self, terms: CostTerms) -> Array:
        """The vector of terms."""
        return np.concatenate([*(terms.unary[d] for d in self._own), *(t.ravel() for t in terms.pairwise.values())])

    def terms(self, numbers: Array, constant: float) -> CostTerms:
        """The terms of a vector."""
        sizes = [len(self.like.unary[d]) for d in self._own] + [t.size for t in self.like.pairwise.values()]
        parts = np.split(numbers, np.cumsum(sizes)[:-1])
        unary = dict(zip(self._own, parts, strict=False))
        pairs = zip(self.like.pairwise.items(), parts[len(unary) :], strict=True)
        return CostTerms(
            constant,
            tuple(unary[first] for first in self.first),
            {pair: part.reshape(table.shape) for (pair, table), part in pairs},
        )

    def differences(self, space: SearchSpace) -> Array:
        """Distinct rows `[ways to write a network, numbers]`: what its canonical form has of each number beyond it."""
        sizes = [len(decision.choices) for decision in space.decisions]
        if space.size() <= _LISTED:
            drawn = np.stack(np.unravel_index(np.arange(space.size()), sizes), axis=1)
        else:
            rng = np.random.default_rng(0)
            drawn = np.stack([rng.integers(size, size=_DRAWN) for size in sizes], axis=1)
        canonical = np.array([space.simplified(Architecture(space.name, tuple(row))).choices for row in drawn.tolist()])
        written_otherwise = (canonical != drawn).any(1)
        rows = self._counted(canonical[written_otherwise]) - self._counted(drawn[written_otherwise])
        rows = np.unique(rows, axis=0)
        return rows[rows.any(1)]

    def _counted(self, choices: NDArray[np.int64]) -> Array:
        """How often each number is in the cost of choices `[n, decisions]`: `[n, numbers]`."""
        unary = {d: np.zeros((len(choices), len(self.like.unary[d]))) for d in self._own}
        for d, first in enumerate(self.first):
            unary[first] += np.eye(len(self.like.unary[d]))[choices[:, d]]
        pairs = [
            np.eye(table.size)[choices[:, d] * table.shape[1] + choices[:, e]]
            for (d, e), table in self.like.pairwise.items()
        ]
        return np.concatenate([*unary.values(), *pairs], axis=1)

    @property
    def _own(self) -> list[int]:
        return sorted(set(self.first))
