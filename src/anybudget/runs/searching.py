"""Search strategies of a run, made as its recipe sets them."""

from __future__ import annotations

from collections.abc import Sequence

from anybudget.architecture import Architecture
from anybudget.errors import ConfigError, RunError
from anybudget.generator.interval import TrainedInterval
from anybudget.runs.answers import MEND_LINE, own
from anybudget.runs.context import RunContext
from anybudget.runs.work import Work
from anybudget.runtime.accounting import Spending
from anybudget.runtime.distributed import Processes
from anybudget.search import STRATEGIES
from anybudget.search.base import SearchContext, Strategy, TrainedGenerator
from anybudget.settings import Settings
from anybudget.storage.journal import Journal
from anybudget.storage.records import GeneratorSpent, PoolMember, read_record, read_records
from anybudget.training.loop import TrainingContext
from anybudget.training.pool import CandidatePool

StrategyChoice = str | type[Strategy] | Strategy
"""A strategy by its registered name, as a class, or made already."""


def names_of(strategies: Sequence[StrategyChoice]) -> list[str]:
    """The names of strategies, each of which is there and comes once.

    Raises:
        ConfigError: says which are known.
    """
    if not strategies:
        raise ConfigError(f"no strategy given; known are {', '.join(STRATEGIES)}")
    for given in strategies:
        if isinstance(given, str):
            _ = STRATEGIES[given]
    names = [given if isinstance(given, str) else given.name for given in strategies]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ConfigError(f"strategy {repeated[0]} is named more than once")
    return names


def make_strategy(
    run: RunContext,
    strategy: StrategyChoice,
    work: Work | None = None,
    *,
    part: str = "",
    settings: Settings | None = None,
    journal: Journal | None = None,
) -> Strategy:
    """A search strategy with an evaluator of its own; one that has been made already is returned as it is.

    Args:
        run: the run.
        strategy: a registered name, a class, or a strategy.
        work: what it is searching for, so that it is saved; None saves nothing.
        part: tells several strategies of one work apart.
        settings: how it searches; as the recipe says if not given.
        journal: where its scores are kept, instead of in one of `work`.

    Raises:
        ConfigError: there is no such strategy, or these are no settings of it, or it cannot use the generator's cost.
    """
    if isinstance(strategy, Strategy):
        return strategy
    (name,) = names_of([strategy])
    kind = STRATEGIES[strategy] if isinstance(strategy, str) else strategy
    run.check_cost(kind)
    return kind(
        search_context(run, work, part=part, journal=journal), settings or run.recipe.search.settings_of(kind, name)
    )


def search_context(
    run: RunContext, work: Work | None = None, *, part: str = "", journal: Journal | None = None
) -> SearchContext:
    """What strategies of a run search with; see `make_strategy`. What only some need is loaded when it is asked for."""

    def training_context(name: str) -> TrainingContext:
        # A search runs in one process, whatever trained the supernet.
        processes = Processes(run.device)
        if work is None:
            return TrainingContext(processes=processes, progress=run.progress)
        return work.training_context(part=f"{part} {name}", processes=processes)

    if journal is None and work is not None:
        journal = work.journal(part)
    return SearchContext(
        evaluator=run.new_evaluator(journal),
        costs=run.costs,
        seed=run.recipe.seed,
        min_use=run.recipe.search.min_use,
        progress=run.progress,
        cost_name=run.recipe.generator.cost,
        data=run.data,
        generator=lambda: _trained_generator(run),
        pool=lambda: _pool(run),
        training_context=training_context,
    )


def _trained_generator(run: RunContext) -> TrainedGenerator:
    """The generator, and what its training cost."""
    trained, path = run.generator, run.folder.path / "generator.json"
    way_out = f"delete {run.folder.path / 'stages.json'} and run again to train anew"
    spent = read_record(path, GeneratorSpent, way_out)
    if spent is None:
        raise RunError(f"{path}: damaged: missing; {way_out}")
    spending = Spending(spent.evaluations, spent.images, spent.macs, spent.seconds)
    return TrainedGenerator(trained, spending, TrainedInterval.of(run.recipe.generator))


def _pool(run: RunContext) -> list[Architecture]:
    """The candidate pool of the supernet's training, best first; empty where it kept none."""
    path = run.folder.path / "pool.jsonl"
    members = CandidatePool.from_records(list(read_records(path, PoolMember, MEND_LINE)))
    return [own(run, member, f"{path}, entry {number}", MEND_LINE) for number, member in enumerate(members, start=1)]
