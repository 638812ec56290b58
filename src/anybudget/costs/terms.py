"""`CostTerms`: a cost as a constant, a number per choice and one per pair of choices; their sum, or the greatest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from math import gcd
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from anybudget.errors import BudgetError

if TYPE_CHECKING:
    from torch import Tensor

Pair = tuple[int, int]
Combine = Literal["sum", "max"]


@dataclass(frozen=True)
class CostTerms:
    """`constant + Σ_d unary[d][choice_d] + Σ_(d,e) pairwise[d,e][choice_d, choice_e]`.

    `unary[d]` has one entry per choice of decision `d`; `pairwise` holds only the pairs of decisions whose costs
    multiply (channel counts of neighbouring layers, for one) and is empty for an additive cost. Where `combine` is
    `max` the cost is the greatest of these numbers, not their sum; `counts_above` makes a sum of what it limits.
    """

    constant: float
    unary: tuple[NDArray[np.float64], ...]
    pairwise: Mapping[Pair, NDArray[np.float64]] = field(default_factory=dict)
    combine: Combine = "sum"

    def cost(self, choices: Sequence[int]) -> float:
        """Cost of one choice index per decision."""
        if self.combine == "max":
            return float(self.costs(np.array([choices]))[0])
        total = self.constant + sum(row[choice] for row, choice in zip(self.unary, choices, strict=True))
        return float(total + sum(table[choices[d], choices[e]] for (d, e), table in self.pairwise.items()))

    def costs(self, choices: NDArray[np.int64]) -> NDArray[np.float64]:
        """Costs of many architectures at once: `[n, decisions]` choice indices to `[n]`."""
        total = np.full(len(choices), self.constant)
        combined = np.add if self.combine == "sum" else np.maximum
        for decision, row in enumerate(self.unary):
            total = combined(total, row[choices[:, decision]])
        for (d, e), table in self.pairwise.items():
            total = combined(total, table[choices[:, d], choices[:, e]])
        return total

    def numbers(self) -> NDArray[np.float64]:
        """All numbers in ascending order, each once; a cost that is a maximum has no other values."""
        return np.unique(np.concatenate([[self.constant], *self.unary, *(t.ravel() for t in self.pairwise.values())]))

    def counts_above(self, limit: float, *, at_least: bool = False) -> CostTerms:
        """How many of the numbers that count lie above `limit`, or at or above it: a sum, of ones and zeros.

        What is a maximum is within a limit where none of its numbers lies above it, and reaches a floor where at least
        one reaches it. So limits of such costs are limits of sums.
        """

        def above(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.asarray(numbers >= limit if at_least else numbers > limit, dtype=np.float64)

        constant = float(above(np.array(self.constant)))
        pairs = {pair: above(table) for pair, table in self.pairwise.items()}
        unary = tuple(map(above, self.unary))
        return CostTerms(constant, unary, {pair: table for pair, table in pairs.items() if table.any()})

    def relaxed(self, probabilities: Tensor) -> Tensor:
        """Expected cost under independent choices, differentiable; equals `cost` on one-hot rows.

        Args:
            probabilities: `[..., decisions, choices]`; a decision with fewer choices than the widest leaves its last
                columns at zero.

        Returns:
            `[...]`, in the cost's unit.

        Raises:
            BudgetError: the cost is a maximum, which has no expectation of this form.

        Source: SGNAS §3.2, Eq. 9.
        """
        if self.combine == "max":
            raise BudgetError("a cost that is a maximum over the layers cannot be relaxed; train on one that adds up")
        total = self.constant + (probabilities * self._table(probabilities)).sum((-2, -1))
        for (d, e), pair in self.pairwise.items():
            left, right = probabilities[..., d, : pair.shape[0]], probabilities[..., e, : pair.shape[1]]
            total = total + ((left @ probabilities.new_tensor(pair)) * right).sum(-1)
        return total

    def moments(self, probabilities: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of the cost under independent choices, differentiable.

        The cost is split into what each decision says on average over the others and what is left of every pair. These
        parts are uncorrelated (the Hoeffding decomposition), so their variances add up.

        Args:
            probabilities: `[..., decisions, choices]`, padded with zeros as in `relaxed`.

        Returns:
            Mean `[...]` in the cost's unit, and variance `[...]` in its square.

        Raises:
            BudgetError: the cost is a maximum, see `relaxed`.
        """
        import torch  # cost terms serve commands that start without torch

        mean = self.relaxed(probabilities)
        effects = list(self._table(probabilities).expand_as(probabilities).unbind(-2))
        variance = probabilities.new_zeros(probabilities.shape[:-2])
        for (d, e), pair in self.pairwise.items():
            table = probabilities.new_tensor(pair)
            left, right = probabilities[..., d, : pair.shape[0]], probabilities[..., e, : pair.shape[1]]
            rows, columns = right @ table.T, left @ table
            average = (left * rows).sum(-1)
            rest = table - rows.unsqueeze(-1) - columns.unsqueeze(-2) + average[..., None, None]
            variance = variance + (left.unsqueeze(-1) * rest.square() * right.unsqueeze(-2)).sum((-2, -1))
            for decision, effect in ((d, rows), (e, columns)):
                padding = (0, probabilities.shape[-1] - effect.shape[-1])
                effects[decision] = effects[decision] + torch.nn.functional.pad(effect, padding)
        stacked = torch.stack(effects, dim=-2)
        means = (probabilities * stacked).sum(-1, keepdim=True)
        variance = variance + (probabilities * (stacked - means).square()).sum((-2, -1))
        return mean, variance

    def _table(self, like: Tensor) -> Tensor:
        """The unary terms as `[decisions, choices]`, padded with zeros to the width of `like`."""
        width = like.shape[-1]
        return like.new_tensor(np.stack([np.pad(row, (0, width - len(row))) for row in self.unary]))


def separated(
    constant: float, unary: Sequence[NDArray[np.float64]], pairwise: Mapping[Pair, NDArray[np.float64]]
) -> CostTerms:
    """Terms with everything in the unary ones that adds up: pairs keep only what two choices have between them.

    Every pair table has zeros in its first row and column, so that choices which interact alike have equal rows, and
    pairs that do not interact are gone. Whole numbers stay whole.
    """
    rows = [row.copy() for row in unary]
    kept: dict[Pair, NDArray[np.float64]] = {}
    for (d, e), table in pairwise.items():
        corner = float(table[0, 0])
        constant += corner
        rows[d] += table[:, 0] - corner
        rows[e] += table[0] - corner
        rest = table - table[:, :1] - table[:1] + corner
        if rest.any():
            kept[d, e] = rest
    return CostTerms(constant, tuple(rows), kept)


def common_unit(values: NDArray[np.float64]) -> float | None:
    """The largest number of which all `values` are whole multiples, if they are whole themselves."""
    if not np.all(values == np.round(values)) or np.any(np.abs(values) >= 2**53):
        return None
    return float(reduce(gcd, (int(value) for value in values), 0) or 1)
