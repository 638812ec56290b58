"""Evaluating through Ray against evaluating in this process: what it costs, and what that comes to on many workers.

The recipe's supernet, untrained, evaluates a population as evolution has it: fifty children of ten parents, which share
much of their start. Measured in turn in one process, beside two plain processes, which show what the machine has left
for a second one. Then a model, not a measurement, of 8, 64 and 1,000 workers.
Run: OMP_NUM_THREADS=1 python benchmarks/engines.py
"""

from __future__ import annotations

import heapq
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, partial
from multiprocessing import get_context
from typing import Any

import numpy as np
import ray
import torch
from rich.console import Console
from rich.table import Table

from anybudget.architecture import Architecture
from anybudget.data import DataSettings
from anybudget.data.loading import fashion_mnist_subset
from anybudget.evaluation.engines import cluster
from anybudget.evaluation.engines.ray import RayEngine
from anybudget.evaluation.engines.snapshot import EvaluatorSnapshot
from anybudget.evaluation.engines.worker_pool import WorkerPool
from anybudget.evaluation.evaluator import GROUP, SubnetEvaluator
from anybudget.evaluation.metrics import Metrics
from anybudget.evaluation.parts import Part, share_out
from anybudget.evaluation.settings import EvaluatorSettings
from anybudget.nets import build_supernet
from anybudget.nets.blocks import channels_last
from anybudget.nets.prefix_tree import build_prefix_tree
from anybudget.recipe import load_recipe
from fashion import ROOT
from measure import machine, seconds
from prefixes import population

PARTS = 400
WORKERS = (8, 64, 1000)
POPULATIONS = (50, 1000)
EVALUATIONS = 1000
PER_MACHINE = 8
GIGABYTES = 1.25  # a second: 10 Gbit/s
LARGE_EVALUATOR = 11_024 * 224 * 224 * 3 + 100e6


class IdleWorker:
    """Answers at once, so that only the way there and back is measured."""

    def pid(self) -> int:
        """The process id."""
        return os.getpid()

    def scores(self, architectures: Part, evaluator: list[None]) -> tuple[int, int, dict[Architecture, Metrics]]:
        """Whatever is asked."""
        del evaluator
        score = Metrics(1.0, {"top1_percent": 50.0, "balanced_accuracy_percent": 50.0})
        return 0, os.getpid(), dict.fromkeys(architectures, score)


@dataclass
class Costs:
    """Seconds: of the driver's for a group and for an evaluation in it, there and back, and until workers are ready."""

    group: float
    evaluation: float
    trip: float
    start: float


@cache
def make_evaluator() -> tuple[SubnetEvaluator, list[Architecture]]:
    recipe = load_recipe(ROOT / "recipes" / "fashion.toml")
    torch.manual_seed(0)
    supernet = channels_last(build_supernet(recipe.build_space())).eval()
    data = fashion_mnist_subset(DataSettings())
    data = replace(data, validation=data.validation.subset(torch.arange(0, len(data.validation), 3)))
    found = population(supernet.space, np.random.default_rng(0))
    return SubnetEvaluator(supernet, data, EvaluatorSettings(calibration_images=512)), sorted(
        found, key=lambda found: found.choices
    )


def dispatch() -> tuple[float, float, float]:
    """Seconds of the driver's processor for a group and for an evaluation in it, and from asking to the answer."""
    kind: Any = ray.remote(IdleWorker)
    pool = WorkerPool([kind.options(num_cpus=0).remote()], None)
    dummies = [Architecture("unified", (index,) * 20) for index in range(GROUP)]
    busy, wall = {}, {}
    for size in (1, GROUP):
        parts = [dummies[:size] for _ in range(PARTS)]
        list(pool.evaluate(parts[:20]))
        started, processor = time.perf_counter(), time.process_time()
        list(pool.evaluate(parts))
        wall[size] = (time.perf_counter() - started) / PARTS
        busy[size] = (time.process_time() - processor) / PARTS
    pool.dismiss()
    evaluation = (busy[GROUP] - busy[1]) / (GROUP - 1)
    return busy[1] - evaluation, evaluation, wall[1]


def cut(architectures: Sequence[Architecture], workers: int) -> list[Part]:
    return share_out([architectures[a : a + GROUP] for a in range(0, len(architectures), GROUP)], workers)


def largest(parts: Sequence[Part]) -> int:
    return max(len(part) for part in parts)


def here(evaluator: SubnetEvaluator, parts: Sequence[Part]) -> None:
    for part in parts:
        evaluator.scores(part)


def through(engine: RayEngine, architectures: Sequence[Architecture]) -> None:
    list(engine([architectures]))


def evaluated(architectures: Sequence[Architecture]) -> dict[Architecture, Metrics]:
    """For a plain process, which makes an evaluator of its own when it is first asked."""
    return make_evaluator()[0].scores(architectures)


def plainly(pool: Executor, parts: Sequence[Part]) -> None:
    list(pool.map(evaluated, parts))


def makespan(parts: Sequence[Part], workers: int, costs: Costs, each: Callable[[int], float]) -> float:
    """Seconds until the last of parts is evaluated: one driver hands out to whoever is idle."""
    idle, driver, last = [0.0] * min(workers, len(parts)), 0.0, 0.0
    for part in parts:
        size = len(part)
        driver = max(driver, heapq.heappop(idle)) + costs.group + size * costs.evaluation
        last = max(last, driver + costs.trip + size * each(size))
        heapq.heappush(idle, driver + costs.trip + size * each(size))
    return last


def main() -> None:
    evaluator, architectures = make_evaluator()
    console = Console(width=160)
    count, snapshot = len(architectures), EvaluatorSnapshot.pack(evaluator)
    started = time.perf_counter()
    cluster.start(cores=3, store=snapshot.size)
    cluster_seconds = time.perf_counter() - started
    group, evaluation, trip = dispatch()
    cuts = {workers: cut(architectures, workers) for workers in (1, 2, 8, 64)}
    works: dict[str, Callable[[], object]] = {f"here {w}": partial(here, evaluator, parts) for w, parts in cuts.items()}
    ready = 0.0
    for workers in (1, 2):
        engine = RayEngine(lambda: evaluator, workers=workers)
        started = time.perf_counter()
        through(engine, architectures[:2])
        ready = time.perf_counter() - started
        works[f"Ray {workers}"] = partial(through, engine, architectures)
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        works["plain 2"] = partial(plainly, pool, cuts[2])
        works["plain 2"]()  # both have an evaluator before anything is measured
        found = seconds(works, rounds=3, warmup=1)
    ray.shutdown()

    table = Table("where", "networks a part", "ms / evaluation", "speed-up", "Ray's share, ms / evaluation")
    table.title = (
        f"{count} networks, {evaluator.images:,} images each ({machine()}, {os.cpu_count()} cores, load "
        f"{os.getloadavg()[0]:.1f}, Ray {ray.__version__})"
    )
    for name, work, workers, without in (
        ("this process", "here 1", 1, None),
        ("Ray, 1 worker", "Ray 1", 1, "here 1"),
        ("this process", "here 2", 2, None),
        ("two plain processes", "plain 2", 2, None),
        ("Ray, 2 workers", "Ray 2", 2, "plain 2"),
        ("this process", "here 8", 8, None),
        ("this process", "here 64", 64, None),
    ):
        table.add_row(
            name,
            f"{largest(cuts[workers])}",
            f"{1e3 * found[work] / count:.1f}",
            f"{found['here 1'] / found[work]:.2f}",
            f"{1e3 * (found[work] - found[without]) / count:+.1f}" if without else "",
        )
    console.print(table)
    images = sum(array.nbytes for array in (*snapshot.calibration, *snapshot.validation))
    console.print(
        f"Workers that answer at once, {PARTS} groups: the driver is busy {1e3 * group:.2f} ms a group and "
        f"{1e3 * evaluation:.3f} ms an evaluation in it; there and back {1e3 * trip:.2f} ms.\n"
        f"Start: Ray {cluster_seconds:.1f} s, two workers with their evaluates {ready:.1f} s. The evaluator: "
        f"{snapshot.size / 1e6:.2f} MB a worker, {images / 1e6:.2f} MB of it images, which workers of a machine share."
    )
    sizes = {w: largest(parts) for w, parts in cuts.items()}
    measured = {sizes[w]: found[f"here {w}"] / count for w in cuts}
    nodes = {w: [node for part in cuts[w] for node in build_prefix_tree(evaluator.supernet, part)] for w in cuts}
    blocks = {sizes[w]: sum(node.count() for node in nodes[w]) for w in cuts}
    costs = Costs(group, evaluation, trip, cluster_seconds + ready)
    model(console, costs, cases_of(measured, blocks, snapshot.size), snapshot.size)


Case = tuple[str, Callable[[int], float], float]
"""A name, the seconds an evaluation takes in a part of so many networks, and the bytes sent to a machine."""


def cases_of(measured: dict[int, float], blocks: dict[int, int], size: int) -> list[Case]:
    """The evaluation as measured, and two assumed ones, by the number of networks in a part."""
    sizes = sorted(measured)

    def at(values: dict[int, float], wanted: int) -> float:
        return float(np.interp(np.log(wanted), np.log(sizes), [values[s] for s in sizes]))

    shared = {s: blocks[s] / blocks[sizes[-1]] for s in sizes}
    return [
        (f"{measured[sizes[-1]]:.3f} (measured)", partial(at, measured), size),
        ("1 (assumed)", lambda networks: at(shared, networks), LARGE_EVALUATOR),
        ("30 (assumed)", lambda networks: 30 * at(shared, networks), LARGE_EVALUATOR),
    ]


def model(console: Console, costs: Costs, cases: Sequence[Case], size: int) -> None:
    """Print what the measured costs come to; nothing of this has been run."""
    table = Table(
        "s / evaluation",
        "population",
        "workers",
        "at work",
        "largest part",
        "seconds a population",
        "driver busy",
        "speed-up",
        f"{EVALUATIONS:,} evaluations",
        "here",
        "evaluate sent",
        title="A MODEL, not a measurement: many workers",
    )
    for name, each, sent in cases:
        for number in POPULATIONS:
            people = [Architecture("model", (index,)) for index in range(number)]
            alone = sum(len(p) * each(len(p)) for p in cut(people, 1))
            for workers in WORKERS:
                parts = cut(people, workers)
                took = makespan(parts, workers, costs, each)
                sending = -(-workers // PER_MACHINE) * sent / (GIGABYTES * 1e9)
                rounds = EVALUATIONS // number
                table.add_row(
                    name,
                    f"{number:,}",
                    f"{workers:,}",
                    f"{min(workers, len(parts)):,}",
                    f"{largest(parts)}",
                    f"{took:,.2f}",
                    f"{100 * (len(parts) * costs.group + number * costs.evaluation) / took:.1f}%",
                    f"{alone / took:.1f}",
                    clock(rounds * took + costs.start + sending),
                    clock(rounds * alone),
                    f"{sending:.1f} s",
                )
        table.add_section()
    console.print(table)
    console.print(
        "Assumed: an evaluation takes 1 s or 30 s at ImageNet's scale, in groups as large as the largest here; every "
        "network takes as long as any other; every worker is as fast as this process, on a core (or GPU) of its own.\n"
        "One driver hands out and collects group after group, at the cost measured above (with one worker, not 1,000). "
        "A population is evaluated before the next is made, so no more workers than it has networks are at work.\n"
        "In smaller parts, common starts are computed again: as measured for the measured time, by the number of "
        "blocks run for the assumed ones.\n"
        f"The evaluator goes to one machine ({PER_MACHINE} workers) after another at 10 Gbit/s: {size / 1e6:.0f} MB as "
        f"measured, or {LARGE_EVALUATOR / 1e9:.1f} GB (11,024 images of 224 pixels, 100 MB of weights).\n"
        f"{EVALUATIONS:,} evaluations are {EVALUATIONS // POPULATIONS[0]} populations of {POPULATIONS[0]}, or one; the "
        "start as measured here and the sending of the evaluator included."
    )


def clock(duration: float) -> str:
    if duration < 100:
        return f"{duration:.0f} s"
    return f"{duration / 60:.0f} min" if duration < 6000 else f"{duration / 3600:.1f} h"


if __name__ == "__main__":
    main()
