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
