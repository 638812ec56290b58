"""The workers of an engine: who evaluates what, and what happens when one dies."""

from __future__ import annotations

import logging
import os
import socket
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from itertools import pairwise
from math import ceil
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

import ray
from ray.exceptions import RayTaskError

from anybudget.architecture import Architecture
from anybudget.errors import ConfigError, RunError
from anybudget.evaluation.engines.cluster import last_line
from anybudget.evaluation.engines.snapshot import EvaluatorSnapshot
from anybudget.evaluation.metrics import Metrics

log = logging.getLogger(__name__)

DEATHS = 3
"""How many workers may die over one part of the work, and how many may fail to start in a row."""

PATIENCE = 30.0
"""Seconds without any worker after which the user is told."""


class WorkerInfo(NamedTuple):
    """What a worker says of itself when it is ready."""

    pid: int
    host: str
    versions: dict[str, str]


class Worker:
    """Evaluates in a process of its own, one part of the work at a time."""

    def __init__(self, snapshot: EvaluatorSnapshot) -> None:
        self._evaluate = snapshot.unpack()

    def worker_info(self) -> WorkerInfo:
        """Answered once the evaluator is built."""
        return WorkerInfo(os.getpid(), socket.gethostname(), _versions())

    def scores(self, architectures: Sequence[Architecture]) -> Mapping[Architecture, Metrics]:
        """The scores of one part of the work."""
        return self._evaluate.scores(architectures)


@dataclass(slots=True)
class Part:
    """Architectures that one worker evaluates at once."""

    architectures: Sequence[Architecture]
    deaths: int = 0


def share_out(groups: Sequence[Sequence[Architecture]], workers: int) -> list[Part]:
    """Cut groups so that every worker has about as much to do as the others.

    Every cut has a common start computed twice, so groups are cut no further than that takes: into a part for each
    worker if there are fewer groups than workers, else so that the last round is about as full as the first.
    """
    total, largest = sum(map(len, groups)), max(map(len, groups))
    rounds = ceil(total / (workers * largest))
    size = ceil(total / (workers * rounds))
    parts = []
    for group in groups:
        count = ceil(len(group) / size)
        edges = [len(group) * index // count for index in range(count + 1)]
        parts += [Part(group[first:end]) for first, end in pairwise(edges)]
    return parts


@dataclass(eq=False, slots=True)
class Member:
    """One worker of a pool; `pid` is known once it has said worker_info."""

    actor: Any
    pid: int | None = None


class WorkerPool:
    """Workers that take parts of the work as they get idle; one that dies is replaced, and its part done again.

    Args:
        start_worker: starts a worker and returns its handle, at once.
        size: how many.
    """

    def __init__(self, start_worker: Callable[[], Any], size: int) -> None:
        self._start_worker = start_worker
        self._events: SimpleQueue[tuple[Member, Part | None, Future[Any]]] = SimpleQueue()
        self._idle: list[Member] = []
        self._failed = 0
        self.members: list[Member] = []
        for _ in range(size):
            self._add()

    def evaluate(self, parts: Sequence[Part]) -> Iterator[Mapping[Architecture, Metrics]]:
        """The scores of parts, as they come.

        Raises:
            RunError: too many workers have died over one part, or cannot be started.
            ConfigError: a worker runs on other versions.
        """
        waiting, left = deque(parts), len(parts)
        while left:
            self._hand_out(waiting)
            member, part, done = self._next()
            error = done.exception()
            if part is None:
                self._greeted(member, done)
            elif error is None:
                left -= 1
                self._idle.append(member)
                self._hand_out(waiting)  # before anybody looks at the scores, so that no worker waits for that
                yield done.result()
            elif isinstance(error, RayTaskError):
                raise error.cause  # the evaluator's own: every worker would raise it
            else:
                self._died(member, part, error)
                waiting.appendleft(part)

    def dismiss(self) -> None:
        """End all workers, whatever they are doing."""
        for member in self.members:
            _kill(member)
        self.members = []

    def _add(self) -> None:
        member = Member(self._start_worker())
        self.members.append(member)
        self._greet(member)

    def _greet(self, member: Member) -> None:
        """Have a worker say worker_info; it is idle when it has."""
        self._follow(member, None, member.actor.worker_info.remote())

    def _hand_out(self, waiting: deque[Part]) -> None:
        while waiting and self._idle:
            member, part = self._idle.pop(), waiting.popleft()
            self._follow(member, part, member.actor.scores.remote(part.architectures))

    def _follow(self, member: Member, part: Part | None, answer: Any) -> None:
        answer.future().add_done_callback(lambda done: self._events.put((member, part, done)))

    def _next(self) -> tuple[Member, Part | None, Future[Any]]:
        """The next thing that happens; waits in Python, where signals are heard."""
        told = False
        while True:
            try:
                return self._events.get(timeout=PATIENCE)
            except Empty:
                if not told and all(member.pid is None for member in self.members):
                    log.warning("no worker has started within %.0f s; is there a free core in the cluster?", PATIENCE)
                    told = True

    def _greeted(self, member: Member, done: Future[Any]) -> None:
        error = done.exception()
        if error is None:
            worker_info: WorkerInfo = done.result()
            _check_versions(worker_info)
            member.pid = worker_info.pid
            self._failed = 0
            self._idle.append(member)
            return
        if member.pid is None:
            self._failed += 1
        if self._failed == DEATHS:
            raise RunError(
                f"no worker can be started: {last_line(error)}; is anybudget installed on every machine of the "
                "cluster, RAY_AUTH_MODE the same, and is there enough memory? --engine local evaluates in this process"
            ) from None
        self._replace(member)

    def _died(self, member: Member, part: Part, error: BaseException) -> None:
        part.deaths += 1
        if part.deaths == DEATHS:
            first, last = (part.architectures[index].short_id for index in (0, -1))
            raise RunError(
                f"{DEATHS} workers have died over the same {len(part.architectures)} architectures ({first} to "
                f"{last}): {last_line(error)}; scores that came before are kept. If memory has run out, take fewer "
                "--workers or search.calibration_images; --engine local evaluates in this process"
            ) from None
        log.warning("a worker (process %s) has died; another evaluates again what it had", member.pid)
        self._replace(member)

    def _replace(self, member: Member) -> None:
        """Put a new worker in the place of one. What killed it may have killed idle ones: they are asked first."""
        _kill(member)  # it may live, out of reach
        self.members.remove(member)
        self._add()
        idle, self._idle = self._idle, []
        for other in idle:
            self._greet(other)


def _kill(member: Member) -> None:
    if ray.is_initialized():  # else Ray would look for a cluster to join
        with suppress(Exception):  # it is dead already, or all of the cluster is
            ray.kill(member.actor)


@cache
def _versions() -> dict[str, str]:
    """Of what decides scores, or whether an evaluator can be unpacked at all."""
    return {name: version(name) for name in ("anybudget", "torch", "numpy")}


def _check_versions(worker_info: WorkerInfo) -> None:
    here = _versions()
    if worker_info.versions != here:
        listed = ", ".join(f"{name} {worker_info.versions[name]} (here {here[name]})" for name in here)
        raise ConfigError(f"{worker_info.host}: other versions are installed there: {listed}; scores would differ")
