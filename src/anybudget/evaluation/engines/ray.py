"""Evaluating through Ray: worker processes, here or on the machines of a cluster, that take work as they get idle.

The evaluator is put into Ray's object store once, and every worker builds its own from it, once. The images stay there:
all workers of a machine read the same copy. A worker computes with as many threads as one of this machine's
(`runtime.workers`) would, so its scores are the same bit by bit, on the same kind of processor.

What Ray carries between the processes of one search is pickled in memory; nothing is ever unpickled from a file.
Whoever reaches the ports of a Ray cluster can run code on it: keep them within a network that you trust.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Self

import ray

from anybudget.architecture import Architecture
from anybudget.errors import ConfigError
from anybudget.evaluation.engines import HasEvaluator, cluster
from anybudget.evaluation.engines.snapshot import EvaluatorSnapshot
from anybudget.evaluation.engines.worker_pool import WorkerPool
from anybudget.evaluation.evaluator import SubnetEvaluator
from anybudget.evaluation.metrics import Metrics
from anybudget.evaluation.parts import share_out
from anybudget.nets import Supernet
from anybudget.runtime.process_state import computing_threads
from anybudget.runtime.threads import usable_cores

log = logging.getLogger(__name__)


class RayEngine:
    """An engine (`evaluation.Engine`) whose workers Ray runs; nothing is started before there is work.

    Workers stay for the next call until `close`, or the end of the process. Whoever stops asking before the last scores
    have come, by Ctrl-C for one, closes the engine; a closed engine starts anew when it is called. Where this process
    has initialised Ray already, that cluster is used, and left running.

    Args:
        evaluator: gives the evaluator; called when workers are started.
        address: `HOST:PORT` of a cluster to join, or `auto` for the one on this machine; None starts one.
        workers: how many; None takes as many as there are cores for, or GPUs if the supernet is on one.
        threads: with how many threads each computes; 0 for as many as this process.

    Raises:
        ConfigError: there are to be no workers.
    """

    def __init__(
        self,
        evaluator: Callable[[], SubnetEvaluator],
        *,
        address: str | None = None,
        workers: int | None = None,
        threads: int = 0,
    ) -> None:
        if workers is not None and workers < 1:
            raise ConfigError(f"--workers {workers}: at least one is needed")
        self._evaluate, self._address, self._workers, self._threads = evaluator, address, workers, threads
        self._pool: WorkerPool | None = None
        self._initialised = False

    def __call__(self, groups: Sequence[Sequence[Architecture]]) -> Iterator[Mapping[Architecture, Metrics]]:
        """The scores of all architectures as they come; groups may be cut into several parts.

        Raises:
            ConfigError: the cluster cannot be joined, or has no room for a worker.
            RunError: workers die again and again.
        """
        groups = [group for group in groups if group]
        if not groups:
            return
        done = False
        try:
            pool = self._pool if self._pool and ray.is_initialized() else self._start()
            yield from pool.evaluate(share_out(groups, len(pool.actors)))
            done = True
        finally:
            if not done:
                self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers that have answered, each on its machine."""
        return list(self._pool.pids.values()) if self._pool else []

    def close(self) -> None:
        """End the workers, and the cluster if it was started here."""
        if self._pool is not None:
            self._pool.dismiss()
            self._pool = None
        if self._initialised:
            ray.shutdown()
            self._initialised = False

    def _start(self) -> WorkerPool:
        with computing_threads(self._threads):
            snapshot = EvaluatorSnapshot.pack(self._evaluate())
        gpus = int(snapshot.device == "cuda")
        if not ray.is_initialized():
            if self._address is None:
                cluster.start(snapshot.threads * self._local_workers(snapshot), snapshot.size)
            else:
                cluster.join(self._address)
            self._initialised = True
        workers = self._workers or cluster.room({"GPU": 1} if gpus else {"CPU": snapshot.threads})
        if not workers:
            needed = "a GPU" if gpus else f"{snapshot.threads} cores, one for each thread,"
            raise ConfigError(f"no machine of the Ray cluster has {needed} for a worker; set threads in the recipe")
        self._pool = WorkerPool.start(ray.put(snapshot), workers, num_cpus=snapshot.threads, num_gpus=gpus)
        return self._pool

    def _local_workers(self, snapshot: EvaluatorSnapshot) -> int:
        """How many workers to make room for on this machine."""
        cores = usable_cores()
        workers = self._workers or max(1, cores // snapshot.threads)
        if self._workers is None and workers == 1 < cores and snapshot.device == "cpu":
            log.warning(
                "one worker takes %d cores with its %d threads; for one on each core set threads = 1 in the recipe, or "
                "OMP_NUM_THREADS=1",
                cores,
                snapshot.threads,
            )
        return workers


class RayFactory:
    """Gives a run its engine; all evaluators of one supernet share it, so that workers start once.

    Args:
        address: see `RayEngine`.
        workers: see `RayEngine`.

    Raises:
        ConfigError: nothing answers at the address.
    """

    def __init__(self, address: str | None = None, workers: int | None = None) -> None:
        if address is not None:
            cluster.check_reachable(address)  # before hours of training
        self._address, self._workers = address, workers
        self._made: tuple[Supernet, RayEngine] | None = None

    def __call__(self, run: HasEvaluator) -> RayEngine:
        """The engine of a run."""
        if self._made is not None and self._made[0] is run.supernet:
            return self._made[1]
        self.close()
        engine = RayEngine(
            lambda: run.new_evaluator().subnet_evaluator,
            address=self._address,
            workers=self._workers,
            threads=run.workers.threads,
        )
        self._made = run.supernet, engine
        return engine

    def close(self) -> None:
        """See `RayEngine.close`."""
        if self._made is not None:
            self._made[1].close()
