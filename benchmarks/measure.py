"""How benchmarks measure: alternating rounds in one process, medians, and the peak of tensor memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from statistics import median

import torch
from torch.profiler import ProfilerActivity, profile


def seconds(workloads: Mapping[str, Callable[[], object]], rounds: int = 7, warmup: int = 2) -> dict[str, float]:
    """Median seconds of each workload, run in turn so that what slows the machine slows all of them."""
    for _ in range(warmup):
        for work in workloads.values():
            work()
    times: dict[str, list[float]] = {name: [] for name in workloads}
    for _ in range(rounds):
        for name, work in workloads.items():
            started = time.perf_counter()
            work()
            times[name].append(time.perf_counter() - started)
    return {name: median(values) for name, values in times.items()}


def cpu_seconds(workloads: Mapping[str, Callable[[], object]], rounds: int = 15, warmup: int = 2) -> dict[str, float]:
    """Least processor time of each workload, in turn and in one thread: what else the machine does counts little."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    least = dict.fromkeys(workloads, float("inf"))
    for number in range(-warmup, rounds):
        for name, work in workloads.items():
            started = time.process_time()
            work()
            if number >= 0:
                least[name] = min(least[name], time.process_time() - started)
    torch.set_num_threads(threads)
    return least


def peak_bytes(work: Callable[[], object]) -> int:
    """Most bytes of CPU tensors alive at once during `work`, above what was alive before."""
    work()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        work()
    events = [e for e in profiler.profiler.kineto_results.events() if e.name() == "[memory]"]
    alive = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        alive += event.nbytes()
        peak = max(peak, alive)
    return peak


def machine() -> str:
    """One line on what the numbers were measured on."""
    return f"torch {torch.__version__}, {torch.get_num_threads()} threads"
