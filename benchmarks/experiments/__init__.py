"""The experiments of the papers: one module for each table or figure, run by `benchmarks/papers.py`."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from experiments.base import Experiment


def experiments() -> list[Experiment]:
    """All of them, by name: the `EXPERIMENT` of each module of this folder that has one."""
    modules = [import_module(f"{__name__}.{module.name}") for module in iter_modules(__path__)]
    found = [module.EXPERIMENT for module in modules if hasattr(module, "EXPERIMENT")]
    return sorted(found, key=lambda experiment: experiment.name)
