"""`CostTerms`: a cost written as a constant, one number per choice and one per pair of choices."""

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
        """
        import torch  # cost terms serve commands that start without torch

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
        return self.relaxed(probabilities), variance

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
