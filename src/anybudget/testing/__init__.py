"""Conformance checks and slow reference computations, shipped for whoever adds one of these.

| what is added | check |
|---|---|
| a search space | `check_space`, which checks its costs, too |
| a cost model | `check_cost_model` |
| a supernet | `check_supernet` |
| a path sampler | `check_sampler` |
| a data source | `check_source` |
| a search strategy | `check_strategy`, by the planted evaluator `PlantedEvaluator` |
| long work | `check_resume`: killed at random moments and resumed, it ends the same |

Every check takes an object, or a function that makes one, raises `AssertionError` with what is wrong, and returns
nothing. Use small settings: the checks build networks and run them in double precision, or enumerate a space.
"""

from anybudget.testing.interruption import check_resume
from anybudget.testing.mixtures import explicit_mixture
from anybudget.testing.norms import randomise_norms
from anybudget.testing.planted import PlantedEvaluator, planted_objective
from anybudget.testing.samplers import check_sampler
from anybudget.testing.sources import check_source
from anybudget.testing.spaces import check_cost_model, check_space
from anybudget.testing.strategies import check_strategy
from anybudget.testing.supernets import check_supernet

__all__ = [
    "PlantedEvaluator",
    "check_cost_model",
    "check_resume",
    "check_sampler",
    "check_source",
    "check_space",
    "check_strategy",
    "check_supernet",
    "explicit_mixture",
    "planted_objective",
    "randomise_norms",
]
