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


@dataclass(frozen=True, slots=True)
class Times:
    """How long one network took, in ms: the least, and the median and 95th percentile of all runs."""

    quiet: float
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
    """How often: in each round every network is visited once, in an order drawn by `seed`, for `runs` runs."""

    rounds: int = 24
    runs: int = 8
    seed: int = 0


def measure(
    networks: Sequence[Callable[[], object]],
    probe: Callable[[], object],
    plan: Rounds,
    *,
    clock: Callable[[], float] = time.perf_counter,
    tell: Callable[[int], object] = lambda _visits: None,
) -> Measured:
    """Time networks, each a call that runs it once.

    The quiet latency is the least of all runs in calm visits: a machine that is busy for a while makes some visits
    slow, not all. The probe runs before and after each visit and says which were calm. Where none was, the least of
    what the visits would have taken at the probe's best speed stands for it.

    Args:
        networks: what is timed.
        probe: what is timed between all others.
        plan: how often.
        clock: seconds.
        tell: is told after every round how many visits it had.

    Example:
        >>> now = [0.0]
        >>> def network() -> None:
        ...     now[0] += 0.002
        >>> measure([network], network, Rounds(3, 2), clock=lambda: now[0]).times[0].quiet
        2.0
    """
    rng = np.random.default_rng(plan.seed)
    times = np.empty((len(networks), plan.rounds, plan.runs))
    beside = np.empty((len(networks), plan.rounds))
    for network in (probe, *networks):
        network()
    best = np.inf
    for number in range(plan.rounds):
        before = _least(probe, clock)
        best = min(best, before)
        for index in rng.permutation(len(networks)):
            run = networks[index]
            run()  # what ran before has left its own data in the caches
            for repeat in range(plan.runs):
                started = clock()
                run()
                times[index, number, repeat] = clock() - started
            after = _least(probe, clock)
            beside[index, number] = (before + after) / 2
            before, best = after, min(best, after)
        tell(len(networks))
    return _summary(times * 1e3, beside * 1e3, float(best) * 1e3)


def _least(probe: Callable[[], object], clock: Callable[[], float]) -> float:
    probe()
    found = []
    for _ in range(_PROBES):
        started = clock()
        probe()
        found.append(clock() - started)
    return min(found)


def _summary(times: NDArray[np.float64], beside: NDArray[np.float64], probe: float) -> Measured:
    """From times `[networks, rounds, runs]`, the probe beside each visit `[networks, rounds]`, and its least, in ms."""
    slower = beside / probe if probe > 0 else np.ones_like(beside)
    calm = slower <= CALM
    least = times.min(2)
    quiet = np.where(calm.any(1), np.where(calm, least, np.inf).min(1), (least / slower).min(1))
    median, high = np.percentile(times.reshape(len(times), -1), (50, 95), axis=1)
    found = [Times(*(float(f"{value:.6g}") for value in row)) for row in zip(quiet, median, high, strict=True)]
    return Measured(found, probe, float(calm.mean()) if calm.size else 1.0)
