"""The workers of an engine: who evaluates what. Ray starts those anew that die, and has them do their work again.

`ray.util.ActorPool` is not enough: of work that fails for good it does not say which it was.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.metadata import version
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from anybudget.architecture import Architecture
from anybudget.errors import ConfigError, RunError
from anybudget.evaluation.engines.cluster import last_line
from anybudget.evaluation.engines.snapshot import EvaluatorSnapshot
from anybudget.evaluation.evaluator import SubnetEvaluator
from anybudget.evaluation.metrics import Metrics
from anybudget.evaluation.parts import Part, named

log = logging.getLogger(__name__)

DEATHS = 3
"""How many workers may die over one part of the work."""

RESTARTS = 20
"""How often Ray starts a worker anew that has died, whatever of."""

PATIENCE = 30.0
"""Seconds without any worker after which the user is told."""


class Worker:
    """Evaluates in a process of its own, one part of the work at a time.

    Args:
        number: which worker this is, also after it has been started anew.
        versions: of whoever asks for scores.
    """

    def __init__(self, number: int, versions: dict[str, str]) -> None:
        self._number, self._versions = number, versions
        self._evaluator: SubnetEvaluator | None = None

    def pid(self) -> int:
        """The process id, once there is a process.

        Raises:
            ConfigError: other versions are installed here.
        """
        here = installed_versions()
        if here != self._versions:
            listed = ", ".join(f"{name} {here[name]} (here {said})" for name, said in self._versions.items())
            raise ConfigError(
                f"{socket.gethostname()}: other versions are installed there: {listed}; scores would differ"
            )
        return os.getpid()

    def scores(self, architectures: Part, evaluator: list[Any]) -> tuple[int, int, Mapping[Architecture, Metrics]]:
        """The worker's number, its process id, and the scores of one part of the work.

        Args:
            architectures: the part.
            evaluator: holds the reference to an `EvaluatorSnapshot`. It is fetched once, and only by a process of the
                same versions, since others may not be able to.
        """
        pid = self.pid()
        if self._evaluator is None:
            snapshot: EvaluatorSnapshot = ray.get(evaluator[0])
            self._evaluator = snapshot.unpack()
        return self._number, pid, self._evaluator.scores(architectures)


@cache
def installed_versions() -> dict[str, str]:
    """Of what decides scores, or whether an evaluator can be unpacked at all."""
    return {name: version(name) for name in ("anybudget", "torch", "numpy")}


class WorkerPool:
    """Workers that take parts of the work as they get idle.

    Args:
        actors: the handles of the workers, in the order of their numbers.
        evaluator: the reference to an `EvaluatorSnapshot` in Ray's store, which stays there as long as this is kept.
    """

    def __init__(self, actors: Sequence[Any], evaluator: Any) -> None:
        self.actors, self._evaluator = list(actors), evaluator
        self.pids: dict[int, int] = {}
        """The process ids of the workers that have answered, by their number."""
        self._started = [actor.pid.remote() for actor in self.actors]
        self._since = time.monotonic()
        self._told = False

    @classmethod
    def start(cls, evaluator: Any, size: int, **resources: Any) -> WorkerPool:
        """Start `size` workers, each with these resources, such as `num_cpus=2`."""
        kind: Any = ray.remote(Worker).options(
            max_restarts=RESTARTS, max_task_retries=DEATHS - 1, scheduling_strategy="SPREAD", **resources
        )
        return cls([kind.remote(number, installed_versions()) for number in range(size)], evaluator)

    def evaluate(self, parts: Sequence[Part]) -> Iterator[Mapping[Architecture, Metrics]]:
        """The scores of parts, as they come.

        Raises:
            RunError: too many workers have died over one part, or cannot be started.
            ConfigError: a worker runs on other versions.
        """
        waiting = deque(parts)
        at_work: dict[Any, tuple[Any, Part]] = {}

        def hand_out(actor: Any) -> None:
            if waiting:
                part = waiting.popleft()
                at_work[actor.scores.remote(part, [self._evaluator])] = actor, part

        for actor in self.actors:
            hand_out(actor)
        while at_work:
            # For a second at most, so that signals are heard.
            done, _ = ray.wait(list(at_work), num_returns=1, timeout=1.0)
            if not done:
                self._tell_if_none_has_started()
            for answer in done:
                actor, part = at_work.pop(answer)
                hand_out(actor)  # before anybody looks at the scores, so that no worker waits for that
                yield self._scores(answer, part)

    def dismiss(self) -> None:
        """End all workers, whatever they are doing."""
        for actor in self.actors if ray.is_initialized() else ():  # else Ray would look for a cluster to join
            ray.kill(actor)

    def _scores(self, answer: Any, part: Part) -> Mapping[Architecture, Metrics]:
        scores: Mapping[Architecture, Metrics]
        try:
            number, pid, scores = ray.get(answer)
        except RayTaskError as error:
            raise error.cause from None  # the evaluator's own: every worker would raise it
        except RayError as error:
            raise RunError(
                f"workers have died again and again, the last over {named(part)}, or "
                f"none can be started: {last_line(error)}; scores that came before are kept. Is anybudget installed on "
                "every machine of the cluster, and RAY_AUTH_MODE the same? If memory has run out, take fewer --workers "
                "or search.calibration_images; --engine local evaluates in this process"
            ) from None
        before = self.pids.get(number, pid)
        if before != pid:
            log.warning("a worker (process %s) has died; another evaluated again what it had", before)
        self.pids[number] = pid
        return scores

    def _tell_if_none_has_started(self) -> None:
        if self._told or time.monotonic() - self._since < PATIENCE:
            return
        self._told = True
        if not ray.wait(self._started, num_returns=1, timeout=0)[0]:
            log.warning("no worker has started within %.0f s; is there a free core in the cluster?", PATIENCE)
