"""Times of many networks in short, shuffled rounds, with a probe between them; needs NumPy alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CALM = 1.03
"""A visit is calm where the probe beside it took at most this many times its least time."""

_PROBES = 2

Array = NDArray[np.float64]
Run = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Times:
    """How long one network took, in ms.

    `once` is the least of its calm runs after one start, and `quiet` the median of that over all starts: where a start
    puts weights and activations in memory makes some faster than others. `p50` and `p95` are the median and the 95th
    percentile of all runs.
    """

    quiet: float
    once: float
    p50: float
    p95: float


@dataclass(frozen=True, slots=True)
class Measured:
    """Times of each network in order, the least of the probe in ms, and the share of visits that were calm."""

    times: list[Times]
    probe_ms: float
    calm: float


@dataclass(frozen=True, slots=True)
class Rounds:
    """How often: networks are started `starts` times, and each time visited in `rounds` rounds for `runs` runs.

    In each round every network is visited once; `seed` draws the orders.
    """

    starts: int = 6
    rounds: int = 8
    runs: int = 8
    seed: int = 0

    @property
    def visits(self) -> int:
        """How often each network is visited."""
        return self.starts * self.rounds


def measure(
    networks: Sequence[Callable[[], Run]],
    probe: Callable[[], Run],
    plan: Rounds,
    *,
    clock: Callable[[], float] = time.perf_counter,
    tell: Callable[[int], object] = lambda _visits: None,
) -> Measured:
    """Time networks. Each is given as what starts it, and gives a call that runs it once.

    A machine that is busy for a while makes some visits slow, not all: the probe runs before and after each visit and
    says which were calm, and only the runs of these count for the least. Where none was, the least of what the visits
    would have taken at the probe's best speed stands for it.

    Args:
        networks: what is timed.
        probe: what is timed between all others.
        plan: how often.
        clock: seconds.
        tell: is told after every round how many visits it had.

    Example:
        >>> now = [0.0]
        >>> def run() -> None:
        ...     now[0] += 0.002
        >>> measure([lambda: run], lambda: run, Rounds(2, 3, 2), clock=lambda: now[0]).times[0].quiet
        2.0
    """
    rng = np.random.default_rng(plan.seed)
    shape = plan.starts, len(networks), plan.rounds
    times, beside, best = np.empty((*shape, plan.runs)), np.empty(shape), np.full(plan.starts, np.inf)
    for start in range(plan.starts):
        started: list[Run] = [_nothing] * len(networks)
        for index in rng.permutation(len(networks)):  # in another order, so that they lie elsewhere in memory
            started[index] = networks[index]()
        runs = probe(), started
        for run in (runs[0], *started):
            run()
        for number in range(plan.rounds):
            beside[start, :, number], least = _round(runs, plan, rng, clock, times[start, :, number])
            best[start] = min(best[start], least)
            tell(len(networks))
    return _summary(times * 1e3, beside * 1e3, best * 1e3)


def _nothing() -> None:
    """What stands for a network before it is started."""


def _round(
    runs: tuple[Run, list[Run]], plan: Rounds, rng: np.random.Generator, clock: Callable[[], float], times: Array
) -> tuple[Array, float]:
    """Visit every network once; fills in times `[networks, runs]`.

    Returns:
        The times of the probe beside each visit, `[networks]`, the slower of before and after; and its least.
    """
    probe, networks = runs
    beside = np.empty(len(networks))
    best = before = _least(probe, clock)
    for index in rng.permutation(len(networks)):
        run = networks[index]
        run()  # what ran before has left its own data in the caches
        for repeat in range(plan.runs):
            began = clock()
            run()
            times[index, repeat] = clock() - began
        after = _least(probe, clock)
        beside[index], before, best = max(before, after), after, min(best, after)
    return beside, best


def _least(probe: Run, clock: Callable[[], float]) -> float:
    probe()
    found = []
    for _ in range(_PROBES):
        began = clock()
        probe()
        found.append(clock() - began)
    return min(found)


def _summary(times: Array, beside: Array, best: Array) -> Measured:
    """From times `[starts, networks, rounds, runs]`, the probe beside visits `[starts, networks, rounds]`; in ms.

    A start puts the probe elsewhere in memory, too: how fast the machine is shows against the probe's `best` after it.
    """
    slower = beside / best[:, None, None] if best.all() else np.ones_like(beside)
    calm, least = slower <= CALM, times.min(3)
    each = np.where(calm.any(2), np.where(calm, least, np.inf).min(2), (least / slower).min(2))
    median, high = np.percentile(np.moveaxis(times, 1, 0).reshape(times.shape[1], -1), (50, 95), axis=1)
    rows = zip(np.median(each, axis=0), each[0], median, high, strict=True)
    found = [Times(*(float(f"{value:.6g}") for value in row)) for row in rows]
    return Measured(found, float(np.median(best)), float(calm.mean()))
