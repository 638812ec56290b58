"""`CostModel`: what a network costs, exactly for an architecture and differentiably for probabilities."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from anybudget.architecture import Architecture
from anybudget.costs.terms import CostTerms, Pair, separated
from anybudget.spaces import BlockSpec, SearchSpace

if TYPE_CHECKING:
    from torch import Tensor


class CostModel(ABC):
    """One cost of the networks of one space, in one unit."""

    name: str
    unit: str
    space: SearchSpace

    @abstractmethod
    def cost(self, architecture: Architecture) -> float:
        """Exact cost of `architecture`, in `unit`."""

    @abstractmethod
    def count(self, specs: Sequence[BlockSpec]) -> float:
        """Exact cost of any network, given as blocks, in `unit`; also of one that is not in the space."""

    @property
    @abstractmethod
    def terms(self) -> CostTerms:
        """The cost as unary and pairwise terms, so that a solver can use it."""

    def relaxed_cost(self, probabilities: Tensor) -> Tensor:
        """Differentiable expected cost; see `CostTerms.relaxed`."""
        return self.terms.relaxed(probabilities)


class BlockCost(CostModel):
    """A cost that is the sum of a formula over a network's blocks.

    Args:
        space: whose networks are counted.
        name: of the cost, as budgets write it.
        unit: of the cost.
        formula: what one block costs, an integer.
        skip_first: leave the network's first block out.
    """

    def __init__(
        self,
        space: SearchSpace,
        name: str,
        unit: str,
        formula: Callable[[BlockSpec], int],
        *,
        skip_first: bool = False,
    ) -> None:
        self.space = space
        self.name = name
        self.unit = unit
        self._formula = formula
        self._first = 1 if skip_first else 0

    def cost(self, architecture: Architecture) -> float:
        """Exact cost by formula, an integer count."""
        return self.count(self.space.block_specs(architecture))

    def count(self, specs: Sequence[BlockSpec]) -> float:
        """See `CostModel.count`."""
        return float(sum(map(self._formula, specs[self._first :])))

    @cached_property
    def terms(self) -> CostTerms:
        """Blocks that depend on one decision give unary terms, blocks that depend on two a pairwise one.

        What adds up within a pair goes to the unary terms. For a block of more decisions the term of each is its
        difference from choice 0, the others at 0.
        """
        sizes = [len(decision.choices) for decision in self.space.decisions]
        constant = 0.0
        unary = [np.zeros(size) for size in sizes]
        pairwise: dict[Pair, NDArray[np.float64]] = {}
        for factor in self.space.factors[self._first :]:
            shape = [sizes[decision] for decision in factor.decisions]
            if len(shape) <= 2:
                values = np.empty(shape)
                for choices in np.ndindex(*shape):
                    values[choices] = self._formula(factor.spec(*choices))
                if not shape:
                    constant += float(values)
                elif len(shape) == 1:
                    unary[factor.decisions[0]] += values
                else:
                    first, second = factor.decisions
                    pairwise[first, second] = pairwise.get((first, second), 0.0) + values
                continue
            origin = [0] * len(shape)
            base = self._formula(factor.spec(*origin))
            constant += base
            for position, decision in enumerate(factor.decisions):
                for choice in range(sizes[decision]):
                    choices = (*origin[:position], choice, *origin[position + 1 :])
                    unary[decision][choice] += self._formula(factor.spec(*choices)) - base
        return separated(constant, unary, pairwise)
