"""`check_sampler` and `check_strategy` find what is wrong: each of these breaks one promise, and is told which."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from anybudget.architecture import Architecture
from anybudget.budgets import BudgetSet
from anybudget.costs import CostModel
from anybudget.decoding.reachability import check_reachable
from anybudget.evaluation.evaluator import Evaluator
from anybudget.runtime.accounting import Spending
from anybudget.search.base import Candidate, Found, SearchContext
from anybudget.search.random import RandomSettings, RandomStrategy
from anybudget.spaces import PathEncoding
from anybudget.testing import PlantedEvaluator, check_sampler, check_strategy
from anybudget.training.greedy import GreedySampler, GreedySettings
from anybudget.training.samplers import Length, ScorePaths, UniformSampler
from tiny_spaces import small_mbconv

SPACE = small_mbconv(3)  # 21 networks in 27 encodings


class Unseeded(UniformSampler):
    def paths(self, rng: np.random.Generator, score: ScorePaths) -> list[PathEncoding]:
        del rng
        return super().paths(np.random.default_rng(), score)


class Deaf(UniformSampler):
    def __init__(self) -> None:
        super().__init__(SPACE)
        self.own = np.random.default_rng(0)

    def paths(self, rng: np.random.Generator, score: ScorePaths) -> list[PathEncoding]:
        del rng
        return super().paths(self.own, score)


class Foreign(UniformSampler):
    def paths(self, rng: np.random.Generator, score: ScorePaths) -> list[PathEncoding]:
        return [PathEncoding("elsewhere", path.operations) for path in super().paths(rng, score)]


class Silent(UniformSampler):
    def paths(self, rng: np.random.Generator, score: ScorePaths) -> list[PathEncoding]:
        return super().paths(rng, score)[: int(rng.integers(2))]


class Blind(UniformSampler):
    """Never trains operation 2 of the last layer."""

    def paths(self, rng: np.random.Generator, score: ScorePaths) -> list[PathEncoding]:
        while (path := super().paths(rng, score)[0]).operations[-1] == (2,):
            pass
        return [path]


class Numb(UniformSampler):
    finished = 0  # type: ignore[assignment]


class Curious(UniformSampler):
    """Asks `times` for the losses of what it trains."""

    def __init__(self, times: int, *, spelled: bool = True) -> None:
        super().__init__(SPACE)
        self.times, self.spelled = times, spelled

    def paths(self, rng: np.random.Generator, score: ScorePaths) -> list[PathEncoding]:
        paths = super().paths(rng, score)
        for _ in range(self.times):
            score(paths if self.spelled else [self.space.canonical(path) for path in paths])  # type: ignore[misc]
        return paths


class Turns(UniformSampler):
    """Trains a path twice in turn: it remembers the last, and says what `state` makes of that."""

    def __init__(self, state: Callable[[list[PathEncoding]], Any]) -> None:
        super().__init__(SPACE)
        self.state, self.last = state, list[PathEncoding]()

    def paths(self, rng: np.random.Generator, score: ScorePaths) -> list[PathEncoding]:
        if self.last:
            return [self.last.pop()]
        self.last += super().paths(rng, score)
        return list(self.last)

    def state_dict(self) -> dict[str, Any]:
        return {"last": self.state(self.last)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.last[:] = [PathEncoding(SPACE.name, tuple(map(tuple, operations))) for operations in state["last"]]


def operations(paths: list[PathEncoding]) -> list[Any]:
    return [path.operations for path in paths]


class Fickle(UniformSampler):
    """Its state is a list that goes on changing."""

    def __init__(self) -> None:
        super().__init__(SPACE)
        self.calls: list[int] = []

    def paths(self, rng: np.random.Generator, score: ScorePaths) -> list[PathEncoding]:
        self.calls.append(1)
        return super().paths(rng, score)

    def state_dict(self) -> dict[str, Any]:
        return {"calls": self.calls}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.calls = state["calls"]


class Forgetful(GreedySampler):
    """Forgets in which order paths came into its pool."""

    def state_dict(self) -> dict[str, Any]:
        state = super().state_dict()
        state["pool"]["members"].sort()
        return state


def greedy(kind: type[GreedySampler]) -> GreedySampler:
    return kind(SPACE, GreedySettings(sampled=4, kept=2, pool_size=4, warmup=0.1, window=3), Length(60))


@pytest.mark.parametrize(
    ("make", "scores", "message"),
    [
        (lambda: Unseeded(SPACE), False, "depend on nothing but the generator"),
        (Deaf, False, "another seed draws the same"),
        (lambda: Foreign(SPACE), False, "not of the space"),
        (lambda: Silent(SPACE), False, "gave none"),
        (lambda: Blind(SPACE), False, "layer 3: 500 paths never came to"),
        (lambda: Numb(SPACE), False, "no truth value"),
        (lambda: Curious(1), False, "not to look at any"),
        (lambda: Curious(2), True, "asked for losses 2 times"),
        (lambda: Curious(1, spelled=False), True, "is no PathEncoding"),
        (lambda: UniformSampler(SPACE), True, "asked for no losses"),
        (lambda: Turns(lambda _: []), False, "goes on with other paths"),
        (lambda: Turns(list), False, "no plain data"),
        (Fickle, False, "changes with the sampler"),
        (lambda: greedy(Forgetful), True, "goes on with other paths|once it has been loaded"),
    ],
)
def test_broken_samplers_are_found(make: Callable[[], UniformSampler], scores: bool, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_sampler(lambda _: make(), SPACE, scores=scores, most=500)


@pytest.mark.parametrize(
    ("make", "scores"),
    [(lambda: Turns(operations), False), (lambda: Curious(1), True), (lambda: greedy(GreedySampler), True)],
)
def test_sound_samplers_pass(make: Callable[[], UniformSampler], scores: bool) -> None:
    check_sampler(lambda _: make(), SPACE, scores=scores, most=500)


Find = Callable[[BudgetSet], Found]


class Sound(RandomStrategy):
    """Evaluates all there is; what is derived from it breaks one promise."""

    def __init__(self, evaluator: Evaluator, costs: Mapping[str, CostModel], seed: int) -> None:
        super().__init__(SearchContext(evaluator, costs, seed), RandomSettings(count=21))


class Tolerant(Sound):
    """Lets a budget slip by a rounding error, which the base class would see."""

    def answer(self, budgets: BudgetSet, find: Find | None = None) -> Candidate:
        answers = [super().answer(budgets, find)]
        for architecture in SPACE.enumerate():
            costs = {name: model.cost(architecture) for name, model in self.costs.items()}
            if all(costs[budget.cost] <= budget.limit * (1 + 1e-9) for budget in budgets):
                metrics = self.evaluator.score(architecture)
                answers.append(replace(answers[0], architecture=architecture, costs=costs, metrics=metrics))
        return max(answers, key=lambda candidate: candidate.supernet_top1_percent)


class Hasty(Sound):
    """Does not look at what is asked for before it begins."""

    def search(self, budgets: Sequence[BudgetSet]) -> list[Candidate]:
        return [self.answer(budget_set) for budget_set in budgets]


class Eager(Sound):
    """Looks at each budget, and not whether they can be met together."""

    def search(self, budgets: Sequence[BudgetSet]) -> list[Candidate]:
        for budget_set in budgets:
            check_reachable(self.terms, budget_set)
        return [self.answer(budget_set) for budget_set in budgets]


class Lazy(Sound):
    def find(self, budgets: BudgetSet) -> Found:
        return Found(min((a for a in SPACE.enumerate() if self.allowed(a, budgets)), key=lambda a: a.choices))


class Timid(Sound):
    """Keeps a distance from every limit."""

    def search(self, budgets: Sequence[BudgetSet]) -> list[Candidate]:
        tighter = [
            BudgetSet(tuple(replace(b, limit=b.limit * (1 - 1e-9)) for b in budget_set)) for budget_set in budgets
        ]
        return [replace(c, budgets=b) for c, b in zip(super().search(tighter), budgets, strict=True)]


class Restless(Sound):
    def find(self, budgets: BudgetSet) -> Found:
        allowed = [a for a in SPACE.enumerate() if self.allowed(a, budgets)]
        return Found(self.best([allowed[index] for index in np.random.default_rng().permutation(len(allowed))]))


class Verbose(Sound):
    """Evaluates every encoding."""

    def find(self, budgets: BudgetSet) -> Found:
        self.evaluator.score(Architecture(SPACE.name, (1, 0, 1)))  # the same network as (1, 1, 0)
        return super().find(budgets)


class Modest(Sound):
    @property
    def spent(self) -> Spending:
        return self.training


class Stranger(Sound):
    def __init__(self, evaluator: Evaluator, costs: Mapping[str, CostModel], seed: int) -> None:
        super().__init__(PlantedEvaluator(evaluator.supernet.space), costs, seed)


class Heavy(Sound):
    def find(self, budgets: BudgetSet) -> Found:
        with torch.no_grad():
            next(self.evaluator.supernet.parameters()).add_(1.0)
        return super().find(budgets)


class Boastful(Sound):
    def answer(self, budgets: BudgetSet, find: Find | None = None) -> Candidate:
        found = super().answer(budgets, find)
        figures = {**found.metrics.figures, "top1_percent": 100.0}
        return replace(found, metrics=replace(found.metrics, figures=figures))


class Vague(Sound):
    def answer(self, budgets: BudgetSet, find: Find | None = None) -> Candidate:
        found = super().answer(budgets, find)
        return replace(found, costs={budget.cost: found.costs[budget.cost] for budget in budgets})


class Certain(Sound):
    def find(self, budgets: BudgetSet) -> Found:
        return replace(super().find(budgets), log_probability=3.0)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Tolerant, "over"),
        (Hasty, "after something had been evaluated"),
        (Eager, "after something had been evaluated"),
        (Lazy, "the best has"),
        (Timid, "refused budgets that some network meets"),
        (Restless, "the same seed evaluates other"),
        (Verbose, "is not canonical"),
        (Modest, "spent counts 0 evaluations"),
        (Stranger, "another evaluator"),
        (Heavy, "of the supernet"),
        (Boastful, "top-1 is 100"),
        (Vague, "costs are"),
        (Certain, "log_probability is 3"),
    ],
)
def test_broken_strategies_are_found(kind: type[Sound], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_strategy(kind, SPACE)


def test_a_sound_strategy_passes() -> None:
    check_strategy(Sound, SPACE)
