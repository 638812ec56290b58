"""The conformance check of search strategies: brute force over a small space, by a planted evaluator."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from anybudget.architecture import Architecture
from anybudget.budgets import Budget, BudgetSet
from anybudget.costs import CostModel, CostTerms, build_costs
from anybudget.errors import BudgetError
from anybudget.evaluation.evaluator import Evaluator
from anybudget.nets import Supernet, build_supernet
from anybudget.search.base import Candidate, Strategy
from anybudget.spaces import BlockSpec, SearchSpace
from anybudget.testing.planted import PlantedEvaluator, planted_objective

Array = NDArray[np.float64]
MakeStrategy = Callable[[Evaluator, Mapping[str, CostModel], int], Strategy]
"""Makes a strategy that has not searched yet, of the evaluator, every cost model by name, and a seed."""


def check_strategy(
    make_strategy: MakeStrategy,
    space: SearchSpace,
    *,
    costs: Mapping[str, CostModel] | None = None,
    reaches_optimum: bool = True,
    seed: int = 0,
) -> None:
    """Check what every search promises, by brute force over a small space whose best networks are known.

    Budgets of one cost and of two at once, also such that hardly any network or every network meets them: every answer
    meets all of its budgets exactly, what it says of itself is so, and it was evaluated. The same seed gives the same
    answers. No network is evaluated twice, `spent` counts each that was evaluated, and the supernet stays as it is.
    Budgets that are unknown or cannot be met are refused before anything is evaluated or trained.

    Args:
        make_strategy: makes the strategy with the settings to be checked.
        space: a small space, as its networks are enumerated, of which some supernet is registered.
        costs: above 0, by name; the first two are budgeted. By default every registered one.
        reaches_optimum: whether the strategy evaluates so much that each answer is the best network within the budgets.
            Where it does not, say so; every strategy that can be made to evaluate a whole small space does.
        seed: draws the supernet's weights, the planted scores and what the strategy draws.

    Raises:
        AssertionError: says what does not hold.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        supernet = build_supernet(space)
    bench = _Bench(make_strategy, costs or build_costs(space), supernet, planted_objective(space, seed), seed)
    weights = copy.deepcopy(supernet.state_dict())
    few, others = bench.budgets()
    first, second = bench.new(), bench.new()
    found, again = first.answers(few), second.answers(few)
    assert [c.architecture for c in found] == [c.architecture for c in again], "the same seed gives other answers"
    assert first.evaluator.given == second.evaluator.given, "the same seed evaluates other architectures"
    for candidate in (*found, *first.answers(others)):
        bench.check_candidate(candidate)
        if reaches_optimum:
            bench.check_optimum(candidate)
    for name, value in supernet.state_dict().items():
        assert torch.equal(value, weights[name]), f"the search changed {name} of the supernet"
    bench.check_refusals()


@dataclass(frozen=True)
class _Search:
    """A strategy and the evaluator that it was given."""

    strategy: Strategy
    evaluator: PlantedEvaluator

    def answers(self, budgets: Sequence[BudgetSet]) -> list[Candidate]:
        """What the strategy finds, after checks of what it evaluated for it."""
        try:
            candidates = self.strategy.search(budgets)
        except BudgetError as error:
            raise AssertionError(f"search() refused budgets that some network meets: {error}") from error
        assert [candidate.budgets for candidate in candidates] == list(budgets), (
            "there is not one answer per budget set"
        )
        for candidate in candidates:
            assert candidate.architecture in self.evaluator.scored, f"{candidate.architecture} was never evaluated"
        spent, evaluated = self.strategy.spent, len(self.evaluator.scored)
        assert spent.evaluations == evaluated, (
            f"spent counts {spent.evaluations} evaluations, {evaluated} were evaluated"
        )
        assert min(spent.images, spent.macs, spent.seconds) >= 0, f"spent is below 0: {spent}"
        return candidates


class _Bench:
    """Everything that strategies are made of and compared with: every network of the space and what it costs."""

    def __init__(
        self,
        make: MakeStrategy,
        costs: Mapping[str, CostModel],
        supernet: Supernet,
        objective: CostTerms,
        seed: int,
    ) -> None:
        self.make, self.costs, self.supernet, self.objective, self.seed = make, costs, supernet, objective, seed
        self.space = supernet.space
        networks = list(self.space.enumerate())
        self.top1 = np.array([objective.cost(network.choices) for network in networks])
        self.values = {name: np.array([model.cost(a) for a in networks]) for name, model in costs.items()}

    def new(self, costs: Mapping[str, CostModel] | None = None) -> _Search:
        """A strategy with an evaluator of its own."""
        evaluator = PlantedEvaluator(self.space, self.objective, supernet=self.supernet)
        strategy = self.make(evaluator, costs or self.costs, self.seed)
        assert strategy.evaluator is evaluator, "the strategy evaluates with another evaluator than it was given"
        return _Search(strategy, evaluator)

    def budgets(self) -> tuple[list[BudgetSet], list[BudgetSet]]:
        """What is asked for, and what is asked for next: each can be met, most of them exactly."""
        first, *others = self.values
        values = self.values[first]
        least = float(values.min())
        few = [{first: least}, {first: 1000.0 * float(values.max())}]
        # Missed by the smallest of margins by the network that everything else speaks for.
        more = [{first: max(float(np.nextafter(values[self.top1.argmax()], 0.0)), least)}]
        more.append({first: float(np.quantile(values, 0.3, method="lower"))})
        for other in others[:1]:
            median = int(np.argsort(values, kind="stable")[len(values) // 2])
            cheapest = int(np.lexsort((values, self.values[other]))[0])
            few.append({name: float(self.values[name][median]) for name in (first, other)})
            more.append({name: float(self.values[name][cheapest]) for name in (other, first)})
            more.append({other: float(np.quantile(self.values[other], 0.3, method="lower"))})
        return [_budget_set(limits) for limits in few], [_budget_set(limits) for limits in more]

    def check_candidate(self, candidate: Candidate) -> None:
        """Check that an answer is within its budgets, and that what it says is so."""
        architecture = candidate.architecture
        self.space.validate(architecture)
        assert self.space.simplified(architecture) == architecture, f"{architecture} is not canonical"
        costs = {name: model.cost(architecture) for name, model in self.costs.items()}
        for budget in candidate.budgets:
            cost = costs[budget.cost]
            assert cost <= budget.limit, f"{architecture} costs {cost!r} {budget.cost}, over {budget.limit!r}"
        limits = candidate.budgets.limits()
        top1 = self.objective.cost(architecture.choices)
        assert dict(candidate.costs) == costs, f"costs are {dict(candidate.costs)}, recomputed {costs}"
        assert candidate.slack == {name: limit - costs[name] for name, limit in limits.items()}
        assert candidate.supernet_top1_percent == top1, f"top-1 is {candidate.supernet_top1_percent}, evaluated {top1}"
        probability = candidate.log_probability
        assert probability is None or -math.inf < probability <= 0, f"log_probability is {probability}"
        assert 0 <= candidate.seconds < math.inf, f"seconds is {candidate.seconds}"
        row = json.loads(json.dumps(candidate.to_dict()))
        assert Architecture.from_dict(row["architecture"], "to_dict()") == architecture
        assert (row["budgets"], row["costs"]) == (limits, costs)

    def check_optimum(self, candidate: Candidate) -> None:
        """Check that nothing within the budgets is better."""
        within = np.all([self.values[budget.cost] <= budget.limit for budget in candidate.budgets], axis=0)
        best = float(self.top1[within].max())
        found = candidate.supernet_top1_percent
        assert found == best, f"under {candidate.budgets} the best has {best:.3f}%, the answer {found:.3f}%"

    def check_refusals(self) -> None:
        """Check that what cannot be met is refused first of all, also behind what can, or together with it."""
        name, values = next(iter(self.values.items()))
        most, too_little = float(values.max()), float(values.min()) / 2
        rest = _Rest(self.costs[name], float(values.min() + values.max()))
        costs = {**self.costs, rest.name: rest}
        for refused in ({"no_such_cost": 1.0}, {name: too_little}, {rest.name: most, name: too_little}):
            self._check_refusal([_budget_set({name: most}), _budget_set(refused)], costs)
        levels = np.unique(values)
        if len(levels) > 1:  # each budget alone leaves about half of the networks, both none
            middle = len(levels) // 2
            limits = {name: float(levels[middle - 1]), rest.name: rest.cost_of(float(levels[middle]))}
            self._check_refusal([_budget_set({name: most}), _budget_set(limits)], costs)

    def _check_refusal(self, budgets: Sequence[BudgetSet], costs: Mapping[str, CostModel]) -> None:
        search = self.new(costs)
        before = copy.copy(search.strategy.training)
        refused = False
        try:
            search.strategy.search(budgets)
        except BudgetError:
            refused = True
        assert refused, f"search() took budgets that no network meets: {budgets[-1]}"
        assert not search.evaluator.given, f"{budgets[-1]} was refused after something had been evaluated"
        assert search.strategy.training == before, f"{budgets[-1]} was refused after something had been trained"


class _Rest(CostModel):
    """What a network leaves of a total of another cost: the less, the more of that it takes."""

    def __init__(self, model: CostModel, total: float) -> None:
        self.name, self.unit, self.space = f"rest_of_{model.name}", model.unit, model.space
        self._model, self._total = model, total

    def cost(self, architecture: Architecture) -> float:
        return self.cost_of(self._model.cost(architecture))

    def cost_of(self, used: float) -> float:
        """What is left when `used` has been taken."""
        return self._total - used

    def count(self, specs: Sequence[BlockSpec]) -> float:
        return self.cost_of(self._model.count(specs))

    @property
    def terms(self) -> CostTerms:
        terms = self._model.terms
        return CostTerms(
            self.cost_of(terms.constant),
            tuple(-row for row in terms.unary),
            {pair: -table for pair, table in terms.pairwise.items()},
        )


def _budget_set(limits: Mapping[str, float]) -> BudgetSet:
    return BudgetSet(tuple(Budget(cost, limit) for cost, limit in limits.items()))
