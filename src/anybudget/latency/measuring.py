"""Measures networks as a profile did: on the same processor, by the same runtime, beside the same probe."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from anybudget.architecture import Architecture
from anybudget.costs.latency import LatencyProfile, Probe
from anybudget.errors import ConfigError
from anybudget.latency.blocks import Blocks
from anybudget.latency.device import device
from anybudget.latency.elsewhere import ELSEWHERE
from anybudget.latency.fresh import Job, measure_fresh
from anybudget.latency.runtimes import RUNTIMES, Conditions, Runtime
from anybudget.runtime.progress import SILENT, Task
from anybudget.runtime.rounds import CALM, Measured, Rounds
from anybudget.spaces import SearchSpace

log = logging.getLogger(__name__)


def runtime_of(profile: LatencyProfile) -> Runtime:
    """The runtime of a profile, where this machine is the one that was profiled.

    Raises:
        ConfigError: the processor is another one, which is named; or the runtime or the device is not here.
    """
    here, there, running = device(profile.device.kind), profile.device, profile.running
    if running.runtime == ELSEWHERE:
        raise ConfigError(f"it was measured elsewhere, on {there.processor}")
    if here.processor != there.processor:
        raise ConfigError(f"it was measured on {there.processor}, and this is {here.processor}")
    runtime: Runtime = RUNTIMES[running.runtime]()
    runtime.check(there.kind)
    if runtime.version != running.version:
        log.warning(
            "latencies were measured with %s %s, and here is %s", runtime.name, running.version, runtime.version
        )
    return runtime


def measure_as(
    profile: LatencyProfile,
    blocks: Blocks,
    architectures: Sequence[Architecture],
    plan: Rounds,
    task: Task = SILENT,
) -> Measured:
    """The times of networks, in a process of their own.

    Where the probe is slower than it was in the profile, that is said: quiet latencies are of a machine at one speed.

    Args:
        profile: how they run, and the probe.
        blocks: those of the space that was profiled, prepared by its runtime; see `runtime_of`.
        architectures: what is measured.
        plan: how often.
        task: advances by one for every network that is prepared, and for every visit.
    """
    running, probe = profile.running, profile.probe
    models = []
    for architecture in architectures:
        models.append(blocks.network(architecture, running.precision))
        task.advance(figure="preparing")
    conditions = Conditions(profile.device.kind, running.threads, running.batch)
    beside = models[0] if probe is None else blocks.network(_network(blocks.space, probe), running.precision)
    found = measure_fresh(Job(blocks.runtime, conditions, models, beside, plan), task)
    if probe is not None and found.probe_ms > CALM * probe.ms:
        log.warning(
            "this machine is slower than when it was profiled: a network that took %.4g ms takes %.4g ms now",
            probe.ms,
            found.probe_ms,
        )
    return found


def _network(space: SearchSpace, probe: Probe) -> Architecture:
    return Architecture(space.name, tuple(probe.choices))
