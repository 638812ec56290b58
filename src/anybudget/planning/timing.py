"""From measured times of single steps to the time of every stage."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

from anybudget.planning.workload import Workload


@dataclass(frozen=True, slots=True)
class Time:
    """Seconds that pass, and seconds of processors, all threads and processes together."""

    seconds: float = 0.0
    processor_seconds: float = 0.0

    def __add__(self, other: Time) -> Time:
        return Time(self.seconds + other.seconds, self.processor_seconds + other.processor_seconds)

    def __mul__(self, factor: float) -> Time:
        return Time(factor * self.seconds, factor * self.processor_seconds)

    def __truediv__(self, divisor: float) -> Time:
        return self * (1.0 / divisor)


@dataclass(frozen=True, slots=True)
class StepTimes:
    """What was measured: how long single pieces of the work take.

    What workers share out (`judge`, `train`, `measure`) was measured with all of them at work; it is the time of one
    piece in one of them.

    Args:
        start: from the command to the first training: loading what is needed, and the data.
        path: a step of the supernet.
        statistics: gathering the norms' statistics, once.
        mixture: a step of the generator.
        judge: scoring a network with the supernet, among many.
        train: a step of a network of about the cost of each budget.
        measure: a forward of the validation images by a network of its own.
    """

    start: Time
    path: Time
    statistics: Time
    mixture: Time
    judge: Time
    train: tuple[Time, ...]
    measure: Time


def stage_times(work: Workload, step: StepTimes, workers: int, test_share: float) -> dict[str, Time]:
    """The time of every stage: "start", those of the run, and of "search" the part "race" apart.

    Args:
        work: what is to be done.
        step: how long single steps take.
        workers: how many share out independent work.
        test_share: test images over validation images.
    """
    found = {
        "start": step.start,
        "supernet": step.path * work.supernet_steps + step.statistics,
        "generator": step.mixture * work.generator_steps,
        "search": _shared(step.judge, work.judged or 0, workers),
        "race": _race(work, step, workers),
        "random": _shared(step.judge, work.baseline, workers),
    }
    measured = step.measure * (1.0 + test_share)
    steps = work.trial_steps + work.retrain_steps
    found["retrain"] = side_by_side([step.train[pick] * steps + measured for pick in work.picks], workers)
    if work.compared:
        mean = sum(step.train, Time()) / len(step.train)
        found["worth"] = _shared(mean * work.retrain_steps + measured, work.compared, workers)
    return found


def side_by_side(pieces: Sequence[Time], workers: int) -> Time:
    """The time of independent pieces, begun in this order by whoever of the workers is idle first.

    Example:
        >>> side_by_side([Time(3, 3), Time(2, 2), Time(2, 2)], workers=2)
        Time(seconds=4.0, processor_seconds=7.0)
    """
    ends = [0.0] * max(1, workers)
    for piece in pieces:
        heapq.heappush(ends, heapq.heappop(ends) + piece.seconds)
    return Time(max(ends), float(sum(piece.processor_seconds for piece in pieces)))


def _shared(one: Time, count: int, workers: int) -> Time:
    """Many small pieces, evenly shared out."""
    return Time(one.seconds * count / max(1, workers), one.processor_seconds * count)


def _race(work: Workload, step: StepTimes, workers: int) -> Time:
    """Round by round, since nobody goes on before all have run a round."""
    total = Time()
    for counts in work.race:
        pieces = [
            step.train[budget] * work.round_steps + step.measure
            for budget, count in enumerate(counts)
            for _ in range(count)
        ]
        total += side_by_side(pieces, workers)
    return total
