"""`profile_space`: from a space and a runtime to `latency.json`, by a few minutes of measuring."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from anybudget.architecture import Architecture
from anybudget.costs import CostModel, CostTerms, build_costs
from anybudget.costs.latency import QUANTITIES, LatencyProfile, Precision, Probe, Promise, Running, space_digest
from anybudget.costs.table import CostTable
from anybudget.decoding.spread import spread_samples
from anybudget.errors import ConfigError
from anybudget.latency.blocks import Block, Blocks, block_terms, tabled, tabled_blocks
from anybudget.latency.checking import check_of
from anybudget.latency.device import device, load
from anybudget.latency.fitting import MeasuredNetworks, fit_latency
from anybudget.latency.fresh import Job, Model, measure_fresh
from anybudget.latency.promise import drift, promise_of
from anybudget.latency.runtimes import RUNTIMES, Conditions, Runtime
from anybudget.runtime.progress import SILENT, Progress, Task
from anybudget.runtime.rounds import Measured, Rounds, Times
from anybudget.runtime.signals import stop_requests
from anybudget.spaces import SearchSpace
from anybudget.storage.files import write_whole
from anybudget.storage.journal import Journal

log = logging.getLogger(__name__)

BUSY = 0.5
"""Where fewer visits than this share were calm, it is said."""

FEWEST = 30
"""Networks that a space has to have."""

_FEWEST = Rounds(3, 2, 2)
_EXPORT = 500
"""About as many visits as preparing a block takes, for the progress."""

_PROBE = -1
"""The number of the probe among the networks of a process."""


@dataclass(frozen=True)
class ProfileSettings:
    """How a space is profiled.

    Networks run by `runtime` on `device` (cpu or cuda) with `threads` threads, `batch` images at once, as fp32 or int8
    (ONNX Runtime). A model is fitted to `fitted` networks and checked on `checked` others; measuring takes at most
    about `seconds`.
    """

    runtime: str = "onnxruntime"
    device: str = "cpu"
    threads: int = 1
    batch: int = 1
    precision: Precision = "fp32"
    seconds: float = 300.0
    fitted: int = 60
    checked: int = 120
    seed: int = 0


@dataclass(frozen=True)
class _Part:
    """What one process measures."""

    blocks: tuple[Block, ...] = ()
    networks: tuple[Architecture, ...] = ()

    def __len__(self) -> int:
        return len(self.blocks) + len(self.networks)


class _Visits:
    """Progress of measuring by a plan, in visits of the full one."""

    def __init__(self, task: Task, plan: Rounds) -> None:
        self._task, self._share = task, Rounds().visits / plan.visits

    def advance(self, steps: int = 1, figure: str = "") -> None:
        """See `Task.advance`."""
        self._task.advance(round(steps * self._share), figure)


class Profiler:
    """Measures one space; what a process has measured is kept in a journal, so that a kill loses no more than one.

    Args:
        space: whose networks are measured.
        settings: how.
        journal: the file of the journal; it is removed when all is measured.
        measure: runs the jobs; a process of its own on this machine, or another device.
        runtime: prepares the models; the registered one that the settings name if None.

    Raises:
        ConfigError: the runtime is not known or not installed, or does not know the device.
        RunError: a journal of other settings is there.
    """

    def __init__(
        self,
        space: SearchSpace,
        settings: ProfileSettings,
        journal: Path,
        measure: Callable[[Job, Task], Measured] | None = None,
        runtime: Runtime | None = None,
    ) -> None:
        self.space, self.settings, self._measure = space, settings, measure or measure_fresh
        self.runtime: Runtime = runtime or RUNTIMES[settings.runtime]()
        self.runtime.check(settings.device)
        self.blocks = Blocks(space, self.runtime)
        self.device = device(settings.device)
        said = {**asdict(settings), "space": space_digest(space), "version": self.runtime.version}
        del said["seconds"]
        self.journal = Journal(journal, {**said, "processor": self.device.processor}, work="a profile")
        self._macs: CostModel = build_costs(space, ["macs"])["macs"]

    def profile(self, progress: Progress) -> LatencyProfile:
        """Everything that is measured, fitted and checked.

        Raises:
            ConfigError: the time is too short.
            Stopped: the process was asked to stop.
        """
        started, settings = time.time(), self.settings
        networks = self._networks()
        share = min(settings.fitted, len(networks) // 3)  # of a small space, a third
        fitted, checked = networks[:share], networks[share:]
        halves = checked[::2], checked[1::2]
        # What a block of int8 takes alone says little: between blocks activations stay int8.
        alone = settings.precision == "fp32" and tabled(self.space)
        table = tuple(dict.fromkeys(tabled_blocks(self.blocks).values())) if alone else ()
        parts = [_Part(networks=fitted), *(_Part(networks=half) for half in halves)]
        parts += [_Part(table)] if table else []
        with stop_requests() as request:
            self.journal.request = request
            blocks = self._needed(parts)
            steps = len(blocks) * _EXPORT + sum(map(len, parts)) * Rounds().visits
            with progress.task(f"profile {self.runtime.name}", steps) as task:
                self._prepare(blocks, task)
                plan = self._plan(parts)
                found = [self._measured(number, part, plan, task) for number, part in enumerate(parts)]
        self._say_busy(found)
        prior = self._prior(table, found[-1]) if table else None
        profile = self._fitted(prior, (fitted, found[0]), list(zip(halves, found[1:3], strict=True)), found)
        return profile.model_copy(update={"seconds": round(time.time() - started, 1)})

    def _needed(self, parts: Sequence[_Part]) -> list[Block]:
        """The distinct blocks of what has not been measured yet."""
        waiting = [part for number, part in enumerate(parts) if (number, _PROBE) not in self.journal.entries]
        if not waiting:
            return []
        networks = [self.probe, *(network for part in waiting for network in part.networks)]
        blocks = [block for network in networks for block in self.blocks.of(network)]
        return list(dict.fromkeys([*blocks, *(block for part in waiting for block in part.blocks)]))

    def _prepare(self, blocks: Sequence[Block], task: Task) -> None:
        """Have the runtime prepare blocks, one by one."""
        for block in blocks:
            self.blocks.prepare(block)
            task.advance(_EXPORT, "preparing blocks")
            self.journal.stop_if_asked()

    def _networks(self) -> tuple[Architecture, ...]:
        """Distinct networks, spread over all multiply-adds, in random order."""
        settings = self.settings
        count = settings.fitted + settings.checked
        rng = np.random.default_rng(settings.seed)
        drawn = spread_samples(self.space, self._macs, count, rng)
        if len(drawn) < FEWEST:
            raise ConfigError(
                f"the space {self.space.name} has {len(drawn)} networks, and a profile needs {FEWEST}: some to fit, "
                "others to check; for so few, measure them all, and give a table of costs"
            )
        return tuple(drawn[index] for index in rng.permutation(len(drawn))[:count])

    @cached_property
    def probe(self) -> Architecture:
        """A network of middling cost, which is measured between all others."""
        ordered = sorted(self._networks(), key=self._macs.cost)
        return ordered[len(ordered) // 2]

    @property
    def _conditions(self) -> Conditions:
        return Conditions(self.settings.device, self.settings.threads, self.settings.batch)

    def _plan(self, parts: Sequence[_Part]) -> Rounds:
        """As many rounds and runs as there is time for.

        Raises:
            ConfigError: there is not enough for a few.
        """
        known = self.journal.entries.get((_PROBE, 0))
        if known is None:
            probe = self._network(self.probe)
            took = self._measure(Job(self.runtime, self._conditions, [probe], probe, Rounds(1, 4, 4)), SILENT)
            known = {"ms": took.times[0].p50}
            self.journal.add([((_PROBE, 0), known)])
        # All blocks together are about as many times one network as there are choices of a decision.
        visits = sum(len(p.networks) for p in parts) + sum(len(p.blocks) for p in parts) / len(self.space.factors)
        full, seconds = Rounds(seed=self.settings.seed), known["ms"] / 1e3 * visits

        def fits(plan: Rounds) -> bool:
            return seconds * plan.visits * (plan.runs + 4) <= self.settings.seconds

        least = _FEWEST
        ways = [replace(full, runs=runs) for runs in range(full.runs, least.runs - 1, -1)]
        ways += [replace(full, rounds=rounds, runs=least.runs) for rounds in range(full.rounds, least.rounds - 1, -1)]
        ways += [replace(least, starts=starts, seed=full.seed) for starts in range(full.starts, least.starts - 1, -1)]
        for plan in ways:
            if fits(plan):
                return plan
        needed = math.ceil(seconds * least.visits * (least.runs + 4))
        raise ConfigError(
            f"--budget-seconds {self.settings.seconds:g}: a network takes {known['ms']:.3g} ms here, so that a profile "
            f"needs at least {needed} seconds; give more"
        )

    def _measured(self, number: int, part: _Part, plan: Rounds, task: Task) -> Measured:
        """The times of one part; from the journal, if it has been measured."""
        known = self.journal.entries
        if (number, _PROBE) not in known:
            models = self._models(part, task)
            job = Job(self.runtime, self._conditions, models, self._network(self.probe), plan)
            found = self._measure(job, _Visits(task, plan))
            rows = [((number, index), asdict(times)) for index, times in enumerate(found.times)]
            self.journal.add([*rows, ((number, _PROBE), {"ms": found.probe_ms, "calm": found.calm, "load": load()})])
            self.journal.stop_if_asked()
        else:
            task.advance(len(part) * Rounds().visits)
        times = [Times(**known[number, index]) for index in range(len(part))]
        return Measured(times, known[number, _PROBE]["ms"], known[number, _PROBE]["calm"])

    def _models(self, part: _Part, task: Task) -> list[Model]:
        found: list[Model] = []
        makers = [
            *(partial(self.blocks.block, block) for block in part.blocks),
            *(partial(self._network, network) for network in part.networks),
        ]
        for make in makers:
            found.append(make())
            task.advance(0, "preparing networks")
            self.journal.stop_if_asked()
        return found

    def _network(self, architecture: Architecture) -> Model:
        return self.blocks.network(architecture, self.settings.precision)

    def _prior(self, table: Sequence[Block], measured: Measured) -> CostTerms:
        return block_terms(self.blocks, {b: t.quiet for b, t in zip(table, measured.times, strict=True)})

    def _say_busy(self, found: Sequence[Measured]) -> None:
        calm = min(measured.calm for measured in found)
        if calm < BUSY:
            log.warning(
                "the machine was busy: the probe was slow beside %.0f%% of the visits; profile again on a quiet one",
                100 * (1 - calm),
            )

    def _fitted(
        self,
        prior: CostTerms | None,
        fitted: tuple[Sequence[Architecture], Measured],
        checked: Sequence[tuple[Sequence[Architecture], Measured]],
        found: Sequence[Measured],
    ) -> LatencyProfile:
        """The model, its check, and what may be promised."""
        networks, measured = fitted
        model = fit_latency(
            self.space, MeasuredNetworks.of(self.space, networks, _column(measured, "quiet").tolist()), prior
        )
        others = [network for half, _ in checked for network in half]
        predicted = model.predict(np.array([network.choices for network in others]))
        times = {name: np.concatenate([_column(half, name) for _, half in checked]) for name in QUANTITIES}
        once = np.concatenate([_column(half, "once") for _, half in checked])
        spread = drift([part.probe_ms for part in found])
        macs = np.array([self._macs.cost(network) for network in others])
        settings = self.settings
        return LatencyProfile(
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            space_digest=space_digest(self.space),
            device=self.device.model_copy(update={"load": [*self.device.load, load()]}),
            running=Running(
                runtime=self.runtime.name,
                version=self.runtime.version,
                threads=settings.threads,
                batch=settings.batch,
                precision=settings.precision,
            ),
            table=CostTable.of_terms(self.space, model.terms, "ms"),
            promises={
                "quiet": promise_of(predicted, once).model_copy(update={"drift": spread}),
                "p50": _under_load(predicted, times["p50"], spread),
                "p95": _under_load(predicted, times["p95"], spread),
            },
            check=check_of(predicted, times["quiet"], macs),
            probe=Probe(choices=list(self.probe.choices), ms=min(part.probe_ms for part in found)),
        )


def _under_load(predicted: NDArray[np.float64], measured: NDArray[np.float64], spread: float) -> Promise:
    """What may be promised of a latency under load, which is predicted to be a multiple of the quiet one."""
    scale = float(np.median(measured / predicted))
    return promise_of(predicted * scale, measured).model_copy(update={"scale": scale, "drift": spread})


def _column(measured: Measured, quantity: str) -> NDArray[np.float64]:
    return np.array([getattr(times, quantity) for times in measured.times])


def profile_space(space: SearchSpace, settings: ProfileSettings, out: Path, progress: Progress) -> LatencyProfile:
    """Profile a space and write the file; killed, it goes on from the journal beside it.

    Raises:
        ConfigError: the runtime is not installed, or the time too short.
        RunError: the file cannot be written; the journal has what was measured.
        Stopped: the process was asked to stop; run again, it goes on.
    """
    profiler = Profiler(space, settings, out.with_name(f".{out.name}.journal"))
    profile = profiler.profile(progress)
    write_whole(out, text_of(profile).encode())
    profiler.journal.clear()
    return profile


def text_of(profile: LatencyProfile) -> str:
    """A profile as the text of its file."""
    return profile.model_dump_json(indent=1) + "\n"
