"""Costs that are counted block by block: multiply-adds, parameters, bit operations."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from anybudget.architecture import Architecture
from anybudget.costs import counts
from anybudget.costs.base import CostModel
from anybudget.costs.terms import Combine, CostTerms, Pair, separated
from anybudget.spaces import BlockSpec, Factor

_KEPT = 2
"""Decisions that a block may depend on for its count to be kept; blocks of more have as many as there are networks."""


class BlockCost(CostModel):
    """A cost that is a formula over a network's blocks, added up; a new one is a name, a unit and the formula."""

    skip_first: bool = False
    """Whether the network's first block is left out."""
    combine: Combine = "sum"
    """Whether the blocks' numbers add up, or the greatest of them is the cost."""
    header: int = 0
    """What every network costs besides its blocks."""

    @staticmethod
    @abstractmethod
    def formula(spec: BlockSpec) -> int:
        """What one block costs, in the unit."""

    def cost(self, architecture: Architecture) -> float:
        """Exact cost by formula, an integer count.

        A search asks for the costs of thousands of networks, which have the same blocks: each block is counted once.
        """
        self.space.validate(architecture)
        choices = architecture.choices
        return self._combined(
            self._counted(number, tuple(choices[decision] for decision in factor.decisions))
            for number, factor in self._factors
        )

    def _combined(self, counts: Iterable[int]) -> float:
        return float(self.header + sum(counts) if self.combine == "sum" else max(self.header, *counts))

    @cached_property
    def _factors(self) -> list[tuple[int, Factor]]:
        """The blocks that count, each with its place in the network."""
        return list(enumerate(self.space.factors))[int(self.skip_first) :]

    @cached_property
    def _counts(self) -> dict[tuple[int, tuple[int, ...]], int]:
        """What has been counted, by the place of the block and the choices that it depends on."""
        return {}

    def _counted(self, number: int, choices: tuple[int, ...]) -> int:
        """The count of one block; kept where it depends on so few decisions that there cannot be too many of it."""
        key = number, choices
        found = self._counts.get(key)
        if found is None:
            found = self.formula(self.space.factors[number].spec(*choices))
            if len(choices) <= _KEPT:
                self._counts[key] = found
        return found

    def count(self, specs: Sequence[BlockSpec]) -> float:
        """See `CostModel.count`."""
        return self._combined(map(self.formula, specs[int(self.skip_first) :]))

    @cached_property
    def terms(self) -> CostTerms:
        """Blocks that depend on one decision give unary terms, blocks that depend on two a pairwise one.

        What adds up within a pair goes to the unary terms. For a block of more decisions the term of each is its
        difference from choice 0, the others at 0; of a maximum it has to be the same for all choices.
        """
        sizes = [len(decision.choices) for decision in self.space.decisions]
        together = np.add if self.combine == "sum" else np.maximum
        constant = float(self.header)
        unary = [np.zeros(size) for size in sizes]
        pairwise: dict[Pair, NDArray[np.float64]] = {}
        for number, factor in self._factors:
            shape = [sizes[decision] for decision in factor.decisions]
            if len(shape) <= 2:
                values = np.empty(shape)
                for choices in np.ndindex(*shape):
                    values[choices] = self._counted(number, choices)
                if not shape:
                    constant = float(together(constant, values))
                elif len(shape) == 1:
                    unary[factor.decisions[0]] = together(unary[factor.decisions[0]], values)
                else:
                    first, second = factor.decisions
                    pairwise[first, second] = together(pairwise.get((first, second), 0.0), values)
                continue
            origin = [0] * len(shape)
            base = self._counted(number, tuple(origin))
            constant = float(together(constant, base))
            if self.combine == "max":
                continue
            for position, decision in enumerate(factor.decisions):
                for choice in range(sizes[decision]):
                    choices = (*origin[:position], choice, *origin[position + 1 :])
                    unary[decision][choice] += self._counted(number, choices) - base
        if self.combine == "max":
            return CostTerms(constant, tuple(unary), pairwise, "max")
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
