"""Owns `CostModel`: what a network costs, exactly for an architecture and differentiably for probabilities."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from anybudget.architecture import Architecture
from anybudget.costs.terms import CostTerms
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

    @property
    @abstractmethod
    def terms(self) -> CostTerms:
        """The cost as unary and pairwise terms, so that a solver can use it."""

    def relaxed_cost(self, probabilities: Tensor) -> Tensor:
        """Differentiable expected cost; see `CostTerms.relaxed`."""
        return self.terms.relaxed(probabilities)


class BlockCost(CostModel):
    """A cost that is the sum of a formula over a network's blocks, with no interaction between decisions."""

    def __init__(self, space: SearchSpace, name: str, unit: str, formula: Callable[[BlockSpec], int]) -> None:
        self.space = space
        self.name = name
        self.unit = unit
        self._formula = formula

    def cost(self, architecture: Architecture) -> float:
        """Exact cost by formula, an integer count."""
        return float(sum(self._formula(spec) for spec in self.space.block_specs(architecture)))

    @cached_property
    def terms(self) -> CostTerms:
        """Unary terms: what each choice adds to the network that takes choice 0 everywhere."""
        origin = (0,) * len(self.space.decisions)
        base = self.cost(Architecture(self.space.name, origin))
        unary = []
        for position, decision in enumerate(self.space.decisions):
            row = [
                self.cost(Architecture(self.space.name, (*origin[:position], choice, *origin[position + 1 :]))) - base
                for choice in range(len(decision.choices))
            ]
            unary.append(np.array(row))
        return CostTerms(base, tuple(unary))
