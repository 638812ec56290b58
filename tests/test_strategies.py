"""What `random`, `evolution` and `nsga2` promise beyond `check_strategy`: nothing over a budget is evaluated at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anybudget.architecture import Architecture
from anybudget.budgets import Budget, BudgetSet
from anybudget.costs import CostModel, build_costs
from anybudget.data import DataSplits
from anybudget.decoding.pareto import hypervolume, pareto_front
from anybudget.errors import ArchitectureError, BudgetError
from anybudget.evaluation.evaluator import Evaluator
from anybudget.evaluation.settings import EvaluatorSettings
from anybudget.nets import UnifiedSupernet
from anybudget.search.base import SearchContext, Strategy
from anybudget.search.evolution import EvolutionSettings, EvolutionStrategy
from anybudget.search.nsga2 import NSGA2Settings, NSGA2Strategy
from anybudget.search.random import RandomSettings, RandomStrategy
from anybudget.testing import PlantedEvaluator, check_strategy, planted_objective
from small_spaces import COSTS, MERGED, NETWORKS, SPACES, UNIFIED, budgets_at, within
from tiny_spaces import small_mbconv

LARGE = small_mbconv(14)

Factory = Callable[[Evaluator, Mapping[str, CostModel], int, int], Strategy]
STRATEGIES_UNDER_TEST: dict[str, Factory] = {
    "random": lambda evaluator, costs, effort, seed: RandomStrategy(
        SearchContext(evaluator, costs, seed), RandomSettings(count=effort)
    ),
    "evolution": lambda evaluator, costs, effort, seed: EvolutionStrategy(
        SearchContext(evaluator, costs, seed), EvolutionSettings(population=20, generations=-(-effort // 20))
    ),
    "nsga2": lambda evaluator, costs, effort, seed: NSGA2Strategy(
        SearchContext(evaluator, costs, seed), NSGA2Settings(population=20, generations=-(-effort // 20))
    ),
}
"""How to make every strategy, given evaluator, costs, about how many architectures it may evaluator, and seed."""

every_strategy = pytest.mark.parametrize("name", STRATEGIES_UNDER_TEST)


def planted(
    evaluator: PlantedEvaluator | None = None, *, min_use: float = 0.0, start: Sequence[Architecture] = ()
) -> SearchContext:
    """What strategies search the unified space with."""
    return SearchContext(evaluator or PlantedEvaluator(UNIFIED), COSTS["unified"], min_use=min_use, pool=lambda: start)


def make(name: str, kind: str, *, effort: int = 60, seed: int = 0) -> Strategy:
    return STRATEGIES_UNDER_TEST[name](PlantedEvaluator(SPACES[kind]), COSTS[kind], effort, seed)


def evaluator_of(strategy: Strategy) -> PlantedEvaluator:
    assert isinstance(strategy.evaluator, PlantedEvaluator)
    return strategy.evaluator


@every_strategy
@settings(max_examples=6)
@given(st.sampled_from(list(SPACES)), st.floats(0, 1), st.floats(0, 1), st.booleans(), st.integers(0, 5))
def test_nothing_over_a_budget_is_evaluated(
    name: str, kind: str, first: float, second: float, both: bool, seed: int
) -> None:
    (macs,), (params,) = budgets_at(kind, first, "macs").budgets, budgets_at(kind, second, "params").budgets
    budgets = BudgetSet((macs, params) if both else (params,))
    allowed = set(within(kind, budgets))
    strategy = make(name, kind, seed=seed)
    try:
        (candidate,) = strategy.search([budgets])
    except BudgetError as error:
        assert "together" in str(error)
        assert not allowed
    else:
        assert candidate.architecture in allowed
        assert candidate.supernet_top1_percent == max(map(evaluator_of(strategy).top1, evaluator_of(strategy).given))
    assert set(evaluator_of(strategy).given) <= allowed
    assert strategy.spent.evaluations <= 60


@every_strategy
def test_another_seed_evaluates_others(name: str) -> None:
    runs = [make(name, "unified", seed=seed) for seed in (0, 1)]
    for strategy in runs:
        strategy.find(budgets_at("unified", 0.4, "macs"))
    assert evaluator_of(runs[0]).given != evaluator_of(runs[1]).given


@every_strategy
def test_a_query_does_not_depend_on_those_before(name: str) -> None:
    first, second = budgets_at("unified", 0.2, "macs"), budgets_at("unified", 0.6, "macs", "params")
    together = make(name, "unified").search([first, second])
    alone = [make(name, "unified").search([budgets])[0] for budgets in (first, second)]
    assert [c.architecture for c in together] == [c.architecture for c in alone]


@every_strategy
def test_with_a_real_supernet(name: str, supernet: UnifiedSupernet, data: DataSplits) -> None:
    evaluator = Evaluator(supernet, data, EvaluatorSettings(calibration_images=16))
    costs = build_costs(supernet.space)
    strategy = STRATEGIES_UNDER_TEST[name](evaluator, costs, 40, 0)
    budget_sets = [BudgetSet.parse("macs<=50k"), BudgetSet.parse("macs<=60k, params<=1300")]
    for candidate in strategy.search(budget_sets):
        assert candidate.budgets.allows(candidate.costs)
        assert evaluator.scored[candidate.architecture].top1_percent == candidate.supernet_top1_percent
        assert candidate.log_probability is None
    assert strategy.spent.evaluations == len(evaluator.scored) <= 80
    assert all(
        any(all(costs[b.cost].cost(a) <= b.limit for b in budgets) for budgets in budget_sets) for a in evaluator.scored
    )


# Each strategy for itself.


def test_random_without_a_window_evaluates_everything() -> None:
    """What the registered one cannot be told to do; `tests/test_conformance.py` has the other strategies."""
    count = len(NETWORKS["merged"])
    check_strategy(
        lambda evaluator, costs, seed: STRATEGIES_UNDER_TEST["random"](evaluator, costs, count, seed), MERGED
    )


def test_random_uses_most_of_the_budget() -> None:
    budgets = budgets_at("unified", 0.5, "macs", "params")
    strategy = RandomStrategy(planted(min_use=0.9), RandomSettings(count=20))
    strategy.find(budgets)
    macs = COSTS["unified"]["macs"]
    assert strategy.spent.evaluations == 20
    assert all(0.9 * budgets.limits()["macs"] <= macs.cost(a) for a in evaluator_of(strategy).given)


@pytest.mark.parametrize("generations", [1, 4])
def test_evolution_evaluates_population_times_generations(generations: int) -> None:
    evaluator = PlantedEvaluator(UNIFIED)
    strategy = EvolutionStrategy(planted(evaluator), EvolutionSettings(population=20, generations=generations))
    strategy.find(budgets_at("unified", 0.5, "macs"))
    assert len(evaluator.given) == len(evaluator.scored) == strategy.spent.evaluations == 20 * generations


@pytest.mark.parametrize("kind", [EvolutionStrategy, NSGA2Strategy])
@pytest.mark.parametrize("costs", [("macs",), ("macs", "params")])
def test_every_generation_is_full_under_a_tight_budget(
    kind: type[EvolutionStrategy] | type[NSGA2Strategy], costs: tuple[str, ...]
) -> None:
    """Offspring over the budget or known already take no place: as long as enough exist, generations are full."""
    budgets = budgets_at("unified", 0.35, *costs)
    allowed = within("unified", budgets)
    population, generations = 10, 6
    assert len(allowed) >= population * generations
    evaluator = PlantedEvaluator(UNIFIED)
    calls: list[list[Architecture]] = []
    scores = evaluator.scores
    evaluator.scores = lambda found, progress=None: calls.append(list(found)) or scores(found, progress)  # type: ignore[method-assign, func-returns-value]
    kind(planted(evaluator), kind.settings_type(population=population, generations=generations)).find(budgets)
    evaluated = calls[:generations]
    assert [len(generation) for generation in evaluated] == [population] * generations
    assert len({a for generation in evaluated for a in generation}) == population * generations
    assert {a for generation in evaluated for a in generation} <= set(allowed)


@pytest.mark.parametrize("kind", [EvolutionStrategy, NSGA2Strategy])
def test_a_search_ends_when_every_allowed_network_is_evaluated(
    kind: type[EvolutionStrategy] | type[NSGA2Strategy],
) -> None:
    budgets = budgets_at("unified", 0.1, "macs")
    allowed = within("unified", budgets)
    evaluator = PlantedEvaluator(UNIFIED)
    kind(planted(evaluator), kind.settings_type(population=10, generations=20)).find(budgets)
    assert set(evaluator.scored) == set(allowed)


class Recorder:
    """Progress that remembers everything said."""

    def __init__(self) -> None:
        self.said: list[tuple[str, int, str]] = []

    def task(self, name: str, total: int) -> Any:
        self.said.append((name, total, ""))
        return self

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def advance(self, steps: int = 1, figure: str = "") -> None:
        self.said.append(("", steps, figure))


@pytest.mark.parametrize("kind", [EvolutionStrategy, NSGA2Strategy])
def test_generations_are_reported_and_end_early(kind: type[EvolutionStrategy] | type[NSGA2Strategy]) -> None:
    progress = Recorder()
    context = SearchContext(PlantedEvaluator(MERGED), COSTS["merged"], progress=progress)
    strategy = kind(context, kind.settings_type(population=20, generations=50))
    found = strategy.find(budgets_at("merged", 0.9, "macs")).architecture
    assert progress.said[0] == (strategy.name, 50, "")
    assert progress.said[-1] == ("", 1, f"top-1 {evaluator_of(strategy).top1(found):.2f}%")
    assert 2 <= len(progress.said) - 1 < 50


@pytest.mark.parametrize("kind", [EvolutionStrategy, NSGA2Strategy])
def test_the_start_is_used(kind: type[EvolutionStrategy] | type[NSGA2Strategy]) -> None:
    """The first that meet the budgets come first; none over a budget is evaluated."""
    budgets = budgets_at("unified", 0.5, "macs", "params")
    start = [NETWORKS["unified"][index] for index in np.random.default_rng(0).permutation(256)[:40]]
    fitting = [a for a in start if a in within("unified", budgets)]
    assert 10 < len(fitting) < 30
    evaluator = PlantedEvaluator(UNIFIED)
    kind(
        planted(evaluator, start=start + start), kind.settings_type(population=10, generations=1, from_pool=True)
    ).find(budgets)
    assert list(evaluator.scored) == fitting[:10]
    evaluator = PlantedEvaluator(UNIFIED)
    kind(planted(evaluator, start=start), kind.settings_type(population=30, generations=1, from_pool=True)).find(
        budgets
    )
    assert list(evaluator.scored)[: len(fitting)] == fitting
    assert len(evaluator.scored) == 30


def test_a_start_of_another_space_is_refused() -> None:
    with pytest.raises(ArchitectureError, match="given to space"):
        EvolutionStrategy(planted(start=NETWORKS["merged"][:1]), EvolutionSettings(from_pool=True)).find(
            BudgetSet.parse("macs<=1M")
        )


@pytest.mark.parametrize("name", ["evolution", "nsga2"])
def test_a_search_beats_chance(name: str) -> None:
    """With as many evaluations as random search, a fraction of a percent of the space."""
    costs = build_costs(LARGE)
    values = [costs["macs"].cost(LARGE.sample(np.random.default_rng(seed))) for seed in range(200)]
    budgets = BudgetSet((Budget("macs", float(np.median(values))),))

    def found(name: str, seed: int) -> float:
        evaluator = PlantedEvaluator(LARGE, planted_objective(LARGE, seed))
        return evaluator.top1(STRATEGIES_UNDER_TEST[name](evaluator, costs, 240, seed).find(budgets).architecture)

    gains = [found(name, seed) - found("random", seed) for seed in range(6)]
    assert min(gains) > -1
    assert np.mean(gains) > 1


def test_the_front_is_what_nothing_dominates() -> None:
    budgets = budgets_at("unified", 0.6, "macs", "params")
    strategy = NSGA2Strategy(planted(), NSGA2Settings(population=20, generations=8))
    front, best = strategy.front(budgets), strategy.find(budgets).architecture
    evaluator, costs = evaluator_of(strategy), COSTS["unified"]

    def point(architecture: Architecture) -> tuple[float, ...]:
        return (-evaluator.top1(architecture), *(costs[b.cost].cost(architecture) for b in budgets))

    points = {a: point(a) for a in evaluator.scored}
    expected = {a for a in points if not any(dominates(points[other], points[a]) for other in points)}
    assert {a for a, _, _ in front} == expected
    assert best == max(front, key=lambda member: member[1])[0]
    assert [c["macs"] for _, _, c in front] == sorted(c["macs"] for _, _, c in front)
    for architecture, top1, values in front:
        assert top1 == evaluator.top1(architecture)
        assert values == {name: model.cost(architecture) for name, model in costs.items()}
    tight = strategy.front(budgets_at("unified", 0.01, "macs"))
    assert len(evaluator.scored) > 20 * 8 * 0.5
    assert all(budgets_at("unified", 0.01, "macs").allows(values) for _, _, values in tight)


def test_the_front_s_hypervolume_nears_that_of_all() -> None:
    """Multi-objective selection keeps cheap networks too: nearly all of what the whole space dominates."""
    budgets = budgets_at("unified", 1.0, "macs")
    strategy = NSGA2Strategy(planted(), NSGA2Settings(population=20, generations=12))
    found = strategy.front(budgets)
    evaluator, macs = evaluator_of(strategy), COSTS["unified"]["macs"]
    reference = (100.0, macs.cost(max(NETWORKS["unified"], key=macs.cost)))
    whole = hypervolume([(100 - evaluator.top1(a), macs.cost(a)) for a in NETWORKS["unified"]], reference)
    front = hypervolume([(100 - top1, costs["macs"]) for _, top1, costs in found], reference)
    assert 0.97 * whole < front <= whole


def test_pymoo_says_nothing(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """Not even where it was installed without its compiled modules."""
    functions = pytest.importorskip("pymoo.functions", reason="older releases load them elsewhere")
    from pymoo.config import Config  # type: ignore[import-untyped]

    monkeypatch.setattr(functions, "is_compiled", lambda: False)
    monkeypatch.setattr(functions.FunctionLoader, "_FunctionLoader__instance", None)
    monkeypatch.setitem(Config.warnings, "not_compiled", True)
    make("nsga2", "merged").find(BudgetSet.parse("macs<=1T"))
    assert capfd.readouterr() == ("", "")


# Trade-offs.


def dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    return all(a <= b for a, b in zip(one, other, strict=True)) and tuple(one) != tuple(other)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 2)), max_size=25))
def test_pareto_front_is_what_nothing_dominates(points: list[tuple[int, int, int]]) -> None:
    expected = [i for i, point in enumerate(points) if not any(dominates(other, point) for other in points)]
    assert pareto_front(points).tolist() == expected


@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=12))
def test_hypervolume_counts_the_dominated_cells(points: list[tuple[int, int]]) -> None:
    cells = {(x, y) for x in range(5) for y in range(6) for a, b in points if a <= x and b <= y}
    assert hypervolume(points, (5, 6)) == pytest.approx(len(cells))
