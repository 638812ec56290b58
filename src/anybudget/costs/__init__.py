"""Cost models: what a network costs before it is built."""

from collections.abc import Callable

from anybudget.costs import counts
from anybudget.costs.base import BlockCost, CostModel
from anybudget.costs.terms import CostTerms, common_unit, separated
from anybudget.errors import BudgetError
from anybudget.spaces import SearchSpace

COST_MODELS: dict[str, Callable[[SearchSpace], CostModel]] = {
    "macs": lambda space: BlockCost(space, "macs", "MACs", counts.macs),
    "params": lambda space: BlockCost(space, "params", "params", counts.params),
    "conv_macs": lambda space: BlockCost(space, "conv_macs", "MACs", counts.conv_macs),
    # SPOS counts every convolution but the first, and no classifier.
    "bitops": lambda space: BlockCost(space, "bitops", "BitOps", counts.bitops, skip_first=True),
}
"""Every registered cost by name; each makes the cost model of a space."""


def build_costs(space: SearchSpace, names: tuple[str, ...] = tuple(COST_MODELS)) -> dict[str, CostModel]:
    """The cost models of `space`, by name.

    Raises:
        BudgetError: a name is not registered.
    """
    unknown = [name for name in names if name not in COST_MODELS]
    if unknown:
        raise BudgetError(f"unknown cost {unknown[0]!r}; known costs are {', '.join(COST_MODELS)}")
    return {name: COST_MODELS[name](space) for name in names}


__all__ = ["COST_MODELS", "BlockCost", "CostModel", "CostTerms", "build_costs", "common_unit", "separated"]
