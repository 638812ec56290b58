"""How many threads torch computes with: timed on real work, since more are often slower on small networks."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psutil
import torch
from torch import nn

from anybudget.runtime.process_state import computing_threads, seeded

SECONDS = 2.0
"""How long numbers of threads are compared; longer only where a single step with each takes longer."""

ROUNDS = 9
"""How often each number is timed at most, in turns, so that what else runs on the machine slows all of them alike."""

HOPELESS = 1.5
"""A number that never came within this of the best is not timed again."""

SLOWER = 3.0
"""Where a number is this many times slower than the best, still smaller ones are not tried."""

ALIKE = 1.05
"""Numbers within this of the best are as good; the fewest threads of those are taken, which leaves cores to others."""

VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""Where the environment says how many threads torch uses."""


@dataclass(frozen=True, slots=True)
class ThreadTimes:
    """Seconds of the same work with several numbers of threads, and the number to take."""

    seconds: Mapping[int, float]
    count: int

    def to_dict(self) -> dict[str, object]:
        """Plain data: `threads`, and `milliseconds` of the work by number of threads."""
        return {"threads": self.count, "milliseconds": {str(n): round(1e3 * s, 3) for n, s in self.seconds.items()}}

    def __str__(self) -> str:
        return ", ".join(f"{1e3 * seconds:.1f} ms with {count}" for count, seconds in sorted(self.seconds.items()))


def usable_cores() -> int:
    """How many cores this process may use: of its affinity and, in a container, of its share of processor time."""
    process = psutil.Process()
    cores = len(process.cpu_affinity()) if hasattr(process, "cpu_affinity") else psutil.cpu_count() or 1
    return max(1, min(cores, int(_quota(Path("/sys/fs/cgroup")))))


def _quota(folder: Path) -> float:
    """Cores that a control group of Linux allows at a time, by the files of its version 2 or 1; infinite elsewhere."""
    with suppress(OSError, ValueError, ZeroDivisionError):
        quota, period = (folder / "cpu.max").read_text(encoding="ascii").split()
        return int(quota) / int(period)
    with suppress(OSError, ValueError, ZeroDivisionError):
        quota, period = ((folder / "cpu" / f"cpu.cfs_{what}_us").read_text("ascii") for what in ("quota", "period"))
        return int(quota) / int(period) if int(quota) > 0 else 1e9
    return 1e9


def set_by_caller() -> str | None:
    """Who has set the number of threads of this process, in words; None if torch has chosen it by itself.

    A number given by `torch.set_num_threads` is told from torch's own choice only where it is another than the number
    of cores, logical or physical.
    """
    for name in VARIABLES:
        if name in os.environ:
            return name
    own = {psutil.cpu_count(), psutil.cpu_count(logical=False), usable_cores()}
    if hasattr(os, "sched_getaffinity"):
        own.add(len(os.sched_getaffinity(0)))
    return None if torch.get_num_threads() in own else "torch.set_num_threads"


def candidates(cores: int) -> list[int]:
    """The numbers that are tried on so many cores, from the largest: the powers of two up to them."""
    return [2**power for power in reversed(range(cores.bit_length()))]


def fastest_threads(work: Callable[[], float], counts: Sequence[int], seconds: float = SECONDS) -> ThreadTimes:
    """Which number of threads does some work soonest, by the median of times taken in turns.

    Torch has its former number of threads afterwards.

    Args:
        work: does always the same; returns how many seconds it took.
        counts: the numbers to try, from the largest.
        seconds: how long to compare. Each number is timed once whatever that takes, smaller ones only as long as
            they are not hopelessly slower; the first time of each is left out where there are others, since torch
            prepares itself then.
    """
    times: dict[int, list[float]] = {}
    started = time.perf_counter()
    for count in counts:
        times[count] = [_timed(work, count)]
        if times[count][0] > SLOWER * min(first for (first,) in times.values()):
            break
    for _ in range(ROUNDS):
        best = min(map(_typical, times.values()))
        for count, taken in times.items():
            if min(taken) <= HOPELESS * best and time.perf_counter() - started + 2 * taken[-1] < seconds:
                taken.append(_timed(work, count))
    found = {count: _typical(taken) for count, taken in times.items()}
    return ThreadTimes(found, min(count for count in found if found[count] <= ALIKE * min(found.values())))


def _timed(work: Callable[[], float], count: int) -> float:
    with computing_threads(count):
        return work()


def _typical(times: Sequence[float]) -> float:
    return median(times[1:] or times)


def probed_threads(seconds: float = 0.3) -> ThreadTimes:
    """What `fastest_threads` finds for a small convolutional network, where there is no real work to time yet."""
    with seeded(0):
        images, channels = torch.randn(32, 16, 16, 16), 16
        network = nn.Sequential(
            *(
                nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU())
                for _ in "abc"
            )
        )

    def step() -> float:
        started = time.perf_counter()
        network(images).square().mean().backward()
        return time.perf_counter() - started

    return fastest_threads(step, candidates(usable_cores()), seconds)
