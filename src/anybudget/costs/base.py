"""`CostModel`: what a network costs, exactly for an architecture and differentiably for probabilities."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from anybudget.architecture import Architecture
from anybudget.costs.settings import CostSettings
from anybudget.costs.terms import CostTerms
from anybudget.errors import BudgetError
from anybudget.spaces import BlockSpec, SearchSpace

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class CostContext:
    """What a cost model is made from."""

    space: SearchSpace
    """Whose networks are counted."""
    settings: CostSettings
    """Those of the table `[costs.NAME]`, of the class's `settings_type`."""
    folder: Path
    """Where files that the settings name are, unless their paths are absolute."""
    name: str
    """What budgets call the cost: NAME."""


class CostModel(ABC):
    """One cost of the networks of one space, in one unit.

    A class is registered in `COSTS` by its `name`. Every run has those that need no settings; others are made by a
    table `[costs.NAME]` of a recipe, which is read by `settings_type`.
    """

    name: str
    """What budgets call it; a name with an underscore ends with the unit, as `latency_ms` does.

    What follows a dot tells several of one kind apart: `latency_ms.phone` and `latency_ms.server`."""
    unit: str
    """What follows a number: MACs, ms."""
    title: str = ""
    """The cost in words, with its unit; what `name` and `unit` say by default."""
    shown: bool = True
    """Whether tables show it beside the costs that are limited."""
    counts_any: ClassVar[bool] = True
    """Whether `count` knows networks that are not in the space, such as derived ones."""
    settings_type: ClassVar[type[CostSettings]] = CostSettings
    space: SearchSpace

    def __init__(self, space: SearchSpace) -> None:
        self.space = space

    @classmethod
    def from_context(cls, context: CostContext) -> Self:
        """The cost model of a run; a class with settings of its own overrides this.

        Raises:
            ConfigError: the settings, or a file that they name, do not fit the space.
        """
        return cls(context.space)

    @property
    def note(self) -> str:
        """What is said of the numbers below a table, such as how they were measured; nothing by default."""
        return ""

    @abstractmethod
    def cost(self, architecture: Architecture) -> float:
        """Exact cost of `architecture`, in `unit`."""

    def count(self, specs: Sequence[BlockSpec]) -> float:  # noqa: ARG002 - for those that can
        """Exact cost of any network, given as blocks, in `unit`; also of one that is not in the space.

        Raises:
            BudgetError: this cost is known for the networks of the space alone (`counts_any` is False).
        """
        raise BudgetError(
            f"{self.name} is known for networks of the space {self.space.name} only, and cannot be counted on blocks"
        )

    @property
    @abstractmethod
    def terms(self) -> CostTerms:
        """The cost as unary and pairwise terms, so that a solver can use it."""

    def relaxed_cost(self, probabilities: Tensor) -> Tensor:
        """Differentiable expected cost; see `CostTerms.relaxed`."""
        return self.terms.relaxed(probabilities)
