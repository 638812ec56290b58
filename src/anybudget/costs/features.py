"""Features of choices: what a model of measured numbers may know of a decision, or of two neighbouring ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anybudget.costs.terms import CostTerms, Pair
from anybudget.spaces import Decision

Array = NDArray[np.float64]

_MOST_ONE_HOT = 8
"""Decisions of one slot with more choices than this are summed up by whether they skip; pairs would not fit data."""


@dataclass(frozen=True)
class FeatureBlock:
    """Features of one decision, or the products of features of two: one table `[choices, features]` for each."""

    decisions: tuple[int, ...]
    tables: tuple[Array, ...]

    @property
    def width(self) -> int:
        """How many features."""
        return int(np.prod([table.shape[1] for table in self.tables]))

    def columns(self, choices: NDArray[np.int64]) -> Array:
        """The features `[n, features]` of choices `[n, decisions]`."""
        rows = [table[choices[:, d]] for d, table in zip(self.decisions, self.tables, strict=True)]
        return rows[0] if len(rows) == 1 else np.einsum("na,nb->nab", *rows).reshape(len(choices), -1)

    def values(self, weights: Array) -> Array:
        """What every choice, or every two choices, add to the number that is modelled."""
        if len(self.tables) == 1:
            return self.tables[0] @ weights
        # Product of the distinct rows only: choices with equal features get equal values to the last bit.
        (rows, row), (columns, column) = (np.unique(t, axis=0, return_inverse=True) for t in self.tables)
        product = rows @ weights.reshape(rows.shape[1], columns.shape[1]) @ columns.T
        return product[np.ix_(row.ravel(), column.ravel())]


def columns_of(blocks: Sequence[FeatureBlock], choices: NDArray[np.int64]) -> Array:
    """The features of all blocks side by side, `[n, features]`, of choices `[n, decisions]`."""
    return np.concatenate([block.columns(choices) for block in blocks], axis=1)


def terms_of(
    blocks: Sequence[FeatureBlock], weights: Array, constant: float, decisions: Sequence[Decision]
) -> CostTerms:
    """What the weights of all blocks mean: a number for every choice and pair of choices."""
    unary = [np.zeros(len(decision.choices)) for decision in decisions]
    pairs: dict[Pair, Array] = {}
    if not blocks:
        return CostTerms(constant, tuple(unary))
    for block, part in zip(blocks, np.split(weights, np.cumsum([block.width for block in blocks])[:-1]), strict=True):
        match block.decisions:
            case (d,):
                unary[d] += block.values(part)
            case (d, e):
                pairs[d, e] = block.values(part)
    return CostTerms(constant, tuple(unary), pairs)


def slot_counts(decision: Decision) -> Array:
    """How many slots use each operation, `[choices, operations]`; one-hot for a decision with one slot."""
    slots = decision.encoding().reshape(len(decision.choices), decision.slots, -1)
    return np.asarray(slots.sum(1), dtype=np.float64)


def slots_in_use(decision: Decision) -> Array | None:
    """How many slots do not skip, `[choices, 1]`, with mean 0 and variance 1 over the choices; None if all the same."""
    if "skip" not in decision.operations:
        return None
    used = decision.slots - slot_counts(decision)[:, [decision.operations.index("skip")]]
    return (used - used.mean()) / used.std() if used.std() else None


def products(decisions: Sequence[Decision]) -> list[FeatureBlock]:
    """Products of what neighbouring decisions do, for those that can be summed up in few numbers."""
    found = []
    for d in range(len(decisions) - 1):
        first, second = _does(decisions[d]), _does(decisions[d + 1])
        if first is not None and second is not None:
            found.append(FeatureBlock((d, d + 1), (first, second)))
    return found


def _does(decision: Decision) -> Array | None:
    """What a decision does, in few numbers `[choices, features]`, centred so that products are not sums in disguise."""
    if decision.slots == 1 and len(decision.choices) <= _MOST_ONE_HOT:
        return np.eye(len(decision.choices)) - 1.0 / len(decision.choices)
    return slots_in_use(decision)
