"""`Strategy`: budgets in, architectures out; what it searches with, and the `Candidate` that answers a budget set."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from anybudget.architecture import Architecture
from anybudget.budgets import BudgetSet, least_unused_percent
from anybudget.costs import CostModel
from anybudget.decoding.feasible import FeasibleSampler
from anybudget.decoding.reachability import check_jointly_reachable
from anybudget.errors import BudgetError, ConfigError
from anybudget.evaluation.metrics import Metrics
from anybudget.generator.interval import TrainedInterval
from anybudget.runtime.accounting import Spending
from anybudget.runtime.progress import Progress, SilentProgress
from anybudget.settings import Settings

if TYPE_CHECKING:
    from anybudget.data import DataSource
    from anybudget.evaluation.evaluator import Evaluator
    from anybudget.generator.network import ArchitectureGenerator
    from anybudget.search.raced import Raced
    from anybudget.training.loop import TrainingContext


@dataclass(frozen=True)
class TrainedGenerator:
    """An architecture generator, what its training cost, and the budgets that it was trained for."""

    network: ArchitectureGenerator
    spent: Spending
    interval: TrainedInterval = field(default_factory=TrainedInterval)


@dataclass(frozen=True)
class SearchContext:
    """What a strategy may search with. Only the evaluator and the costs are always there.

    Args:
        evaluator: scores architectures; give every strategy one of its own to compare what they spend.
        costs: every cost model of the space, by name.
        seed: draws everything that is random; every query starts from it.
        min_use: the least share of a budget that has to be used, 0 to 1.
        progress: where long work says how far it is.
        cost_name: the cost that distributions are conditioned on; the first if not given.
        data: what is trained on, by strategies that train.
        generator: the trained generator of this supernet.
        pool: the candidate pool of the supernet's training, best first; empty where it kept none.
        training_context: who watches a training, by its name.
    """

    evaluator: Evaluator
    costs: Mapping[str, CostModel]
    seed: int = 0
    min_use: float = 0.0
    progress: Progress = field(default_factory=SilentProgress)
    cost_name: str | None = None
    data: DataSource | None = None
    generator: Callable[[], TrainedGenerator] | None = None
    pool: Callable[[], Sequence[Architecture]] | None = None
    training_context: Callable[[str], TrainingContext] | None = None

    @property
    def cost(self) -> CostModel:
        """The cost that distributions are conditioned on."""
        return self.costs[self.cost_name or next(iter(self.costs))]


@dataclass(frozen=True, slots=True)
class Found:
    """What `find` found; the natural logarithm of its probability where it comes from a distribution."""

    architecture: Architecture
    log_probability: float | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """One architecture found for one budget set.

    `metrics` are of the validation images, with the supernet's weights; beside them stands the share of the largest
    class of these images: what always answering with it would score in top-1. `slack` is what each budget leaves
    unused, limit minus cost, in the cost's unit; never below 0. `log_probability` is None for strategies that have no
    distribution. `seconds` is the time of this query, evaluation included. `race` is the race that the architecture has
    won, if there was one, whose time is not in `seconds`, since budget sets share it.
    """

    budgets: BudgetSet
    architecture: Architecture
    costs: Mapping[str, float]
    metrics: Metrics
    validation_largest_class_percent: float
    log_probability: float | None
    seconds: float
    race: Raced | None = None

    @property
    def supernet_top1_percent(self) -> float:
        """Validation top-1 with the supernet's weights."""
        return self.metrics.top1_percent

    @property
    def slack(self) -> dict[str, float]:
        """Limit minus cost of each budget."""
        return self.budgets.slack(self.costs)

    def to_dict(self) -> dict[str, Any]:
        """The documented JSON object of `anybudget generate --json`."""
        return {
            **found_for(self.budgets, self.architecture, self.costs),
            **self.metrics.to_dict("supernet"),
            "validation_largest_class_percent": self.validation_largest_class_percent,
            "log_probability": self.log_probability,
            "seconds": self.seconds,
            **({} if self.race is None else {"race": self.race.to_dict()}),
        }


class Strategy(ABC):
    """A way to find architectures under hard budgets, evaluated by one supernet.

    Whatever is evaluated for a budget set is `allowed`: within every budget, and using at least the share `min_use` of
    what the budgets together leave attainable of their first cost. The floor is the same for all strategies, 0 unless
    asked for, and dropped for a budget set that no network uses as much of.

    A strategy has a `name`, and a `settings_type` with the default of every setting; it is made of a `SearchContext`
    and such settings. One that asks the context's trained generator says so by `needs_generator`, so that a run trains
    one for it; one whose distributions are conditioned on the context's cost by `conditioned`.

    Raises:
        ConfigError: the settings are of another strategy, or the context lacks what this one needs.
    """

    name: ClassVar[str]
    settings_type: ClassVar[type[Settings]] = Settings
    needs_generator: ClassVar[bool] = False
    conditioned: ClassVar[bool] = False

    def __init__(self, context: SearchContext, settings: Settings | None = None) -> None:
        self.settings = self.settings_type() if settings is None else settings
        if not isinstance(self.settings, self.settings_type):
            raise ConfigError(
                f"strategy {self.name}: is set by {self.settings_type.__name__}, found {type(settings).__name__}"
            )
        self.context = context
        self.evaluator = context.evaluator
        self.space = context.evaluator.supernet.space
        self.costs = context.costs
        self.terms = {name: model.terms for name, model in context.costs.items()}
        self.min_use = context.min_use
        self.seed = context.seed
        self.progress = context.progress
        self.training = Spending()
        self._feasible: dict[BudgetSet, FeasibleSampler] = {}
        self._exact: dict[Architecture, dict[str, float]] = {}

    @property
    def spent(self) -> Spending:
        """What the search has cost so far: supernet forwards of its own training, and of evaluating."""
        return self.training + self.evaluator.spent

    def search(self, budgets: Sequence[BudgetSet]) -> list[Candidate]:
        """One candidate per budget set, in order; each meets its budgets exactly.

        All budget sets are checked before the first is answered.

        Raises:
            BudgetError: a budget set cannot be met by any architecture of the space.
        """
        self.check(budgets)
        return [self.answer(budget_set) for budget_set in budgets]

    def check(self, budgets: Sequence[BudgetSet]) -> None:
        """Check that all budget sets can be met.

        Raises:
            BudgetError: one cannot be met by any architecture of the space.
        """
        for budget_set in budgets:
            check_jointly_reachable(self.terms, budget_set)

    def answer(self, budgets: BudgetSet, find: Callable[[BudgetSet], Found] | None = None) -> Candidate:
        """The candidate for one budget set: what `find`, by default the strategy's own, finds for it."""
        started = time.perf_counter()
        found = (find or self.find)(budgets)
        costs = exact_costs(self.costs, found.architecture)
        if not budgets.allows(costs):
            raise BudgetError(f"{self.name}: found an architecture over {budgets}; this is a defect of the strategy")
        (metrics,) = self.evaluator.scores([found.architecture])
        seconds = time.perf_counter() - started
        return Candidate(
            budgets,
            found.architecture,
            costs,
            metrics,
            self.evaluator.largest_class_percent,
            found.log_probability,
            seconds,
        )

    @abstractmethod
    def find(self, budgets: BudgetSet) -> Found:
        """The best architecture found within the budgets, by validation top-1.

        Raises:
            BudgetError: no architecture meets the budgets.
        """

    def best(self, architectures: Sequence[Architecture]) -> Architecture:
        """The one with the highest top-1, and the lowest loss among equals; evaluates those that are new."""
        return best_first(dict(zip(architectures, self.evaluator.scores(architectures), strict=True)))[0]

    def feasible(self, budgets: BudgetSet) -> FeasibleSampler:
        """What may be evaluated for these budgets, and random networks of it.

        Raises:
            BudgetError: no architecture meets the budgets.
        """
        if budgets not in self._feasible:
            self._feasible[budgets] = FeasibleSampler.using(self.space, self.costs, budgets, self.min_use, self.seed)
        return self._feasible[budgets]

    def allowed(self, architecture: Architecture, budgets: BudgetSet) -> bool:
        """Whether an architecture meets the budgets exactly, and uses as much of them as `min_use` asks for."""
        return self.feasible(budgets).allows(architecture)

    def within(self, budgets: BudgetSet, evaluated: Iterable[Architecture]) -> list[Architecture]:
        """Those of some evaluated architectures that are `allowed`, in order.

        Their costs are kept: with many budget sets each is asked about for all of them.
        """
        sampler, found = self.feasible(budgets), []
        for architecture in evaluated:
            costs = self._exact.get(architecture)
            if costs is None:
                costs = self._exact[architecture] = exact_costs(self.costs, architecture)
            if sampler.admits(costs):
                found.append(architecture)
        return found


def found_for(budgets: BudgetSet, architecture: Architecture, costs: Mapping[str, float]) -> dict[str, Any]:
    """What the JSON object of every answer begins with."""
    return {
        "budgets": budgets.limits(),
        "architecture": architecture.to_dict(),
        "costs": dict(costs),
        "slack": budgets.slack(costs),
        "unused_percent": least_unused_percent(budgets.limits(), costs),
    }


def best_first(scores: Mapping[Architecture, Metrics]) -> list[Architecture]:
    """Scored architectures in order of `Metrics.rank`."""
    return sorted(scores, key=lambda architecture: scores[architecture].rank, reverse=True)


def exact_costs(costs: Mapping[str, CostModel], architecture: Architecture) -> dict[str, float]:
    """Every cost of `architecture`, by name."""
    return {name: model.cost(architecture) for name, model in costs.items()}
