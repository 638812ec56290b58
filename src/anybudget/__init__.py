"""One-shot neural architecture search: train one supernet, ask for any budget, get a network."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "Architecture": "anybudget.architecture",
    "Budget": "anybudget.budgets",
    "BudgetSet": "anybudget.budgets",
    "AnyBudgetError": "anybudget.errors",
    "Recipe": "anybudget.recipe",
    "load_recipe": "anybudget.recipe",
    "Run": "anybudget.runs.run",
    "SearchSpace": "anybudget.spaces",
    "UnifiedSpace": "anybudget.spaces",
    "build_costs": "anybudget.costs",
    "build_supernet": "anybudget.nets",
    "load": "anybudget.runs.trained",
    "SOURCES": "anybudget.data",
    "DataSettings": "anybudget.data",
    "DataSource": "anybudget.data",
    "from_dataset": "anybudget.data",
    "from_tensors": "anybudget.data",
    "load_splits": "anybudget.data",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that importing the package does not import torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'anybudget' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
