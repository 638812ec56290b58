"""Search: budgets in, architectures out; one strategy per file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anybudget.registry import Registry

if TYPE_CHECKING:
    from anybudget.search.base import Strategy

STRATEGIES: Registry[type[Strategy]] = Registry(
    "strategy",
    "anybudget.strategies",
    {
        "generator": "anybudget.search.generator:GeneratorStrategy",
        "refined": "anybudget.search.refined:RefinedStrategy",
        "random": "anybudget.search.random:RandomStrategy",
        "evolution": "anybudget.search.evolution:EvolutionStrategy",
        "nsga2": "anybudget.search.nsga2:NSGA2Strategy",
        "direct": "anybudget.search.direct:DirectStrategy",
        "linear": "anybudget.search.linear:LinearStrategy",
        "darts": "anybudget.search.joint:DARTSStrategy",
        "gdas": "anybudget.search.joint:GDASStrategy",
        "fbnet": "anybudget.search.joint:FBNetStrategy",
        "setn": "anybudget.search.joint:SETNStrategy",
    },
)
"""Every search strategy by name."""
