"""The evolution strategy: SPOS's evolutionary search, in which every individual meets the budgets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from anybudget.architecture import Architecture
from anybudget.budgets import BudgetSet
from anybudget.decoding.feasible import FeasibleSampler
from anybudget.evaluation.metrics import Metrics
from anybudget.search.base import Found, best_first
from anybudget.search.population import PopulationSettings, PopulationStrategy, next_generation
from anybudget.settings import Count


class EvolutionSettings(PopulationSettings):
    """`[search.evolution]`: the `parents` best have children; `PopulationSettings` says the rest."""

    parents: Count = 10


class EvolutionStrategy(PopulationStrategy):
    """Crosses and mutates the best architectures so far, generation by generation.

    Half of a generation are crossings of two of the `parents` best of all evaluated so far in this query, half are
    mutations of one of them. Children that were evaluated before or exceed a budget are made anew; where attempts run
    out, random architectures within the budgets take their place. The search ends early when none is left.

    Source: SPOS §3.4 and Algorithm 1; population 50, 20 generations, 10 parents and mutation 0.1 as there.
    Differs: an architecture is never evaluated twice.
    """

    name = "evolution"
    settings_type = EvolutionSettings
    settings: EvolutionSettings

    def find(self, budgets: BudgetSet) -> Found:
        """See `Strategy.find`."""
        settings, sampler, rng = self.settings, self.feasible(budgets), np.random.default_rng(self.seed)
        generation = self.first_generation(sampler, rng)
        evaluated: dict[Architecture, Metrics] = {}
        parents: list[Architecture] = []
        with self.progress.task("evolution", settings.generations) as task:
            for number in range(1, settings.generations + 1):
                evaluated.update(zip(generation, self.evaluator.scores(generation), strict=True))
                parents = best_first(evaluated)[: settings.parents]
                task.advance(1, str(evaluated[parents[0]]))
                if number < settings.generations:
                    generation = self._children(parents, evaluated, sampler, rng)
                if not generation:
                    break
        return Found(parents[0])

    def _children(
        self,
        parents: Sequence[Architecture],
        evaluated: Mapping[Architecture, Metrics],
        sampler: FeasibleSampler,
        rng: np.random.Generator,
    ) -> list[Architecture]:
        """The next generation, half crossed, half mutated."""
        population = self.settings.population
        crossed = population // 2
        sources = [(self._crossings(parents, rng), crossed), (self._mutations(parents, rng), population - crossed)]
        return next_generation(sources, sampler, rng, evaluated)

    def _crossings(self, parents: Sequence[Architecture], rng: np.random.Generator) -> Iterator[Architecture]:
        while True:
            first, second = rng.choice(len(parents), size=2, replace=len(parents) < 2)
            yield self.space.crossover(parents[first], parents[second], rng)

    def _mutations(self, parents: Sequence[Architecture], rng: np.random.Generator) -> Iterator[Architecture]:
        while True:
            yield self.space.mutate(parents[int(rng.integers(len(parents)))], rng, self.settings.mutation)
