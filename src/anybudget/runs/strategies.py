"""The registry of search strategies: each by name, made from a run's recipe and parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from anybudget.architecture import Architecture
from anybudget.budgets import exact_quantity
from anybudget.costs import CostModel
from anybudget.data import DataSource
from anybudget.decoding.reachability import reachable
from anybudget.errors import ConfigError
from anybudget.evaluation.evaluator import Evaluator
from anybudget.generator.distributions import GeneratorSchedule
from anybudget.generator.network import ArchitectureGenerator
from anybudget.recipe import Recipe
from anybudget.runtime.accounting import Spending
from anybudget.runtime.progress import Progress
from anybudget.search.base import Strategy
from anybudget.search.direct import DirectStrategy
from anybudget.search.evolution import EvolutionStrategy
from anybudget.search.generator import GeneratorStrategy
from anybudget.search.linear import LinearStrategy
from anybudget.search.nsga2 import NSGA2Strategy
from anybudget.search.random import RandomStrategy
from anybudget.search.refined import RefinedStrategy
from anybudget.training.loop import TrainingContext


def conditioning_cost(recipe: Recipe, costs: dict[str, CostModel]) -> CostModel:
    """The cost that the recipe's generator is conditioned on.

    Raises:
        ConfigError: there is no such cost, or it is the same for every network.
    """
    name = recipe.generator.cost
    if name not in costs:
        raise ConfigError(f"generator.cost: unknown cost {name!r}; known costs are {', '.join(costs)}")
    low, high = reachable({name: costs[name].terms}, name)
    if low == high:
        raise ConfigError(
            f"generator.cost: {name} is {exact_quantity(low)} for every network of this {costs[name].space.name} "
            f"space, so there is nothing to ask for; take one of {', '.join(other for other in costs if other != name)}"
        )
    return costs[name]


@dataclass(frozen=True)
class Parts:
    """What strategies are made of; what only some of them need is loaded when asked for."""

    recipe: Recipe
    data: DataSource
    costs: Mapping[str, CostModel]
    cost: CostModel
    evaluator: Evaluator
    progress: Progress
    generator: Callable[[], tuple[ArchitectureGenerator, Spending]]
    pool: Callable[[], Sequence[Architecture]]
    context: Callable[[str], TrainingContext]


def _common(parts: Parts) -> dict[str, Any]:
    """What every strategy is told alike, so that they can be compared."""
    recipe = parts.recipe
    return {"min_use": recipe.search.min_use, "seed": recipe.seed, "progress": parts.progress}


def generator_schedule(recipe: Recipe) -> GeneratorSchedule:
    """How the recipe trains distributions over architectures."""
    return GeneratorSchedule(**recipe.generator.model_dump(exclude={"cost", "hidden", "random_prior", "rollbacks"}))


def _generator(parts: Parts) -> GeneratorStrategy:
    return _generating(parts, parts.recipe.search.candidates)


def _refined(parts: Parts) -> Strategy:
    section = parts.recipe.search.refined
    return RefinedStrategy(_generating(parts, section.candidates), rounds=section.rounds, per_round=section.per_round)


def _generating(parts: Parts, candidates: int) -> GeneratorStrategy:
    section = parts.recipe.search
    generator, spent = parts.generator()
    strategy = GeneratorStrategy(
        generator,
        parts.cost,
        parts.costs,
        parts.evaluator,
        priors=section.priors,
        candidates=candidates,
        **_common(parts),
    )
    strategy.training = spent
    return strategy


def _random(parts: Parts) -> Strategy:
    count = parts.recipe.search.random_baseline or 50
    return RandomStrategy(parts.evaluator, parts.costs, count=count, **_common(parts))


def _evolution(parts: Parts) -> Strategy:
    options = parts.recipe.search.evolution.model_dump()
    return EvolutionStrategy(parts.evaluator, parts.costs, **_common(parts), **options)


def _nsga2(parts: Parts) -> Strategy:
    section = parts.recipe.search.nsga2
    return NSGA2Strategy(
        parts.evaluator,
        parts.costs,
        population=section.population,
        generations=section.generations,
        start=parts.pool() if section.from_pool else (),
        **_common(parts),
    )


def _direct(parts: Parts) -> Strategy:
    section = parts.recipe.search
    schedule = replace(generator_schedule(parts.recipe), learning_rate=section.direct.learning_rate)
    return DirectStrategy(
        parts.evaluator,
        parts.costs,
        parts.cost,
        parts.data,
        schedule,
        candidates=section.candidates,
        min_use=section.min_use,
        seed=parts.recipe.seed,
        context=parts.context,
    )


def _linear(parts: Parts) -> Strategy:
    section = parts.recipe.search.linear
    return LinearStrategy(
        parts.evaluator,
        parts.costs,
        samples=section.samples,
        candidates=section.candidates,
        **_common(parts),
    )


STRATEGIES: dict[str, Callable[[Parts], Strategy]] = {
    "generator": _generator,
    "refined": _refined,
    "random": _random,
    "evolution": _evolution,
    "nsga2": _nsga2,
    "direct": _direct,
    "linear": _linear,
}
"""Every registered strategy by name."""


def check_names(names: Sequence[str]) -> None:
    """Check that every name is a registered strategy, and none comes twice.

    Raises:
        ConfigError: says which are known.
    """
    if not names:
        raise ConfigError(f"no strategy given; known are {', '.join(STRATEGIES)}")
    unknown = [name for name in names if name not in STRATEGIES]
    if unknown:
        raise ConfigError(f"unknown strategy {unknown[0]!r}; known are {', '.join(STRATEGIES)}")
    repeated = sorted({name for name in names if list(names).count(name) > 1})
    if repeated:
        raise ConfigError(f"strategy {repeated[0]} is named more than once")
