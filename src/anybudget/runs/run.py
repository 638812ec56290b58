"""`Run`: the public face of a run, for Python and the command line; its stages are in `runs.stages`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import torch

from anybudget.architecture import Architecture
from anybudget.budgets import BudgetSet
from anybudget.costs import CostModel
from anybudget.data import DataSource
from anybudget.evaluation.evaluator import Evaluator
from anybudget.export.forms import Wanted
from anybudget.generator.network import ArchitectureGenerator
from anybudget.nets import Supernet
from anybudget.recipe import Recipe
from anybudget.recipe.trainings import Inherit
from anybudget.report import write_report
from anybudget.runs.checks import check_recipe
from anybudget.runs.context import EngineFactory, RunContext
from anybudget.runs.exporting import export_network
from anybudget.runs.instant import instant_generator
from anybudget.runs.opening import create_run, open_run
from anybudget.runs.rivals import Question
from anybudget.runs.searching import StrategyChoice, make_strategy
from anybudget.runs.stages import baseline, generator, health, latency, rank, retrain, search, supernet, worth, zoo
from anybudget.runtime.progress import Progress
from anybudget.search.base import Candidate, Strategy
from anybudget.search.instant import Proposal
from anybudget.settings import Settings
from anybudget.spaces import SearchSpace
from anybudget.storage.records import Export, MeasuredLatency, Worth
from anybudget.storage.run_folder import RunFolder
from anybudget.worth.health import HealthSettings


class Run:
    """A run: `create` or `open` one, run all its stages or single ones, and ask it for architectures.

    Example:
        >>> from anybudget import load_recipe
        >>> run = Run.create(load_recipe(Path("recipes/small/nas-bench-macro.toml")), Path("runs/small"))
        >>> run.space.networks()
        567
        >>> run.run_all()  # doctest: +SKIP
        >>> run.generate([BudgetSet.parse("macs<=15M")])[0].architecture  # doctest: +SKIP

    Args:
        context: what the stages share.
    """

    def __init__(self, context: RunContext) -> None:
        self.context = context

    @classmethod
    def create(
        cls, recipe: Recipe, path: Path, progress: Progress | None = None, *, data: DataSource | None = None
    ) -> Self:
        """See `create_run`."""
        return cls(create_run(recipe, path, progress, data=data))

    @classmethod
    def open(cls, path: Path, progress: Progress | None = None, *, data: str | DataSource | None = None) -> Self:
        """See `open_run`."""
        return cls(open_run(path, progress, data=data))

    @property
    def folder(self) -> RunFolder:
        """The run folder."""
        return self.context.folder

    @property
    def recipe(self) -> Recipe:
        """The recipe; stages that run from now on follow it."""
        return self.context.recipe

    @recipe.setter
    def recipe(self, recipe: Recipe) -> None:
        self.context.recipe = recipe

    @property
    def engine(self) -> EngineFactory | None:
        """What evaluates candidates elsewhere than on this machine."""
        return self.context.engine

    @engine.setter
    def engine(self, engine: EngineFactory | None) -> None:
        self.context.engine = engine

    @property
    def workers(self) -> int | None:
        """How many processes do independent pieces of work; None takes as many as there are cores for."""
        return self.context.asked_workers

    @workers.setter
    def workers(self, count: int | None) -> None:
        self.context.asked_workers = count

    @property
    def space(self) -> SearchSpace:
        """See `RunContext.space`."""
        return self.context.space

    @property
    def costs(self) -> dict[str, CostModel]:
        """See `RunContext.costs`."""
        return self.context.costs

    @property
    def cost(self) -> CostModel:
        """See `RunContext.cost`."""
        return self.context.cost

    @property
    def data(self) -> DataSource:
        """See `RunContext.data`."""
        return self.context.data

    @property
    def device(self) -> torch.device:
        """See `RunContext.device`."""
        return self.context.device

    @property
    def supernet(self) -> Supernet:
        """See `RunContext.supernet`."""
        return self.context.supernet

    @property
    def generator(self) -> ArchitectureGenerator:
        """See `RunContext.generator`."""
        return self.context.generator

    @property
    def evaluator(self) -> Evaluator:
        """See `RunContext.evaluator`."""
        return self.context.evaluator

    def new_evaluator(self) -> Evaluator:
        """See `RunContext.new_evaluator`."""
        return self.context.new_evaluator()

    def strategy(self, strategy: str | type[Strategy], settings: Settings | None = None) -> Strategy:
        """A strategy of this run by its registered name or class; set as the recipe says, if not by `settings`."""
        return make_strategy(self.context, strategy, settings=settings)

    def train_supernet(self) -> None:
        """See `stages.supernet.train`."""
        supernet.train(self.context)

    def train_generator(self) -> None:
        """See `stages.generator.train`."""
        generator.train(self.context)

    def search(self) -> list[Candidate]:
        """See `stages.search.search`."""
        return search.search(self.context)

    def random_baseline(self) -> None:
        """See `stages.baseline.draw`."""
        baseline.draw(self.context)

    def retrain_picks(self) -> list[dict[str, Any]]:
        """See `stages.retrain.retrain_picks`."""
        return retrain.retrain_picks(self.context)

    def generate(self, budgets: Sequence[BudgetSet], *, race: bool | None = None) -> list[Candidate]:
        """See `stages.search.generate`."""
        return search.generate(self.context, budgets, race=race)

    def propose(self, budgets: Sequence[BudgetSet]) -> list[Proposal]:
        """What the trained generator holds most probable within each budget set; nothing is judged, kept or trained.

        Neither the data nor the supernet is loaded: milliseconds, once the generator is. See `InstantGenerator`.
        """
        context = self.context
        asked = instant_generator(context.recipe, context.space, context.costs, context.generator)
        return asked.propose(budgets)

    def search_with(
        self, strategy: StrategyChoice, budgets: Sequence[BudgetSet], *, race: bool | None = None
    ) -> list[Candidate]:
        """See `stages.search.search_with`."""
        return search.search_with(self.context, strategy, budgets, race=race)

    def compare(
        self, strategies: Sequence[StrategyChoice], budgets: Sequence[BudgetSet], *, race: bool | None = None
    ) -> dict[str, Any]:
        """See `stages.search.compare`."""
        return search.compare(self.context, strategies, budgets, race=race)

    def rank(
        self, paths: int, image_counts: Sequence[int], table: Path | None = None, *, snapshots: bool = False
    ) -> dict[str, Any]:
        """See `stages.rank.rank`."""
        return rank.rank(self.context, paths, image_counts, table, snapshots=snapshots)

    def health(self, settings: HealthSettings | None = None) -> dict[str, Any]:
        """See `stages.health.health`."""
        return health.health(self.context, settings)

    def retrain(
        self, architecture: Architecture, *, inherit: Inherit | None = None, epochs: int | None = None
    ) -> dict[str, Any]:
        """See `stages.retrain.retrain`."""
        return retrain.retrain(self.context, architecture, inherit=inherit, epochs=epochs)

    def retrain_each(
        self,
        architectures: Sequence[Architecture],
        *,
        inherit: Inherit | None = None,
        epochs: int | None = None,
    ) -> list[dict[str, Any]]:
        """See `stages.retrain.retrain_each`."""
        return retrain.retrain_each(self.context, architectures, inherit=inherit, epochs=epochs)

    def train_zoo(self, names: Sequence[str], *, epochs: int | None = None) -> list[dict[str, Any]]:
        """See `stages.zoo.train_zoo`."""
        return zoo.train_zoo(self.context, names, epochs=epochs)

    def export(
        self, architecture: Architecture, wanted: Wanted, out: Path | None = None, *, inherited: bool = False
    ) -> tuple[Path, Export]:
        """See `exporting.export_network`."""
        return export_network(self.context, architecture, wanted, out, inherited=inherited)

    def measure_answers(self) -> list[MeasuredLatency]:
        """See `stages.latency.measure_answers`."""
        return latency.measure_answers(self.context)

    def worth(self, question: Question) -> Worth:
        """See `stages.worth.worth`."""
        return worth.worth(self.context, question)

    def worth_of_picks(self) -> Worth:
        """See `stages.worth.worth_of_picks`."""
        return worth.worth_of_picks(self.context)

    def report(self) -> Path:
        """Write `report.html` from what the folder holds."""
        return write_report(self.folder.path)

    def run_all(self, say: Callable[[str], None] = print) -> None:
        """Every stage in order; finished ones are not repeated. A generator is trained for strategies that need one."""
        check_recipe(self.context)
        stages: list[tuple[str, Callable[[], object], bool]] = [("supernet", self.train_supernet, True)]
        if self.recipe.strategy.needs_generator:
            stages.append(("generator", self.train_generator, True))
        stages += [
            ("search", self.search, False),
            ("random", self.random_baseline, False),
            ("retrain", self.retrain_picks, True),
        ]
        if latency.limits_latency(self.context):
            stages.append(("latency", self.measure_answers, False))
        if self.recipe.worth.random:
            stages.append(("worth", self.worth_of_picks, True))
        for name, stage, shared in stages:
            if self.folder.finished(name):
                say(f"{name}: finished before, kept")
            elif shared or self.folder.writes:
                stage()
            self.context.barrier()  # processes that have nothing to search wait for the one that has
        with self.folder.locked():  # which clears what a kill has left of an earlier report
            self.report()
