"""Costs that are counted block by block: multiply-adds, parameters, bit operations."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from anybudget.architecture import Architecture
from anybudget.costs import counts
from anybudget.costs.base import CostModel
from anybudget.costs.terms import CostTerms, Pair, separated
from anybudget.spaces import BlockSpec


class BlockCost(CostModel):
    """A cost that is the sum of a formula over a network's blocks; a new one is a name, a unit and the formula."""

    skip_first: bool = False
    """Whether the network's first block is left out."""

    @staticmethod
    @abstractmethod
    def formula(spec: BlockSpec) -> int:
        """What one block costs, in the unit."""

    def cost(self, architecture: Architecture) -> float:
        """Exact cost by formula, an integer count."""
        return self.count(self.space.block_specs(architecture))

    def count(self, specs: Sequence[BlockSpec]) -> float:
        """See `CostModel.count`."""
        return float(sum(map(self.formula, specs[int(self.skip_first) :])))

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
        for factor in self.space.factors[int(self.skip_first) :]:
            shape = [sizes[decision] for decision in factor.decisions]
            if len(shape) <= 2:
                values = np.empty(shape)
                for choices in np.ndindex(*shape):
                    values[choices] = self.formula(factor.spec(*choices))
                if not shape:
                    constant += float(values)
                elif len(shape) == 1:
                    unary[factor.decisions[0]] += values
                else:
                    first, second = factor.decisions
                    pairwise[first, second] = pairwise.get((first, second), 0.0) + values
                continue
            origin = [0] * len(shape)
            base = self.formula(factor.spec(*origin))
            constant += base
            for position, decision in enumerate(factor.decisions):
                for choice in range(sizes[decision]):
                    choices = (*origin[:position], choice, *origin[position + 1 :])
                    unary[decision][choice] += self.formula(factor.spec(*choices)) - base
        return separated(constant, unary, pairwise)


class Macs(BlockCost):
    """Multiply-adds of convolutions and the classifier, per image."""

    name, unit, title = "macs", "MACs", "MACs (multiply-adds)"
    formula = staticmethod(counts.macs)


class Params(BlockCost):
    """Learned parameters."""

    name, unit, title = "params", "parameters", "parameters"
    formula = staticmethod(counts.params)


class ConvMacs(BlockCost):
    """Multiply-adds without the classifier, as papers count."""

    name, unit, title = "conv_macs", "conv. MACs", "MACs of convolutions only (multiply-adds)"
    formula = staticmethod(counts.conv_macs)


class BitOps(BlockCost):
    """Bit operations as SPOS counts them: every convolution but the first, and no classifier."""

    name, unit, title = "bitops", "bit operations", "bit operations"
    shown = False  # without quantised layers it is a thousand times conv_macs
    skip_first = True
    formula = staticmethod(counts.bitops)
