"""`run_bench`: a track of a tabular benchmark over several seeds, and its record."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from anybudget.costs import build_costs
from anybudget.costs.table import CostTable
from anybudget.errors import ConfigError, DataError
from anybudget.recipe import Recipe
from anybudget.report.bench import write_bench_page
from anybudget.runs.bench.exhaustive import ExhaustiveStrategy
from anybudget.runs.bench.images import Wanted, prepare_images
from anybudget.runs.bench.seeds import run_seed
from anybudget.runs.bench.tracks import COST, Track
from anybudget.runs.run import Run
from anybudget.runtime.progress import Progress
from anybudget.search.base import Strategy
from anybudget.storage.files import write_whole
from anybudget.storage.records import Bench
from anybudget.tabular import TABLES, harness
from anybudget.tabular.order import ceiling, floors
from anybudget.tabular.regret import BudgetTruth
from anybudget.tabular.tables import TabularBenchmark, check_same_networks
from anybudget.tabular.truth import Truth

RECORD, PAGE = "bench.json", "bench.html"
"""The files of a bench beside the folders of its seeds."""


def run_bench(
    track: Track,
    table: Path,
    data: str,
    folder: Path,
    *,
    seeds: int = 3,
    progress: Progress | None = None,
    workers: int | None = None,
) -> Bench:
    """Train a supernet for every seed, let strategies search on it, and hold scores and answers against the truth.

    What has been done in `folder` is kept, so a bench that was killed goes on where it was. Each seed is a run folder,
    `seed-0` and so on. The table's accuracies are used for scoring alone: runs get its costs, in a file of their own.

    Args:
        track: see `load_track`.
        table: the benchmark's file.
        data: the images; see `prepare_images`.
        folder: where everything is kept; its record is `bench.json`.
        seeds: how many.
        progress: where work reports.
        workers: how many processes do independent pieces of work; as many as there are cores for if None.

    Raises:
        DataError: the table or the images cannot be used.
        ConfigError: the track's settings are wrong, or a budget limits another cost than `table_macs`.
        RunError: the folder holds runs with other settings.
        Stopped: it was asked to stop, and has saved itself.
    """
    prepared = prepare(track, table, data, folder)
    found = []
    for seed in range(seeds):
        run = prepared.run(seed, progress)
        run.workers = workers
        found.append(run_seed(run, prepared.sample.networks, prepared.strategies))
    splits = {"train": len(run.data.train), "validation": len(run.data.validation)}
    record = _record(prepared, found, {**splits, "calibration": run.recipe.search.calibration_images})
    write_whole(folder / RECORD, record.model_dump_json().encode() + b"\n")
    write_bench_page(folder / PAGE, record)
    return record


@dataclass(frozen=True)
class Prepared:
    """A bench before anything is trained.

    Args:
        track: whose recipe its runs have.
        folder: where everything is kept.
        images: the archive of the images that all seeds share.
        costs: the table of what networks cost.
        budgets: the truth at the budgets of the track.
        sample: the truth of the networks that are scored to say how well a supernet orders networks.
    """

    track: Track
    folder: Path
    images: Path
    costs: Path
    budgets: BudgetTruth
    sample: Truth

    @property
    def whole(self) -> bool:
        """Whether all networks are scored."""
        return len(self.sample.networks) == len(self.budgets.truth.networks)

    @property
    def strategies(self) -> list[str | type[Strategy]]:
        """What answers: the strategies of the track, and the best of all networks where all are scored."""
        return [*self.track.settings.names, *([ExhaustiveStrategy] if self.whole else [])]

    def run(self, seed: int, progress: Progress | None = None) -> Run:
        """The run of a seed, in the folder `seed-SEED`: begun, or resumed.

        Raises:
            RunError: the folder holds a run with other settings.
        """
        return Run.create(self.track.recipe(seed, self.images, self.costs), self.folder / f"seed-{seed}", progress)


def prepare(track: Track, table: Path, data: str, folder: Path) -> Prepared:
    """Read the table, draw the images and write the costs of a bench; the arguments are those of `run_bench`.

    Raises:
        DataError: the table or the images cannot be used.
        ConfigError: the track's settings are wrong, or a budget limits another cost than `table_macs`.
    """
    benchmark = TABLES[track.benchmark].read(table)
    truth = Truth.of(benchmark)
    _check_whole(table, truth)
    costs = write_whole(folder / f"{COST}.json", _cost_table(benchmark, table).model_dump_json(indent=1).encode())
    planned = track.recipe(0, folder / "images.npz", costs)
    space = planned.build_space()
    check_same_networks(benchmark, space, str(table))
    budgets = BudgetTruth(truth, _limits(planned, track))
    count = track.settings.train_images + track.settings.validation_images
    images = prepare_images(data, folder, Wanted(count, space.classes, space.input_shape[1]))
    scored = track.settings.scored
    return Prepared(track, folder, images, costs, budgets, truth.sample(scored) if scored else truth)


def _record(prepared: Prepared, seeds: list[harness.SeedScores], images: dict[str, int]) -> Bench:
    """What is said of all seeds together."""
    budgets, sample, whole = prepared.budgets, prepared.sample, prepared.whole
    truth, top = budgets.truth, ceiling(sample)
    return Bench(
        benchmark=truth.space.name,
        track=prepared.track.name,
        seeds=tuple(seed.seed for seed in seeds),
        networks=len(truth.networks),
        scored=len(sample.networks),
        images=images,
        limits=budgets.limits,
        order=harness.orders(sample, seeds),
        floors={name: harness.order_figures([order]) for name, order in floors(sample).items()},
        ceiling=None if top is None else harness.order_figures([top]),
        first=harness.first_regrets(budgets, seeds) if whole else {},
        blends=harness.blend_figures(budgets, seeds) if whole else (),
        random=harness.random_regrets(budgets),
        strategies=harness.strategies(budgets, seeds, whole=whole),
        training_seconds=harness.figure([seed.training_seconds for seed in seeds]),
        scoring_seconds=harness.figure([seed.spent.seconds for seed in seeds]),
        truth_percent=tuple(sample.percent.tolist()),
        clouds=harness.clouds(truth, seeds),
    )


def _check_whole(table: Path, truth: Truth) -> None:
    """Require every network: what is not in the table has no truth, whoever answers with it."""
    if len(truth.networks) != truth.space.networks():
        raise DataError(
            f"{table}: has {len(truth.networks):,} of the {truth.space.networks():,} distinct networks; a bench needs "
            "all, so give the whole table"
        )


def _cost_table(benchmark: TabularBenchmark, table: Path) -> CostTable:
    """The multiply-adds in a table as terms of its space, which any narrow copy of it has, too.

    Raises:
        DataError: they are not those of the benchmark's networks, up to a constant.
    """
    macs = build_costs(benchmark.space, ("macs",))["macs"]
    said = benchmark.columns[TABLES[benchmark.space.name].cost]
    terms = macs.terms
    counted = np.array([terms.cost(tuple(row)) for row in benchmark.choices.tolist()])
    differences = np.unique(said - counted)
    if len(differences) > 1:
        raise DataError(
            f"{table}: its multiply-adds are not those of the benchmark's networks: counted are "
            f"{counted.min():,.0f} to {counted.max():,.0f}, it says {said.min():,.0f} to {said.max():,.0f}; give the "
            "benchmark's own table"
        )
    found = CostTable.of(macs, "macs")
    return found.model_copy(update={"constant": found.constant + float(differences[0])})


def _limits(recipe: Recipe, track: Track) -> tuple[float, ...]:
    """The budgets of the track, in multiply-adds of the full network.

    Raises:
        ConfigError: one limits something else.
    """
    limits = [budget_set.limits() for budget_set in recipe.budget_sets()]
    for limit in limits:
        if set(limit) != {COST}:
            raise ConfigError(f'{track.path}: search.budgets: a bench limits {COST} alone, as "{COST}<=20M" does')
    return tuple(limit[COST] for limit in limits)
