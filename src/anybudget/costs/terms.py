"""Owns `CostTerms`: a cost written as a constant, one number per choice and one per pair of choices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from math import gcd
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

Pair = tuple[int, int]


@dataclass(frozen=True)
class CostTerms:
    """`constant + Σ_d unary[d][choice_d] + Σ_(d,e) pairwise[d,e][choice_d, choice_e]`.

    `unary[d]` has one entry per choice of decision `d`; `pairwise` holds only the pairs of decisions whose costs
    multiply (channel counts of neighbouring layers, for one) and is empty for an additive cost.
    """

    constant: float
    unary: tuple[NDArray[np.float64], ...]
    pairwise: Mapping[Pair, NDArray[np.float64]] = field(default_factory=dict)

    def cost(self, choices: Sequence[int]) -> float:
        """Cost of one choice index per decision."""
        total = self.constant + sum(row[choice] for row, choice in zip(self.unary, choices, strict=True))
        return float(total + sum(table[choices[d], choices[e]] for (d, e), table in self.pairwise.items()))

    def costs(self, choices: NDArray[np.int64]) -> NDArray[np.float64]:
        """Costs of many architectures at once: `[n, decisions]` choice indices to `[n]`."""
        total = np.full(len(choices), self.constant)
        for decision, row in enumerate(self.unary):
            total += row[choices[:, decision]]
        for (d, e), table in self.pairwise.items():
            total += table[choices[:, d], choices[:, e]]
        return total

    def relaxed(self, probabilities: Tensor) -> Tensor:
        """Expected cost under independent choices, differentiable; equals `cost` on one-hot rows.

        Args:
            probabilities: `[..., decisions, choices]`; a decision with fewer choices than the widest leaves its last
                columns at zero.

        Returns:
            `[...]`, in the cost's unit.

        Source: SGNAS §3.2, Eq. 9.
        """
        width = probabilities.shape[-1]
        table = np.stack([np.pad(row, (0, width - len(row))) for row in self.unary])
        total = self.constant + (probabilities * probabilities.new_tensor(table)).sum((-2, -1))
        for (d, e), pair in self.pairwise.items():
            left, right = probabilities[..., d, : pair.shape[0]], probabilities[..., e, : pair.shape[1]]
            total = total + ((left @ probabilities.new_tensor(pair)) * right).sum(-1)
        return total


def common_unit(values: NDArray[np.float64]) -> float | None:
    """The largest number of which all `values` are whole multiples, if they are whole themselves."""
    if not np.all(values == np.round(values)) or np.any(np.abs(values) >= 2**53):
        return None
    return float(reduce(gcd, (int(value) for value in values), 0) or 1)
