"""The context of a run: its folder, its recipe, and the parts that stages need, loaded when first used."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeVar, cast

import torch

from anybudget.budgets import BudgetSet
from anybudget.costs import CostModel
from anybudget.data import DataFacts, DataSource, Listing, identify
from anybudget.decoding.reachability import check_jointly_reachable
from anybudget.evaluation.evaluator import Engine, Evaluator
from anybudget.generator.interval import TrainedInterval
from anybudget.generator.network import ArchitectureGenerator
from anybudget.nets import Supernet, build_supernet
from anybudget.nets.blocks import channels_last
from anybudget.recipe import Recipe, reproducibility_settings, resolved, with_copies
from anybudget.runs.compiling import RunCompiling
from anybudget.runs.data_identity import IN_PYTHON, DataTie
from anybudget.runs.data_loading import check_fit, load_files, placed, reading, registered_data
from anybudget.runs.dependencies import LOADED_FROM, SCORED_FILES, later
from anybudget.runs.generators import build_generator, conditioning_cost, load_generator
from anybudget.runs.judging import evaluator_settings, scored_data
from anybudget.runs.kernels import compare_kernels, note_kernels
from anybudget.runs.loggers import opened
from anybudget.runs.threads import RunThreads
from anybudget.runs.work import Work, as_memory_error
from anybudget.runs.workers import choose_workers, note_workers
from anybudget.runtime.allocator import freed_memory_kept
from anybudget.runtime.device import pick_device
from anybudget.runtime.distributed import FabricProcesses, Processes
from anybudget.runtime.process_state import computing_threads, deterministic, seeded
from anybudget.runtime.progress import Progress, SilentProgress
from anybudget.runtime.signals import stop_requests
from anybudget.runtime.workers import Workers
from anybudget.search.base import Strategy
from anybudget.spaces import SearchSpace
from anybudget.storage.journal import Journal
from anybudget.storage.run_folder import RunFolder
from anybudget.training.loop import TrainingContext

log = logging.getLogger(__name__)

T = TypeVar("T")

EngineFactory = Callable[["RunContext"], Engine]

NETWORKS = ("supernet", "generator")
"""The parts that lie on the device."""


class RunContext:
    """An open run: what its stages share.

    Parts (data, costs, networks, evaluator) are loaded when they are first asked for and kept until `forget`.

    Args:
        folder: the run folder.
        recipe: its recipe; the run keeps copies of the files that it names.
        progress: where work reports.
        engine: what evaluates candidates elsewhere than on this machine.
        data: where the data lie now, if that has just been said, which the next work keeps in `data.json`; or the data
            themselves.
    """

    def __init__(
        self,
        folder: RunFolder,
        recipe: Recipe,
        progress: Progress | None = None,
        *,
        engine: EngineFactory | None = None,
        data: str | DataSource | None = None,
    ) -> None:
        self.folder, self.progress = folder, progress or SilentProgress()
        self._given_recipe = recipe
        self.recipe, self.files = with_copies(recipe)
        self.engine = engine
        self.asked_workers: int | None = None
        """How many workers were asked for; None takes as many as there are cores for."""
        self.moved = placed(data) if isinstance(data, str) else None
        self.handed = None if isinstance(data, str) else data
        self.tie = DataTie(folder)
        self._joined: Processes | None = None
        self._parts: dict[str, Any] = {}
        self._versions_said = False

    def begin(self) -> None:
        """Make the run folder, if it is not there, with the recipe and its provenance.

        Raises:
            RunError: the folder cannot be written, or holds something that is no run.
        """
        RunFolder.create(self.folder.path, resolved(self.recipe), self.files)

    def forget(self, *parts: str) -> None:
        """Load these parts again when they are next asked for."""
        for part in parts:
            self._parts.pop(part, None)

    def _part(self, name: str, load: Callable[[], T]) -> T:
        """A part, loaded if it is not there."""
        if name not in self._parts:
            self._parts[name] = load()
        return cast(T, self._parts[name])

    @property
    def source(self) -> str:
        """Where the data lie: as has just been said, as the last work found them, or as the recipe says."""
        if self.handed is not None:
            return IN_PYTHON
        return self.moved or self.tie.source() or self.recipe.data.source

    @property
    def listing(self) -> Listing:
        """What tells the data of this run from others; no image is decoded.

        Raises:
            DataError: there is no data set, or it cannot be used.
            RunError: it is another one than the run was begun with; says what differs.
        """
        return self._part("listing", lambda: self.tie.identified(self.source, self._find_listing))

    def _find_listing(self) -> Listing:
        given = self._given
        return identify(self.source, self.recipe.space.input_size) if given is None else given.listing()

    @property
    def space(self) -> SearchSpace:
        """The search space of the recipe."""
        return self._part("space", self.recipe.build_space)

    @property
    def costs(self) -> dict[str, CostModel]:
        """The costs of the recipe, by name.

        Raises:
            ConfigError: a table of costs does not fit the space, or its file cannot be read.
        """
        # As it was given: until the run has begun, files are where that recipe says.
        return self._part("costs", lambda: self._given_recipe.build_costs(self.space, self.folder.path))

    @property
    def cost(self) -> CostModel:
        """The cost that the generator is conditioned on.

        Raises:
            ConfigError: there is no such cost, it is the same for every network, or it is a maximum.
        """
        return self._part("cost", lambda: conditioning_cost(self.recipe, self.costs))

    @property
    def device(self) -> torch.device:
        """Where the networks run: this process's own device once the processes have been joined."""
        return self._joined.device if self._joined else pick_device(self.recipe.device)

    @property
    def processes(self) -> Processes:
        """The processes that train together, joined when this is first asked for.

        Networks that have been loaded before are moved to this process's own device.
        """
        if self._joined is None:
            recipe = self.recipe
            self._joined = FabricProcesses(
                str(pick_device(recipe.device)), devices=recipe.devices, nodes=recipe.nodes, precision=recipe.precision
            )
            for name in NETWORKS:
                if name in self._parts:
                    self._parts[name].to(self._joined.device)
        return self._joined

    @property
    def workers(self) -> Workers:
        """What does independent pieces of work; chosen anew when work begins.

        Raises:
            ConfigError: there cannot be as many as were asked for.
        """
        return self._part("workers", self._choose_workers)

    def _choose_workers(self) -> Workers:
        recipe, threads = self.recipe, RunThreads(self.folder, self.recipe.threads)
        return choose_workers(self.asked_workers, threads.of_pieces(), self.device, recipe.devices * recipe.nodes)

    def barrier(self) -> None:
        """Wait for the other processes of this run, where any have been joined: they read what the main one writes."""
        if self._joined is not None:
            self._joined.same(None)

    @property
    def data(self) -> DataSource:
        """The data, checked against the space, and against what the run was begun with."""
        return self._part("data", self._load_data)

    def _load_data(self) -> DataSource:
        _ = self.listing  # other data are refused before any image is decoded
        given = self._given
        how = reading(self.recipe, self.folder, self.progress)
        data = load_files(self.recipe, self.source, self.space, how) if given is None else given
        check_fit(data, self.source, self.space)
        self.tie.check_splits(data)
        return data

    @property
    def _given(self) -> DataSource | None:
        """The data, unless they are files: handed over, or of a registered source."""
        if self.handed is not None:
            return self.handed
        return self._part("given", lambda: registered_data(self.recipe, self.source, self.folder.path))

    @property
    def supernet(self) -> Supernet:
        """The trained supernet, in evaluation mode."""
        return self._part("supernet", self._load_supernet)

    @property
    def generator(self) -> ArchitectureGenerator:
        """The trained architecture generator."""
        return self._part("generator", lambda: load_generator(self.folder, self.recipe, self.space, self.device))

    @property
    def evaluator(self) -> Evaluator:
        """An evaluator for whoever looks at networks of this run."""
        return self._part("evaluator", self.new_evaluator)

    def new_evaluator(self, journal: Journal | None = None) -> Evaluator:
        """An evaluator that has evaluated nothing yet, equal to all others; takes what a journal has."""
        return Evaluator(
            self.supernet,
            scored_data(self.recipe, self.data),
            evaluator_settings(self.recipe, self.recipe.seed),
            journal=journal,
            engine=self.engine(self) if self.engine else None,
            metric=self.recipe.search.metric,
            workers=self.workers,
        )

    def build_supernet(self) -> Supernet:
        """A supernet with new weights."""
        return channels_last(build_supernet(self.space).to(self.device))

    def build_generator(self) -> ArchitectureGenerator:
        """A generator with new weights."""
        return build_generator(self.recipe, self.space, self.device)

    def _load_supernet(self) -> Supernet:
        self.folder.require("supernet", f"supernet {self.folder.path}")
        with seeded(self.recipe.seed):  # the weights that it starts with are replaced, but are drawn
            supernet = self.build_supernet()
        self.folder.load_weights("supernet.safetensors", supernet)
        return supernet.eval()

    def check_cost(self, strategy: type[Strategy]) -> None:
        """Check the generator's cost, and the interval of its budgets, if this strategy asks for them.

        Raises:
            ConfigError: they cannot be used.
        """
        if strategy.needs_generator or strategy.conditioned:
            terms = self.cost.terms
            if strategy.needs_generator:
                TrainedInterval.of(self.recipe.generator).positions(terms)

    def check_budgets(self, budgets: Sequence[BudgetSet]) -> None:
        """Check every budget before any work.

        Raises:
            BudgetError: a cost is unknown or a budget cannot be met.
        """
        terms = {name: model.terms for name, model in self.costs.items()}
        for budget_set in budgets:
            check_jointly_reachable(terms, budget_set)

    @contextmanager
    def stage(self, name: str, **settings: Any) -> Iterator[Work]:
        """Work that is noted as finished, with its time, if nothing goes wrong; see `work`.

        The parts that were loaded from the stage's files are forgotten, however the stage ends.
        """
        started = time.perf_counter()
        try:
            with self.work(name, **settings) as work:
                yield work
                self.folder.finish(name, time.perf_counter() - started)
        finally:
            self.forget(*LOADED_FROM.get(name, ()))

    def replace(self, stage: str) -> None:
        """Take back the notes of a stage and of all that read its results; called before these are written again.

        Where the supernet is replaced, scores of the old weights are kept as `candidates.1.jsonl` and so on.
        """
        if not self.folder.finished(stage):
            return
        again = self.folder.forget((stage, *later(stage, self.recipe.search.strategy)))
        if stage == "supernet":
            for path in [found for pattern in SCORED_FILES for found in self.folder.path.glob(pattern)]:
                if "." not in path.stem:  # not one that has been kept before
                    self.folder.keep(path.relative_to(self.folder.path).as_posix())
        if again[1:] and self.folder.writes:
            log.warning("%s: %s runs again, and so will %s", self.folder.path, stage, ", ".join(again[1:]))

    @contextmanager
    def work(self, name: str, **settings: Any) -> Iterator[Work]:
        """Long work that writes to the run folder: alone there, saved on the way, ready to stop.

        Within, torch's global random generators start from the recipe's seed, and it computes with the run's
        threads, see `RunThreads`. Afterwards both are as the caller had them, as are the handlers of signals. Work
        within work shares the lock, the threads and the request to stop.

        Args:
            name: names its checkpoints.
            settings: what decides its results, besides the recipe.

        Raises:
            DataError: the data cannot be used.
            RunError: another process is at work in the run folder, or the data are not those it was begun with.
            TrainingError: memory has run out.
            Stopped: the work was asked to stop, and has saved itself.
        """
        threads, within = RunThreads(self.folder, self.recipe.threads), self.folder.held
        if not within:
            self.forget("workers")
        workers = self.workers  # before the number of threads is the run's
        with (
            computing_threads(0 if within else threads.count()),
            freed_memory_kept(),
            seeded(self.recipe.seed),
            deterministic(self.recipe.deterministic),
            self.folder.locked(),
            stop_requests() as request,
            as_memory_error(),
        ):
            if not within:
                note_workers(self.folder, workers)
            work = Work(
                self.folder,
                name,
                {"stage": name, "recipe": reproducibility_settings(self.recipe), "data": self._hold_data(), **settings},
                request,
                processes=lambda: self.processes,
                seconds=self.recipe.checkpoint_seconds,
                common=TrainingContext(
                    progress=self.progress,
                    choose_threads=threads.choose,
                    choose_compiled=RunCompiling(self.folder).choose,
                    loggers=opened(self.recipe.logger, self.folder.path),
                ),
            )
            compare_kernels(self.folder, self.device)
            yield work
            note_kernels(self.folder, self.device)
            work.clear(last=not within)
            if work.shared:
                self.barrier()
            request.check()

    def _hold_data(self) -> dict[str, str]:
        """Tie the run to its data; what says in unfinished work which these were."""
        facts = DataFacts.of(self.listing, self.data)
        if not self._versions_said:
            self._versions_said = True
            for other in self.folder.other_versions():
                log.warning("%s: was begun with %s; results may differ from those there", self.folder.path, other)
        self.tie.write(facts, self.listing, self.source)
        return facts.settings()

    def evaluating(self, name: str, *, stage: bool = False) -> AbstractContextManager[Work]:
        """Work, or a stage, that needs the trained supernet: one begun with other weights is not resumed."""
        begin = self.stage if stage else self.work
        return begin(name, **self.origin())

    def origin(self) -> dict[str, str]:
        """The digest of the trained supernet, as a setting of work that depends on its weights."""
        self.folder.require("supernet", f"supernet {self.folder.path}")
        return {"supernet": self.folder.digest("supernet.safetensors")}
