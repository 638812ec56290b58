"""The evolution strategy: SPOS's evolutionary search, in which every individual meets the budgets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from anybudget.architecture import Architecture
from anybudget.budgets import BudgetSet
from anybudget.costs import CostModel
from anybudget.decoding.feasible import FeasibleSampler
from anybudget.evaluation.evaluator import Evaluator
from anybudget.evaluation.metrics import Metrics
from anybudget.runtime.progress import Progress
from anybudget.search.base import Strategy
from anybudget.search.breeding import new_and_allowed


class EvolutionStrategy(Strategy):
    """Crosses and mutates the best architectures so far, generation by generation.

    Half of a generation are crossings of two of the `parents` best of all evaluated so far in this query, half are
    mutations of one of them. Children that were evaluated before or exceed a budget are made anew; where attempts run
    out, random architectures within the budgets take their place. The search ends early when none is left.

    Args:
        evaluator: the evaluator.
        costs: every cost model of the space, by name.
        population: architectures per generation.
        generations: how many are evaluated, the first included; at most `population * generations` architectures.
        parents: how many of the best have children.
        mutation: probability of every choice to be replaced, 0 to 1.
        start: the first generation, in order of preference; those over a budget are left out, missing ones are random.
        min_use: see `Strategy`.
        seed: draws everything that is random; every query starts from it.
        progress: where long work says how far it is.

    Source: SPOS §3.4 and Algorithm 1; population 50, 20 generations, 10 parents and mutation 0.1 as there.
    Differs: an architecture is never evaluated twice.
    """

    name = "evolution"

    def __init__(
        self,
        evaluator: Evaluator,
        costs: Mapping[str, CostModel],
        *,
        population: int = 50,
        generations: int = 20,
        parents: int = 10,
        mutation: float = 0.1,
        start: Sequence[Architecture] = (),
        min_use: float = 0.0,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> None:
        super().__init__(evaluator, costs, min_use=min_use, seed=seed, progress=progress)
        self.population = population
        self.generations = generations
        self.parents = parents
        self.mutation = mutation
        self.start = tuple(start)

    def find(self, budgets: BudgetSet) -> Architecture:
        """See `Strategy.find`."""
        rng = np.random.default_rng(self.seed)
        sampler = self.feasible(budgets)
        generation = sampler.population(self.population, rng, self.start)
        evaluated: dict[Architecture, Metrics] = {}
        parents: list[Architecture] = []
        with self.progress.task("evolution", self.generations) as task:
            for number in range(1, self.generations + 1):
                evaluated.update(zip(generation, self.evaluator.scores(generation), strict=True))
                parents = sorted(evaluated, key=lambda a: evaluated[a].rank, reverse=True)[: self.parents]
                task.advance(1, str(evaluated[parents[0]]))
                if number < self.generations:
                    generation = self._children(parents, evaluated, budgets, sampler, rng)
                if not generation:
                    break
        return parents[0]

    def _children(
        self,
        parents: Sequence[Architecture],
        evaluated: Mapping[Architecture, Metrics],
        budgets: BudgetSet,
        sampler: FeasibleSampler,
        rng: np.random.Generator,
    ) -> list[Architecture]:
        """The next generation: distinct, new and within the budgets; fewer or none only where no others are found."""
        known = dict.fromkeys(evaluated)
        crossed = self.population // 2
        for make, count in ((self._crossing, crossed), (self._mutation, self.population - crossed)):
            new = new_and_allowed(
                _endless(make, parents, rng), count, known=known, allowed=lambda child: self.allowed(child, budgets)
            )
            known |= dict.fromkeys(new)
        children = list(known)[len(evaluated) :]
        return children + sampler.sample(self.population - len(children), rng, known=known)

    def _crossing(self, parents: Sequence[Architecture], rng: np.random.Generator) -> Architecture:
        first, second = rng.choice(len(parents), size=2, replace=len(parents) < 2)
        return self.space.crossover(parents[first], parents[second], rng)

    def _mutation(self, parents: Sequence[Architecture], rng: np.random.Generator) -> Architecture:
        return self.space.mutate(parents[int(rng.integers(len(parents)))], rng, self.mutation)


def _endless(
    make: Callable[[Sequence[Architecture], np.random.Generator], Architecture],
    parents: Sequence[Architecture],
    rng: np.random.Generator,
) -> Iterator[Architecture]:
    """Offspring of the parents, one after the other, as many as are asked for."""
    while True:
        yield make(parents, rng)
