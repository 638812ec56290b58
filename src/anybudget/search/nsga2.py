"""The NSGA-II strategy: error against costs, by pymoo's algorithm, with generations full of allowed networks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from anybudget.architecture import Architecture
from anybudget.budgets import BudgetSet
from anybudget.decoding.feasible import FeasibleSampler
from anybudget.decoding.pareto import pareto_front, quiet_pymoo
from anybudget.evaluation.metrics import written
from anybudget.search.base import Found, exact_costs
from anybudget.search.population import PopulationSettings, PopulationStrategy, next_generation
from anybudget.spaces import SearchSpace

Member = tuple[Architecture, float, dict[str, float]]
"""A member of a front: architecture, `Metrics.merit` (top-1 in percent, say), and every cost by name."""


class NSGA2Settings(PopulationSettings):
    """`[search.nsga2]`: see `PopulationSettings`."""

    from_pool: bool = True


class NSGA2Strategy(PopulationStrategy):
    """Evolves the whole front of validation error against the budgeted costs, and returns its most accurate member.

    The objectives are the primary metric and every budgeted cost as a share of its limit. Offspring that were
    evaluated before or exceed a budget take no place in a generation: others are bred until it is full, and where
    attempts run out, random architectures within the budgets fill it up. So every generation evaluates `population`
    architectures as long as as many are found; the search ends early when none is left.

    Source: GreedyNAS §4.2, which starts from the candidate pool; Deb et al. 2002 (NSGA-II).
    Differs: no architecture comes twice, and breeding a generation is bounded.
    """

    name = "nsga2"
    settings_type = NSGA2Settings
    settings: NSGA2Settings

    def find(self, budgets: BudgetSet) -> Found:
        """See `Strategy.find`; of equally accurate architectures, one that no other undercuts in cost."""
        return Found(self.best([architecture for architecture, _, _ in self.front(budgets)]))

    def front(self, budgets: BudgetSet) -> list[Member]:
        """What no other evaluated architecture dominates, sorted by the cost of the first budget.

        Raises:
            BudgetError: no architecture meets the budgets.
        """
        rng = np.random.default_rng(self.seed)
        sampler = self.feasible(budgets)
        first = self.first_generation(sampler, rng)
        algorithm = self._algorithm(first, _Mating(self, sampler, first, rng), 1 + len(budgets.limits()))
        evaluated: dict[Architecture, float] = {}
        with self.progress.task("nsga2", self.settings.generations) as task:
            for _ in range(self.settings.generations):
                asked = algorithm.ask()
                if asked is None:
                    break  # nothing new is left
                evaluated.update(self._evaluate(algorithm.problem, asked, budgets))
                algorithm.tell(infills=asked)
                best = max(evaluated.values())
                task.advance(1, written(self.evaluator.metric, abs(best)))  # the merit of a loss is its negative
        return self._undominated(evaluated, budgets)

    def _algorithm(self, first: Sequence[Architecture], mating: _Mating, objectives: int) -> Any:
        """pymoo's NSGA-II over arrays of choice indices."""
        quiet_pymoo()
        from pymoo.algorithms.moo.nsga2 import NSGA2  # type: ignore[import-untyped]
        from pymoo.core.problem import Problem  # type: ignore[import-untyped]

        last = np.array([len(decision.choices) - 1 for decision in self.space.decisions])
        problem = Problem(n_var=len(last), n_obj=objectives, xl=np.zeros_like(last), xu=last)
        choices = np.array([architecture.choices for architecture in first])
        algorithm = NSGA2(
            pop_size=self.settings.population, sampling=choices, mating=mating, eliminate_duplicates=False
        )
        # By default it would stop when the front hardly moves; here the number of generations is the user's.
        algorithm.setup(problem, termination=("n_gen", self.settings.generations), seed=self.seed)
        return algorithm

    def _evaluate(self, problem: Any, asked: Any, budgets: BudgetSet) -> dict[Architecture, float]:
        """Give pymoo's individuals their objectives; the merit of each."""
        from pymoo.core.evaluator import Evaluator as Assigner  # type: ignore[import-untyped]
        from pymoo.problems.static import StaticProblem  # type: ignore[import-untyped]

        architectures = [_architecture(self.space, individual) for individual in asked]
        shares = [[self.costs[budget.cost].cost(a) / budget.limit for budget in budgets] for a in architectures]
        merits = [score.merit for score in self.evaluator.scores(architectures)]
        objectives = np.column_stack([-np.array(merits), np.array(shares)])
        Assigner().eval(StaticProblem(problem, F=objectives), asked)
        return dict(zip(architectures, merits, strict=True))

    def _undominated(self, evaluated: Mapping[Architecture, float], budgets: BudgetSet) -> list[Member]:
        """What no other of `evaluated` dominates in merit and the budgeted costs."""
        found = [(a, merit, exact_costs(self.costs, a)) for a, merit in evaluated.items()]
        points = [[-merit, *(costs[budget.cost] for budget in budgets)] for _, merit, costs in found]
        first = next(iter(budgets)).cost
        return sorted((found[index] for index in pareto_front(points)), key=lambda member: member[2][first])


class _Mating:
    """Makes children of two parents from NSGA-II's tournaments; what pymoo calls a mating."""

    def __init__(
        self,
        strategy: NSGA2Strategy,
        sampler: FeasibleSampler,
        first: Sequence[Architecture],
        rng: np.random.Generator,
    ) -> None:
        self._strategy, self._sampler, self._rng = strategy, sampler, rng
        self._known = dict.fromkeys(first)

    def do(self, problem: Any, pop: Any, n_offsprings: int, **options: Any) -> Any:
        """A population of new architectures within the budgets; empty when none is found. Called by pymoo."""
        from pymoo.core.population import Population  # type: ignore[import-untyped]

        offspring = self._offspring(problem, pop, n_offsprings, options)
        children = next_generation([(offspring, n_offsprings)], self._sampler, self._rng, self._known)
        self._known |= dict.fromkeys(children)
        if not children:
            return Population.empty()
        return Population.new(X=np.array([child.choices for child in children]))

    def _offspring(self, problem: Any, pop: Any, pairs: int, options: Mapping[str, Any]) -> Iterator[Architecture]:
        """Crossed and mutated winners of tournaments, `pairs` tournaments at a time, as many as are asked for."""
        from pymoo.algorithms.moo.nsga2 import binary_tournament
        from pymoo.operators.selection.tournament import TournamentSelection  # type: ignore[import-untyped]

        space, selection = self._strategy.space, TournamentSelection(func_comp=binary_tournament)
        while True:
            for parents in selection(problem, pop, pairs, n_parents=2, **options):
                first, second = (_architecture(space, parent) for parent in parents)
                crossed = space.crossover(first, second, self._rng)
                yield space.mutate(crossed, self._rng, self._strategy.settings.mutation)


def _architecture(space: SearchSpace, individual: Any) -> Architecture:
    """The architecture of one of pymoo's individuals."""
    return Architecture(space.name, tuple(int(choice) for choice in individual.X))
