"""The NSGA-II strategy: error against costs, by pymoo's algorithm, with generations full of allowed networks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from anybudget.architecture import Architecture
from anybudget.budgets import BudgetSet
from anybudget.costs import CostModel
from anybudget.decoding.feasible import FeasibleSampler
from anybudget.decoding.pareto import pareto_front, quiet_pymoo
from anybudget.evaluation.evaluator import Evaluator
from anybudget.evaluation.metrics import title
from anybudget.runtime.progress import Progress
from anybudget.search.base import Strategy, exact_costs
from anybudget.search.breeding import new_and_allowed
from anybudget.spaces import SearchSpace


class NSGA2Strategy(Strategy):
    """Evolves the whole front of validation error against the budgeted costs, and returns its most accurate member.

    The objectives are the error in percent and every budgeted cost as a share of its limit. Offspring that were
    evaluated before or exceed a budget take no place in a generation: others are bred until it is full, and where
    attempts run out, random architectures within the budgets fill it up. So every generation evaluates `population`
    architectures as long as as many are found; the search ends early when none is left. After `find`, `front` holds
    what no other evaluated architecture dominates: architecture, top-1 in percent, and every cost by name; sorted
    by the first budget's cost.

    Args:
        evaluator: the evaluator.
        costs: every cost model of the space, by name.
        population: architectures per generation.
        generations: how many there are, the first included; at most `population * generations` architectures.
        mutation: probability of every choice of a child to be replaced, 0 to 1.
        start: the first population in order of preference, such as a `CandidatePool`; those over a budget are left
            out, missing ones are random.
        min_use: see `Strategy`.
        seed: draws everything that is random; every query starts from it.
        progress: where long work says how far it is.

    Source: GreedyNAS §4.2, which starts from the candidate pool; Deb et al. 2002 (NSGA-II).
    Differs: no architecture comes twice, and breeding a generation is bounded.
    """

    name = "nsga2"

    def __init__(
        self,
        evaluator: Evaluator,
        costs: Mapping[str, CostModel],
        *,
        population: int = 50,
        generations: int = 20,
        mutation: float = 0.1,
        start: Iterable[Architecture] = (),
        min_use: float = 0.0,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> None:
        super().__init__(evaluator, costs, min_use=min_use, seed=seed, progress=progress)
        self.population = population
        self.generations = generations
        self.mutation = mutation
        self.start = tuple(start)
        self.front: list[tuple[Architecture, float, dict[str, float]]] = []

    def find(self, budgets: BudgetSet) -> Architecture:
        """See `Strategy.find`; of equally accurate architectures, one that no other undercuts in cost."""
        rng = np.random.default_rng(self.seed)
        sampler = self.feasible(budgets)
        first = sampler.population(self.population, rng, self.start)
        algorithm = self._algorithm(first, _Breeding(self, budgets, sampler, first, rng), 1 + len(budgets.limits()))
        evaluated: dict[Architecture, float] = {}
        with self.progress.task("nsga2", self.generations) as task:
            for _ in range(self.generations):
                asked = algorithm.ask()
                if asked is None:
                    break  # nothing new is left
                evaluated.update(self._evaluate(algorithm.problem, asked, budgets))
                algorithm.tell(infills=asked)
                task.advance(1, f"{title(self.evaluator.metric)} {max(evaluated.values()):.2f}%")
        self.front = self._front(evaluated, budgets)
        return self.best([architecture for architecture, _, _ in self.front])

    def _algorithm(self, first: Sequence[Architecture], breeding: _Breeding, objectives: int) -> Any:
        """pymoo's NSGA-II over arrays of choice indices."""
        quiet_pymoo()
        from pymoo.algorithms.moo.nsga2 import NSGA2  # type: ignore[import-untyped]
        from pymoo.core.problem import Problem  # type: ignore[import-untyped]

        last = np.array([len(decision.choices) - 1 for decision in self.space.decisions])
        problem = Problem(n_var=len(last), n_obj=objectives, xl=np.zeros_like(last), xu=last)
        choices = np.array([architecture.choices for architecture in first])
        algorithm = NSGA2(pop_size=self.population, sampling=choices, mating=breeding, eliminate_duplicates=False)
        # By default it would stop when the front hardly moves; here the number of generations is the user's.
        algorithm.setup(problem, termination=("n_gen", self.generations), seed=self.seed)
        return algorithm

    def _evaluate(self, problem: Any, asked: Any, budgets: BudgetSet) -> dict[Architecture, float]:
        """Give pymoo's individuals their objectives; top-1 in percent of each."""
        from pymoo.core.evaluator import Evaluator as Assigner  # type: ignore[import-untyped]
        from pymoo.problems.static import StaticProblem  # type: ignore[import-untyped]

        architectures = [_architecture(self.space, individual) for individual in asked]
        shares = [[self.costs[budget.cost].cost(a) / budget.limit for budget in budgets] for a in architectures]
        top1 = [score.value for score in self.evaluator.scores(architectures)]
        objectives = np.column_stack([100.0 - np.array(top1), np.array(shares)])
        Assigner().eval(StaticProblem(problem, F=objectives), asked)
        return dict(zip(architectures, top1, strict=True))

    def _front(
        self, evaluated: Mapping[Architecture, float], budgets: BudgetSet
    ) -> list[tuple[Architecture, float, dict[str, float]]]:
        """What no other of `evaluated` dominates in top-1 and the budgeted costs."""
        found = [(a, top1, exact_costs(self.costs, a)) for a, top1 in evaluated.items()]
        points = [[-top1, *(costs[budget.cost] for budget in budgets)] for _, top1, costs in found]
        first = next(iter(budgets)).cost
        return sorted((found[index] for index in pareto_front(points)), key=lambda member: member[2][first])


class _Breeding:
    """Makes children of two parents from NSGA-II's tournaments; what pymoo calls a mating."""

    def __init__(
        self,
        strategy: NSGA2Strategy,
        budgets: BudgetSet,
        sampler: FeasibleSampler,
        first: Sequence[Architecture],
        rng: np.random.Generator,
    ) -> None:
        self._strategy, self._budgets, self._sampler, self._rng = strategy, budgets, sampler, rng
        self._known = dict.fromkeys(first)

    def do(self, problem: Any, pop: Any, n_offsprings: int, **options: Any) -> Any:
        """A population of new architectures within the budgets; empty when none is found. Called by pymoo."""
        from pymoo.core.population import Population  # type: ignore[import-untyped]

        children = new_and_allowed(
            self._offspring(problem, pop, n_offsprings, options),
            n_offsprings,
            known=self._known,
            allowed=lambda child: self._strategy.allowed(child, self._budgets),
        )
        self._known |= dict.fromkeys(children)
        children += self._sampler.sample(n_offsprings - len(children), self._rng, known=self._known)
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
                yield space.mutate(crossed, self._rng, self._strategy.mutation)


def _architecture(space: SearchSpace, individual: Any) -> Architecture:
    """The architecture of one of pymoo's individuals."""
    return Architecture(space.name, tuple(int(choice) for choice in individual.X))
