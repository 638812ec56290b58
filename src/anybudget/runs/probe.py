"""A probe: a few timed steps of each kind of work of a run, on its own data and networks, as the run would do them."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import psutil
import torch

from anybudget.architecture import Architecture
from anybudget.budgets import BudgetSet
from anybudget.data import DataSource, Split, TrainingBatches
from anybudget.data.balanced import Selected
from anybudget.data.identity import Listing
from anybudget.decoding.feasible import FeasibleSampler
from anybudget.evaluation.evaluator import Evaluator, evaluate, recalibrate
from anybudget.generator.training import MixtureLoss, train_generator
from anybudget.nets import Supernet, build_network
from anybudget.nets.blocks import channels_last
from anybudget.planning.timing import StepTimes, Time
from anybudget.planning.workload import Images
from anybudget.runs.context import RunContext
from anybudget.runs.judging import evaluator_settings, scored_data
from anybudget.runs.work import as_memory_error
from anybudget.runtime.allocator import freed_memory_kept
from anybudget.runtime.distributed import Processes
from anybudget.runtime.process_state import computing_threads, seeded
from anybudget.runtime.progress import Task
from anybudget.runtime.threads import candidates, fastest_threads, set_by_caller, usable_cores
from anybudget.runtime.workers import Piece
from anybudget.training import SAMPLERS
from anybudget.training.loop import Row, TrainingContext
from anybudget.training.retrain import train_along
from anybudget.training.rounds import course_of_rounds
from anybudget.training.supernet import length_of, train_supernet

SHARES = {"path": 0.3, "mixture": 0.15, "judge": 0.15, "train": 0.4}
"""What part of the probe's time is for which kind of step; networks are the most of a run."""

WARMING = 3
"""Steps that say how many there is time for; they count only where there is time for no others."""

FEWEST, MOST = 4, 1000
"""Steps that are counted, at least and at most."""

SCORED = 512
"""Validation images on which the probe scores networks at most; the time goes on in proportion."""

DRAWN = 64
"""Random networks of about the cost of each budget, some of which are scored."""

THREADS_SECONDS = 2.0
"""How long numbers of threads are compared, as in a run."""


@dataclass(frozen=True, slots=True)
class Probe:
    """What was measured: times of single steps, bytes at the most, and with how many threads and workers.

    `bytes` are those of this process and of all workers together; `device_bytes` those of an accelerator, 0 on the CPU.
    """

    steps: StepTimes
    images: Images
    bytes: int
    device_bytes: int
    threads: int
    workers: int


def probe(run: RunContext, seconds: float) -> Probe:
    """Time a few steps of every kind of work.

    Nothing is written, and nobody's random numbers or threads are changed.

    Args:
        run: not begun; its data are loaded here, if they have not been.
        seconds: how long steps are timed, loading of the data not counted; longer where single steps take longer.

    Raises:
        DataError: the data cannot be used.
        BudgetError: a budget cannot be met.
        TrainingError: memory has run out.
    """
    recipe, loading = run.recipe, Clock()
    data = run.data
    start, workers = loading.read(), run.workers
    with (
        seeded(recipe.seed),
        computing_threads(recipe.threads or torch.get_num_threads()),
        freed_memory_kept(),
        as_memory_error(),
        run.progress.task("probe", 3 + len(recipe.search.budgets)) as task,
    ):
        supernet = run.build_supernet()
        path, statistics = _path(run, supernet, data, SHARES["path"] * seconds)
        task.advance(1, "supernet")
        asked = recipe.strategy.needs_generator
        mixture = _mixture(run, supernet, data, SHARES["mixture"] * seconds) if asked else Time()
        task.advance(1, "generator")
        threads = torch.get_num_threads()
        networks = [_drawn(run, budgets) for budgets in recipe.budget_sets()]
        judge = _judge(run, supernet.eval(), [a for drawn in networks for a in drawn], SHARES["judge"] * seconds)
        task.advance(1, "judging")
        train, measure, grown = _networks(run, data, [drawn[0] for drawn in networks], SHARES["train"] * seconds, task)
        device = run.device
        return Probe(
            StepTimes(start, path, statistics, mixture, judge, train, measure),
            Images(len(data.train), len(data.validation), len(data.test())),
            peak_bytes() + (workers.count * grown if workers.count > 1 else 0),
            torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0,
            threads,
            workers.count,
        )


def _drawn(run: RunContext, budgets: BudgetSet) -> list[Architecture]:
    """Networks of about the cost of a budget, as many as the demo judges."""
    recipe = run.recipe
    window, rng = recipe.search.random_window, np.random.default_rng(recipe.seed)
    return FeasibleSampler.using(run.space, run.costs, budgets, window, recipe.seed).sample(DRAWN, rng)


class Clock:
    """Counts the seconds that pass, and those of processors: of this process, and of workers that have ended."""

    def __init__(self) -> None:
        self._started, self._spent = time.perf_counter(), _processor_seconds()

    def read(self) -> Time:
        """Since it was made."""
        return Time(time.perf_counter() - self._started, _processor_seconds() - self._spent)


def _processor_seconds() -> float:
    return sum(os.times()[:4])


def peak_bytes() -> int:
    """The most memory that this process has had."""
    try:
        import resource
    except ImportError:  # Windows
        return int(psutil.Process().memory_info().rss)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


class Part(DataSource):
    """The first images of a data source, which stay where they are.

    Args:
        data: the data source.
        train: how many training images; all where there are fewer.
        validation: how many validation images.
    """

    def __init__(self, data: DataSource, train: int, validation: int) -> None:
        self._data = data
        self.class_names, self.mean, self.std = data.class_names, data.mean, data.std
        self.preparation, self.draw = data.preparation, data.draw
        self.train, self.validation = _some(data.train, train), _some(data.validation, validation)

    def test(self) -> Split:
        """See `DataSource.test`."""
        return self._data.test()

    def listing(self) -> Listing:
        """See `DataSource.listing`."""
        return self._data.listing()


def _some(split: Split, count: int) -> Split:
    """So many images of a split, drawn evenly over all classes as they come."""
    order = torch.randperm(len(split), generator=torch.Generator().manual_seed(0))
    return Selected(split, order[:count])


@dataclass
class _Watch:
    """A training context whose rows say how long its epochs have taken."""

    run: RunContext
    rows: list[Row] = field(default_factory=list)

    def context(self) -> TrainingContext:
        """A new one."""
        self.rows = []
        return TrainingContext(processes=Processes(self.run.device), log=self.rows.append, notices=False)


def _counted(first: Time, seconds: float) -> int:
    """How many steps are counted, where one takes `first` and there are so many seconds."""
    return int(min(MOST, max(FEWEST, seconds / max(_effort(first), 1e-6))))


def _effort(took: Time) -> float:
    """What of the probe's seconds is used up: on a machine that others use, too, only what was computed."""
    return min(took.seconds, took.processor_seconds or took.seconds)


def _path(run: RunContext, supernet: Supernet, data: DataSource, seconds: float) -> tuple[Time, Time]:
    """A step of the supernet, and the gathering of its statistics."""
    section, watch = run.recipe.supernet, _Watch(run)
    short = section.model_copy(update={"epochs": 1, "spread_epoch": 0, "warmup_epochs": 0})

    def train(steps: int, context: TrainingContext) -> tuple[Time, Time]:
        part = Part(data, steps * section.batch_size, SCORED)
        sampler = SAMPLERS[section.sampler](run.space, section.sampler_settings, length_of(data, section))
        clock = Clock()
        train_supernet(supernet, sampler, part, short, seed=run.recipe.seed, context=context)
        total, own = clock.read(), watch.rows[-1]["seconds"]
        share, done = own / total.seconds, max(1, len(part.train) // section.batch_size)
        return total * (share / done), total * (1.0 - share)

    chosen = replace(watch.context(), choose_threads=_choose_threads(run))
    first, statistics = train(WARMING, chosen)
    if WARMING * _effort(first) > seconds:
        return first, statistics
    return train(_counted(first, seconds), watch.context())


def _choose_threads(run: RunContext) -> Callable[[Callable[[], float]], None]:
    """Computes with as many threads from then on as the run would find, where nobody has said how many."""

    def choose(work: Callable[[], float]) -> None:
        if not run.recipe.threads and usable_cores() > 1 and not set_by_caller():
            torch.set_num_threads(fastest_threads(work, candidates(usable_cores()), THREADS_SECONDS).count)

    return choose


def _mixture(run: RunContext, supernet: Supernet, data: DataSource, seconds: float) -> Time:
    """A step of the generator."""
    section, generator, watch = run.recipe.generator, run.build_generator(), _Watch(run)
    short, loss = section.model_copy(update={"epochs": 1}), MixtureLoss(supernet)

    def train(steps: int) -> Time:
        images = _some(data.validation, steps * section.batch_size)
        batches = TrainingBatches(data, images, min(section.batch_size, len(images)), run.recipe.seed)
        clock = Clock()
        train_generator(generator, loss, run.cost.terms, batches, short, seed=run.recipe.seed, context=watch.context())
        return clock.read() / batches.per_epoch

    train(1)  # which takes memory and prepares kernels
    second = train(1)
    return second if _effort(second) > seconds else train(_counted(second, seconds))


def _judge(run: RunContext, supernet: Supernet, networks: Sequence[Architecture], seconds: float) -> Time:
    """Scoring a network with the supernet, by one of all workers, among as many as there is time for."""
    recipe, workers = run.recipe, run.workers
    whole = scored_data(recipe, run.data)
    part = Part(whole, len(whole.train), SCORED)
    settings = evaluator_settings(recipe, recipe.seed)

    def score(count: int) -> Time:
        asked = list(dict.fromkeys(networks))[:count]
        evaluator = Evaluator(supernet, part, settings, workers=workers)
        clock = Clock()
        evaluator.scores(asked)
        took = clock.read() / len(asked)
        return Time(took.seconds * workers.count, took.processor_seconds)

    calibrated = min(settings.calibration_images, len(whole.train))
    more = (calibrated + len(whole.validation)) / (calibrated + len(part.validation))
    found, least = score(2 * workers.count), 2 * workers.count
    if 2 * _effort(found) < seconds:  # networks that are scored together share their beginnings: many, if there is time
        found = score(max(least, _counted(found / workers.count, seconds)))
    return found * more


@dataclass(frozen=True, slots=True)
class _Alone:
    """A step of a network, a forward of the validation images, and by how many bytes the process has grown."""

    step: Time
    measure: Time
    grown: int


def _networks(
    run: RunContext, data: DataSource, networks: Sequence[Architecture], seconds: float, task: Task
) -> tuple[tuple[Time, ...], Time, int]:
    """A step of each network, measured while all workers train it; measuring one; bytes that a worker takes."""
    steps, measures, grown = [], [], 0
    for network in networks:
        piece = Piece("probe", partial(_alone, run, data, network, seconds / len(networks)))
        with run.workers.computing():
            found = [alone for _, alone in run.workers.each([piece] * run.workers.count)]
        steps.append(sum((alone.step for alone in found), Time()) / len(found))
        measures += [alone.measure for alone in found]
        grown = max(grown, *(alone.grown for alone in found))
        task.advance(1, "networks")
    return tuple(steps), sum(measures, Time()) / len(measures), grown


def _alone(run: RunContext, data: DataSource, architecture: Architecture, seconds: float, task: Task) -> _Alone:
    """What is measured of one network, in a worker."""
    del task
    before = int(psutil.Process().memory_info().rss)
    schedule, per_epoch = (
        run.recipe.retrain,
        TrainingBatches(data, data.train, run.recipe.retrain.batch_size, 0).per_epoch,
    )
    network = channels_last(build_network(run.space.block_specs(architecture)).to(run.device))
    watch = _Watch(run)

    def train(steps: int) -> Time:
        course = course_of_rounds(data, schedule, steps / per_epoch, rounds=1, seed=run.recipe.seed)
        with _timed() as found:
            train_along(network, course, schedule, watch.context(), name="probe")
        return found[0] / course.batches.per_epoch

    train(1)
    step = train(WARMING)
    if WARMING * _effort(step) < 0.7 * seconds:
        step = train(_counted(step, 0.7 * seconds))
    part = Part(data, len(data.train), SCORED)
    with _timed() as found:
        calibration = data.train.sample(run.recipe.search.calibration_images, run.recipe.seed)
        recalibrate(network, calibration, data)
        evaluate(network, part.validation, data)
    return _Alone(step, found[0] * (len(data.validation) / len(part.validation)), max(0, peak_bytes() - before))


@contextmanager
def _timed() -> Iterator[list[Time]]:
    """Within, time is measured; afterwards the list has it."""
    found: list[Time] = []
    clock = Clock()
    yield found
    found.append(clock.read())
