"""How long exported networks take beside each other: the least of many short rounds."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence

ROUNDS, RUNS = 24, 8


def quiet_ms(runs: Sequence[Callable[[], object]]) -> list[float]:
    """The time of each of several functions in milliseconds, when nothing else disturbs it.

    They are run in turns, `RUNS` at a time in `ROUNDS` rounds of shuffled order; what counts is the least mean of a
    round, so that other work on the machine has to meet every round to show.
    """
    best = [float("inf")] * len(runs)
    order = list(range(len(runs)))
    shuffled = random.Random(0)
    for run in runs:
        run()  # the first is slower
    for _ in range(ROUNDS):
        shuffled.shuffle(order)
        for index in order:
            started = time.perf_counter()
            for _ in range(RUNS):
                runs[index]()
            best[index] = min(best[index], (time.perf_counter() - started) / RUNS)
    return [seconds * 1000 for seconds in best]
