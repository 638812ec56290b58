"""An open run: its folder, its recipe, and what the stages need, loaded when first used."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import torch

from anybudget.architecture import Architecture
from anybudget.budgets import Budget, BudgetSet
from anybudget.costs import CostModel, build_costs
from anybudget.data import (
    SOURCES,
    DataFacts,
    DataSettings,
    DataSource,
    FolderSettings,
    Listing,
    identify,
    load_splits,
)
from anybudget.decoding.reachability import check_jointly_reachable
from anybudget.errors import ArchitectureError, ConfigError, MissingDataError, RunError
from anybudget.evaluation.evaluator import Engine, Evaluator
from anybudget.generator.network import ArchitectureGenerator
from anybudget.nets import Supernet, build_supernet
from anybudget.nets.blocks import channels_last
from anybudget.recipe import Recipe, parse_recipe, reproducibility_settings, resolved
from anybudget.report.measured import limits_of
from anybudget.runs.data_identity import IN_PYTHON, DataTie
from anybudget.runs.dependencies import WEIGHTS, affected
from anybudget.runs.strategies import STRATEGIES, Parts, conditioning_cost
from anybudget.runs.threads import RunThreads
from anybudget.runs.work import FOLDER, Work, as_memory_error
from anybudget.runtime.accounting import Spending
from anybudget.runtime.batch_parts import batch_problem
from anybudget.runtime.device import pick_device
from anybudget.runtime.distributed import FabricProcesses, Processes
from anybudget.runtime.process_state import computing_threads, seeded
from anybudget.runtime.progress import Progress, SilentProgress
from anybudget.runtime.signals import stop_requests
from anybudget.search.base import Strategy
from anybudget.spaces import SearchSpace
from anybudget.storage.journal import Journal
from anybudget.storage.records import Record
from anybudget.storage.run_folder import RunFolder, differences
from anybudget.training.loop import TrainingContext
from anybudget.training.pool import CandidatePool

log = logging.getLogger(__name__)

READ_FROM = {"supernet": ("supernet", "evaluator"), "generator": ("generator",)}
"""What an open run keeps of the files that a stage writes, by stage: read again once the stage has run again."""

EngineFactory = Callable[["OpenRun"], Engine]


@dataclass
class OpenRun:
    """An open run: its folder, its recipe, and what the stages need, loaded when first used."""

    folder: RunFolder
    recipe: Recipe
    progress: Progress
    engine: EngineFactory | None = None
    """What evaluates candidates elsewhere than in this process."""
    moved: str | None = None
    """Where the data lie now, if it has just been said; kept in `data.json` by the next work."""
    handed: DataSource | None = None
    """The data, if they were handed over as an object."""
    _versions_said: bool = field(default=False, init=False)

    @classmethod
    def create(
        cls, recipe: Recipe, path: Path, progress: Progress | None = None, *, data: DataSource | None = None
    ) -> Self:
        """Start a run at `path`, or resume the one that is there: see `_change` where the recipe has changed.

        Args:
            recipe: what to do.
            path: the run folder.
            progress: where its work reports.
            data: instead of what `data.source` of the recipe names. The run is tied to their content; who opens it
                again hands the same data over.

        Raises:
            RunError: weights that are there depend on settings that have changed; lists what differs.
        """
        if data is not None:
            section = recipe.data.model_copy(update={"source": IN_PYTHON})
            recipe = recipe.model_copy(update={"data": section})
        folder = RunFolder.create(path, resolved(recipe))
        run = cls(folder, recipe, progress or SilentProgress(), handed=data)
        if not folder.writes and not folder.exists():  # the main process is about to begin it
            return run
        # Parsed first, so that a run from before a key existed has its default.
        there = parse_recipe(folder.recipe(), str(path / "recipe.toml"))
        changed = differences(reproducibility_settings(there), reproducibility_settings(recipe))
        if there.data.source != recipe.data.source:
            run.moved = _placed(recipe.data.source)
            if run.tie.facts() is None:  # nothing says that they are the same data
                changed.append(f"data.source: {there.data.source!r} -> {recipe.data.source!r}")
        if not folder.writes:  # the main process speaks
            return run
        if changed:
            run._change(changed)
            return run
        otherwise = [said for said in differences(resolved(there), resolved(recipe)) if "data.source:" not in said]
        if otherwise:
            log.warning("%s: resumes with %s; results may differ in rounding", path, "; ".join(otherwise))
        return run

    def _change(self, changed: Sequence[str]) -> None:
        """Resume with a changed recipe: what does not depend on the changes is kept, other stages run again.

        The former recipe is kept as `recipe.1.toml` and so on; answers, baselines and retrained networks stay.

        Raises:
            RunError: the search space is another, or trained weights that are there, finished or not, depend on a
                changed key.
        """
        folder, stages = self.folder, affected(changed)
        spaces = [said for said in changed if said.startswith("space.name:")]
        if spaces:
            raise RunError(f"{folder.path}: holds a run with another search space ({spaces[0]}); choose another --out")
        for stage in WEIGHTS:
            begun = folder.finished(stage) or (folder.path / FOLDER / f"{stage}.checkpoint").exists()
            if stage in stages and begun:
                raise RunError(
                    f"{folder.path}: holds a run with other settings ({'; '.join(stages[stage])}), on which its "
                    f"{stage} stage depends, whose weights are kept; choose another --out, or the same settings. Other "
                    f"budgets are answered by: anybudget generate {folder.path}, and networks trained by: anybudget "
                    f"retrain {folder.path}"
                )
        with folder.locked():
            again = folder.forget(stages)
            folder.keep("recipe.toml", copy=True)
            folder.write_recipe(resolved(self.recipe))
        said = f"runs {', '.join(again)} again, keeping all other stages" if again else "keeps all finished stages"
        log.warning("%s: %s changed; the run %s", folder.path, "; ".join(changed), said)

    @classmethod
    def open(cls, path: Path, progress: Progress | None = None, *, data: str | DataSource | None = None) -> Self:
        """Open the run at `path`.

        Args:
            path: the run folder.
            progress: where its work reports.
            data: where its data lie now, if not where they lay before, or the data themselves. They have to be the
                same, which is checked when they are first read; the next work keeps the place in the run folder.

        Raises:
            RunError: there is none, or its recipe is damaged.
        """
        folder = RunFolder.open(path)
        recipe = parse_recipe(folder.recipe(), str(path / "recipe.toml"))
        moved, handed = (_placed(data), None) if isinstance(data, str) else (None, data)
        return cls(folder, recipe, progress or SilentProgress(), moved=moved, handed=handed)

    @cached_property
    def tie(self) -> DataTie:
        """What the run folder says of its data."""
        return DataTie(self.folder)

    @property
    def source(self) -> str:
        """Where the data lie: as has just been said, as the last work found them, or as the recipe says."""
        if self.handed is not None:
            return IN_PYTHON
        return self.moved or self.tie.source() or self.recipe.data.source

    @cached_property
    def _given(self) -> DataSource | None:
        """The data that were handed over, or those of a registered source; None if they are files.

        Raises:
            MissingDataError: they were handed over to whoever began the run, and have not been this time.
        """
        if self.handed is not None or self.source not in (*SOURCES, IN_PYTHON):
            return self.handed
        if self.source == IN_PYTHON:
            raise MissingDataError(
                f"{self.folder.path}: its data were handed over in Python: hand the same over again, with "
                "Run.create(recipe, path, data=source) or Run.open(path, data=source)"
            )
        section = self.recipe.data
        settings = DataSettings(
            self.recipe.seed, section.validation_fraction, section.test_fraction, self.recipe.space.input_size
        )
        return SOURCES[self.source](settings)

    @cached_property
    def listing(self) -> Listing:
        """What tells the data of this run from others; no image is decoded.

        Raises:
            DataError: there is no data set, or it cannot be used.
            RunError: it is another one than the run was begun with; says what differs.
        """

        def found() -> Listing:
            given = self._given
            return identify(self.source, self.recipe.space.input_size) if given is None else given.listing()

        return self.tie.identified(self.source, found)

    @cached_property
    def space(self) -> SearchSpace:
        """The search space of the recipe."""
        return self.recipe.build_space()

    @cached_property
    def costs(self) -> dict[str, CostModel]:
        """Every registered cost of the space."""
        return build_costs(self.space)

    @cached_property
    def cost(self) -> CostModel:
        """The cost that the generator is conditioned on."""
        return conditioning_cost(self.recipe, self.costs)

    @property
    def device(self) -> torch.device:
        """Where the networks run: this process's own device once the processes have been joined."""
        return self.processes.device if "processes" in self.__dict__ else pick_device(self.recipe.device)

    @cached_property
    def processes(self) -> Processes:
        """The processes that train together, joined when this is first asked for.

        Networks that have been loaded before are moved to this process's own device.
        """
        recipe = self.recipe
        joined = FabricProcesses(
            str(pick_device(recipe.device)), devices=recipe.devices, nodes=recipe.nodes, precision=recipe.precision
        )
        for name in ("supernet", "generator"):
            if name in self.__dict__:
                self.__dict__[name].to(joined.device)
        return joined

    @cached_property
    def data(self) -> DataSource:
        """The data, checked against the space, and against what the run was begun with."""
        section = self.recipe.data
        _ = self.listing  # other data are refused before any image is decoded
        data = self._given or load_splits(
            self.source,
            seed=self.recipe.seed,
            validation_fraction=section.validation_fraction,
            test_fraction=section.test_fraction,
            image_size=self.recipe.space.input_size,
            skip_unreadable=section.skip_unreadable,
            folders=FolderSettings(section.val, self.space.input_shape[0]),
        )
        channels, classes = data.input_shape[0], data.classes
        wrong = [
            f"space.{key}={found} (the recipe says {said})"
            for key, found, said in (
                ("input_channels", channels, self.space.input_shape[0]),
                ("classes", classes, self.space.classes),
            )
            if found != said
        ]
        if wrong:
            fewest = f"; {data.fewest()}" if classes > self.space.classes else ""
            raise ConfigError(f"{self.source}: this data set needs {' and '.join(wrong)}; set it with --set{fewest}")
        if data.input_shape != self.space.input_shape:
            height, width = data.input_shape[1:]
            raise ConfigError(
                f"{self.source}: its images are {width}×{height} pixels, and the networks of the recipe take "
                f"{self.space.input_shape[2]}×{self.space.input_shape[1]}; set space.input_size, or scale the images, "
                "as DataSettings(image_size=...) does"
            )
        self.tie.check_splits(data)
        return data

    @cached_property
    def supernet(self) -> Supernet:
        """The trained supernet, in evaluation mode."""
        self.folder.require("supernet", f"supernet {self.folder.path}")
        with seeded(self.recipe.seed):  # the weights that it starts with are replaced, but are drawn
            supernet = self._build_supernet()
        self.folder.load_weights("supernet.safetensors", supernet)
        return supernet.eval()

    @cached_property
    def generator(self) -> ArchitectureGenerator:
        """The trained architecture generator."""
        self.folder.require("generator", f"generator {self.folder.path}")
        with seeded(self.recipe.seed):
            generator = self._build_generator()
        self.folder.load_weights("generator.safetensors", generator)
        return generator.eval()

    @cached_property
    def evaluator(self) -> Evaluator:
        """An evaluator for whoever looks at networks of this run."""
        return self.new_evaluator()

    def check_budgets(self, budgets: Sequence[BudgetSet]) -> None:
        """Check every budget before any work.

        Raises:
            BudgetError: a cost is unknown or a budget cannot be met.
        """
        terms = {name: model.terms for name, model in self.costs.items()}
        for budget_set in budgets:
            check_jointly_reachable(terms, budget_set)

    def check_batches(self) -> None:
        """Check, before any training, that batches can be cut as all the trainings of the recipe will cut them.

        Raises:
            ConfigError: one cannot; see `batch_problem`.
        """
        recipe, train, validation = self.recipe, self.data.train, self.data.validation
        for name, size, accumulate, images in (
            ("supernet", recipe.supernet.batch_size, recipe.supernet.accumulate, train),
            ("generator", recipe.generator.batch_size, 1, validation),
            ("retrain", recipe.retrain.batch_size, recipe.retrain.accumulate, train),
        ):
            problem = batch_problem(min(size, len(images)), self.processes.count, accumulate, section=name)
            if problem:
                few = f"; there are only {len(images)} images to train on" if len(images) < size else ""
                raise ConfigError(f"{problem}{few}")

    @contextmanager
    def stage(self, name: str, **settings: Any) -> Iterator[Work]:
        """Work that is noted as finished, with its time, if nothing goes wrong; see `work`.

        What this run has read of the stage's files is forgotten, however the stage ends.
        """
        started = time.perf_counter()
        try:
            with self.work(name, **settings) as work:
                yield work
                self.folder.finish(name, time.perf_counter() - started)
        finally:
            for part in READ_FROM.get(name, ()):
                self.__dict__.pop(part, None)

    @contextmanager
    def work(self, name: str, **settings: Any) -> Iterator[Work]:
        """Long work that writes to the run folder: alone there, saved on the way, ready to stop.

        Within, torch's global random generators start from the recipe's seed, and it computes with the run's
        threads, see `RunThreads`. Afterwards both are as the caller had them, as are the handlers of signals.

        Args:
            name: names its checkpoints.
            settings: what decides its results, besides the recipe.

        Raises:
            DataError: the data cannot be used.
            RunError: another process is at work in the run folder, or the data are not those it was begun with.
            TrainingError: memory has run out.
            Stopped: the work was asked to stop, and has saved itself.
        """
        threads = RunThreads(self.folder, self.recipe.threads)
        with (
            computing_threads(threads.count()),
            seeded(self.recipe.seed),
            self.folder.locked(),
            stop_requests() as request,
            as_memory_error(),
        ):
            work = Work(
                self.folder.path,
                name,
                {"stage": name, "recipe": reproducibility_settings(self.recipe), "data": self._hold_data(), **settings},
                request,
                processes=lambda: self.processes,
                seconds=self.recipe.checkpoint_seconds,
                common=TrainingContext(progress=self.progress, choose_threads=threads.choose),
            )
            yield work
            if self.folder.writes:
                work.clear()
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

    def barrier(self) -> None:
        """Wait for the other processes of this run, where any have been joined: they read what the main one writes."""
        if "processes" in self.__dict__:
            self.processes.same(None)

    def _build_supernet(self) -> Supernet:
        return channels_last(build_supernet(self.space).to(self.device))

    def _build_generator(self) -> ArchitectureGenerator:
        section = self.recipe.generator
        generator = ArchitectureGenerator(self.space, hidden=section.hidden, random_prior=section.random_prior)
        return generator.to(self.device)

    def _answers(self, name: str = "candidates.jsonl") -> list[tuple[BudgetSet, Architecture]]:
        """The budgets of every line of a file of answers, and the architecture that was found for them."""
        rows = enumerate(self.folder.read_lines(name), start=1)
        records = [Record(f"{self.folder.path / name}, line {number}", row) for number, row in rows]
        with with_hint("mend or remove that line"):
            return [(_budgets(record), self._architecture(record)) for record in records]

    def _architecture(self, record: Record) -> Architecture:
        """The architecture of a record, which has to be one of this run's space."""
        found = record.architecture("architecture")
        try:
            self.space.validate(found)
        except ArchitectureError as error:
            raise RunError(f"{record.where}: {error}") from None
        return found

    def _record(self, path: Path) -> Record:
        """The object in a JSON file of the run folder."""
        return Record(str(path), self.folder.read_json(path.relative_to(self.folder.path).as_posix()))

    def evaluating(self, name: str, *, stage: bool = False) -> AbstractContextManager[Work]:
        """Work, or a stage, that needs the trained supernet: one begun with other weights is not resumed."""
        begin = self.stage if stage else self.work
        return begin(name, **self.origin())

    def origin(self) -> dict[str, str]:
        """The digest of the trained supernet, as a setting of work that depends on its weights."""
        self.folder.require("supernet", f"supernet {self.folder.path}")
        return {"supernet": self.folder.digest("supernet.safetensors")}

    def new_evaluator(self, journal: Journal | None = None) -> Evaluator:
        """An evaluator that has evaluated nothing yet, equal to all others; takes what a journal has."""
        return Evaluator(
            self.supernet,
            self.data,
            calibration_images=self.recipe.search.calibration_images,
            seed=self.recipe.seed,
            journal=journal,
            engine=self.engine(self) if self.engine else None,
            metric=self.recipe.search.metric,
        )

    def strategy(self, name: str, work: Work | None = None, *, part: str = "") -> Strategy:
        """A search strategy as the recipe sets it, with its own evaluator; the generator's counts its training in.

        Args:
            name: which, by its registered name.
            work: what it is searching for, so that it is saved; None saves nothing.
            part: tells several strategies of one work apart.
        """

        def generator() -> tuple[ArchitectureGenerator, Spending]:
            trained = self.generator
            with with_hint(f"delete {self.folder.path / 'stages.json'} and run again to train anew"):
                spent = self._record(self.folder.path / "generator.json")
                evaluations, images = int(spent.number("evaluations")), int(spent.number("images"))
                return trained, Spending(evaluations, images, spent.number("macs"), spent.number("seconds"))

        def pool() -> list[Architecture]:
            rows, path = self.folder.read_lines("pool.jsonl"), str(self.folder.path / "pool.jsonl")
            members = CandidatePool.from_rows(rows, len(rows), path)
            for number, row in enumerate(rows, start=1):
                self._architecture(Record(f"{path}, entry {number}", row))
            return list(members)

        def context(name: str) -> TrainingContext:
            if work is None:
                return TrainingContext(processes=Processes(self.device), progress=self.progress)
            # A search runs in one process, whatever trained the supernet.
            return work.training_context(part=f"{part} {name}", processes=Processes(self.device))

        evaluator = self.new_evaluator(work.journal(part) if work else None)
        cost = conditioning_cost(self.recipe, self.costs)
        parts = Parts(self.recipe, self.data, self.costs, cost, evaluator, self.progress, generator, pool, context)
        return STRATEGIES[name](parts)


def _placed(source: str) -> str:
    """Where data lie, wherever later commands are begun."""
    return source if source in (*SOURCES, IN_PYTHON) else str(Path(source).expanduser().absolute())


def _budgets(record: Record) -> BudgetSet:
    """The budget set of an answer."""
    limits = limits_of(record.record("budgets"), record.where)
    return BudgetSet(tuple(Budget(cost, limit) for cost, limit in limits.items()))


@contextmanager
def with_hint(way_out: str) -> Iterator[None]:
    """Within, a message on a damaged file ends with what to do about it."""
    try:
        yield
    except RunError as error:
        raise RunError(f"{error}; {way_out}") from None
