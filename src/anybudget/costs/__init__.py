"""Cost models: what a network costs before it is built."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from anybudget.budgets import unknown_cost
from anybudget.costs.base import CostContext, CostModel
from anybudget.costs.counted import BlockCost
from anybudget.costs.settings import CostSettings, FilePath, file_keys
from anybudget.costs.terms import CostTerms, common_unit, separated
from anybudget.errors import BudgetError, ConfigError
from anybudget.registry import Registry
from anybudget.spaces import SearchSpace

COSTS: Registry[type[CostModel]] = Registry(
    "cost",
    "anybudget.costs",
    {
        "macs": "anybudget.costs.counted:Macs",
        "params": "anybudget.costs.counted:Params",
        "conv_macs": "anybudget.costs.counted:ConvMacs",
        "bitops": "anybudget.costs.counted:BitOps",
        "peak_memory_bytes": "anybudget.costs.memory:PeakMemory",
        "file_bytes": "anybudget.costs.memory:FileSize",
        "table": "anybudget.costs.table:TableCost",
        "latency": "anybudget.costs.latency:LatencyCost",
    },
)
"""Every registered cost by name."""


def cost_names(tables: Iterable[str] = ()) -> list[str]:
    """The costs that a run has: those that need no settings, and those of its tables `[costs.NAME]`."""
    always = [name for name in COSTS if not _needs_settings(COSTS[name])]
    return list(dict.fromkeys((*always, *tables)))


def build_costs(
    space: SearchSpace,
    names: Iterable[str] | None = None,
    *,
    tables: Mapping[str, tuple[str, CostSettings]] | None = None,
    folder: Path | None = None,
) -> dict[str, CostModel]:
    """The cost models of `space`, by name.

    Args:
        space: whose networks are counted.
        names: which costs; all of `cost_names(tables)` if None.
        tables: for every table `[costs.NAME]`, the registered class and its settings.
        folder: where the files that settings name are; the working directory if None.

    Raises:
        BudgetError: there is no such cost.
        ConfigError: a table's settings, or a file that they name, do not fit the space.

    Example:
        >>> from anybudget.spaces import UnifiedSettings, UnifiedSpace, stages
        >>> shapes = {"input_size": 8, "input_channels": 1, "classes": 3, "stem_width": 4}
        >>> space = UnifiedSpace(UnifiedSettings(**shapes, stages=stages((4, 2, 1))))
        >>> costs = build_costs(space)
        >>> architecture = space.from_kernels([[3, 5], [3, 3, 7]])
        >>> costs["params"].cost(architecture) > 0
        True
    """
    tables, known = tables or {}, cost_names(tables or ())
    found: dict[str, CostModel] = {}
    for name in known if names is None else names:
        if name not in known:
            raise BudgetError(unknown_cost(name, known))
        kind, settings = tables.get(name) or (name, COSTS[name].settings_type())
        try:
            found[name] = COSTS[kind].from_context(CostContext(space, settings, folder or Path(), name))
        except ConfigError as error:
            raise ConfigError(f"costs.{name}: {error}") from None
        if found[name].name != name:
            raise ConfigError(f"costs.{name}: kind {kind!r} has one name only: its table is [costs.{found[name].name}]")
    return found


def unit_of(cost: str) -> str:
    """What follows a number, where only the cost's name is known: that of the class, or what the name ends with."""
    if cost in COSTS:
        return COSTS[cost].unit
    cost = cost.partition(".")[0]
    return cost.rpartition("_")[2] if "_" in cost else cost


def title_of(cost: str) -> str:
    """A cost in words, with its unit, where only its name is known: `MACs (multiply-adds)`, `latency (ms)`.

    Example:
        >>> title_of("latency_ms.phone")
        'latency, phone (ms)'
    """
    if cost in COSTS:
        return COSTS[cost].title or _title(cost, COSTS[cost].unit)
    return _title(cost, unit_of(cost))


def shown_costs(costs: Iterable[str]) -> list[str]:
    """Those of the costs that tables show, also where no budget limits them."""
    return [cost for cost in costs if cost not in COSTS or COSTS[cost].shown]


def _title(name: str, unit: str) -> str:
    kind, _, which = name.partition(".")
    words = ", ".join(filter(None, (kind.removesuffix(f"_{unit}").replace("_", " "), which.replace("_", " "))))
    return words if words == unit else f"{words} ({unit})"


def _needs_settings(kind: type[CostModel]) -> bool:
    return any(field.is_required() for field in kind.settings_type.model_fields.values())


__all__ = [
    "COSTS",
    "BlockCost",
    "CostContext",
    "CostModel",
    "CostSettings",
    "CostTerms",
    "FilePath",
    "build_costs",
    "common_unit",
    "cost_names",
    "file_keys",
    "separated",
    "shown_costs",
    "title_of",
    "unit_of",
]
