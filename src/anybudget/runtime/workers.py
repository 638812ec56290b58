"""Worker processes of this machine, for independent pieces of work; knows nothing of what the pieces do.

Each piece runs in a process of its own, forked when its turn comes. It finds everything as it is here, images and
weights included, and shares their memory: nothing has to be sent but the result. As with the workers of torch's
`DataLoader`, that is safe on Linux, with one thread in a worker, and where no accelerator is in use.
"""

from __future__ import annotations

import logging
import signal
import sys
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from multiprocessing import current_process, get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Generic, TypeVar

import torch

from anybudget.errors import ConfigError, RunError
from anybudget.runtime.process_state import computing_threads
from anybudget.runtime.progress import SILENT, Task
from anybudget.runtime.signals import Stopped, current_request, signals_held
from anybudget.runtime.worker_process import Advanced, Done, Failed, HasStopped, work_on

log = logging.getLogger(__name__)

T = TypeVar("T")

DEATHS = 3
"""How many workers may die over one piece."""

HEARD = 0.1
"""Seconds within which a signal is heard."""


@dataclass(frozen=True, slots=True)
class Piece(Generic[T]):
    """Work that depends on no other: its `name` in messages, and what does it, given where to say how far it is.

    Its result has to be picklable, and small: it comes through a pipe.
    """

    name: str
    work: Callable[[Task], T]


@dataclass(frozen=True, slots=True)
class Workers:
    """How many processes do independent pieces of work, and with how many threads each of them computes.

    A `count` of 1 does them in this process, one after the other. A piece computes with as many threads whatever the
    count is, so results are the same to the last bit; 0 `threads` are as many as torch has.

    Raises:
        ConfigError: several workers are to have several threads each, or workers cannot be forked here.

    Example:
        >>> workers = Workers(2, threads=1)
        >>> sorted(workers.each([Piece(f"piece {n}", lambda task, n=n: n * n) for n in range(3)]))
        [(0, 0), (1, 1), (2, 4)]
    """

    count: int = 1
    threads: int = 0

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ConfigError(f"--workers {self.count}: at least one is needed")
        problem = why_none() if self.threads == 1 else f"a worker computes with one thread, not {self.threads}"
        if self.count > 1 and problem:
            raise ConfigError(f"--workers {self.count}: {problem}; leave --workers out, or give 1")

    def each(self, pieces: Sequence[Piece[T]], task: Task = SILENT, *, saving: bool = False) -> Iterator[tuple[int, T]]:
        """The index and the result of every piece, as they are done.

        A worker that dies is named, and its piece is done again, with one worker fewer from then on. Whoever stops
        asking early ends the workers.

        Args:
            pieces: what is done, begun in this order.
            task: is told what the pieces tell theirs.
            saving: whether pieces save themselves when they are asked to stop, and are waited for; others are ended
                at once.

        Raises:
            RunError: `DEATHS` workers have died over one piece; names it.
            Stopped: asked to stop.
        """
        # A worker is a daemonic process, and these may have no children.
        if min(self.count, len(pieces)) < 2 or current_process().daemon:
            yield from self._here(pieces, task)
        else:
            yield from _Crew(self.count, pieces, task, saving).results()

    def computing(self) -> AbstractContextManager[None]:
        """Within, this process computes with as many threads as a piece."""
        return computing_threads(self.threads)

    def _here(self, pieces: Sequence[Piece[T]], task: Task) -> Iterator[tuple[int, T]]:
        for index, piece in enumerate(pieces):
            current_request().check()
            with self.computing():
                result = piece.work(task)
            yield index, result


def why_none() -> str:
    """Why no workers can be forked here, in words; empty if they can."""
    if sys.platform != "linux":
        return f"workers are forked, which is safe on Linux only, and this is {sys.platform}"
    if torch.cuda.is_available():
        return "workers are forked, which CUDA does not bear, so hide the GPUs (CUDA_VISIBLE_DEVICES=)"
    return ""


@dataclass(slots=True)
class _Worker:
    """A process at work on the piece with this index; `steps` is what it has told its task."""

    index: int
    process: BaseProcess
    steps: int = 0


class _Crew(Generic[T]):
    """The workers of one call of `Workers.each`."""

    def __init__(self, count: int, pieces: Sequence[Piece[T]], task: Task, saving: bool) -> None:
        self._count, self._pieces, self._task, self._saving = count, pieces, task, saving
        self._waiting = deque(range(len(pieces)))
        self._at_work: dict[Connection, _Worker] = {}
        self._ending: list[BaseProcess] = []
        self._deaths = Counter[int]()
        self._request = current_request()

    def results(self) -> Iterator[tuple[int, T]]:
        """See `Workers.each`."""
        try:
            self._request.check()
            self._start()
            while self._at_work:
                for connection in wait(list(self._at_work), HEARD):
                    assert isinstance(connection, Connection)
                    yield from self._hear(connection)
                self._request.check()
        finally:
            self._end()

    def _start(self) -> None:
        """Begin pieces until all workers are busy."""
        while self._waiting and len(self._at_work) < self._count:
            index = self._waiting.popleft()
            context = get_context("fork")
            ours, theirs = context.Pipe(duplex=False)
            process = context.Process(target=work_on, args=(self._pieces[index].work, theirs), daemon=True)
            with signals_held(), warnings.catch_warnings():
                # Python warns of other threads, such as the one that draws progress: a worker needs none of them.
                warnings.simplefilter("ignore", DeprecationWarning)
                process.start()
                self._at_work[ours] = _Worker(index, process)
            theirs.close()  # so that the end of the worker is heard

    def _hear(self, connection: Connection) -> Iterator[tuple[int, T]]:
        """Take in one message of a worker."""
        worker = self._at_work[connection]
        match _received(connection):
            case Advanced(steps, figure):
                worker.steps += steps
                self._task.advance(steps, figure)
            case logging.LogRecord() as record:
                logging.getLogger(record.name).handle(record)
            case Done(result):
                self._dismiss(connection)
                self._start()  # before anybody looks at the result, so that no core waits for that
                yield worker.index, result
            case Failed(error):
                self._dismiss(connection)
                raise error
            case HasStopped():
                self._dismiss(connection)
                self._request.check()
                raise Stopped(signal.SIGTERM)  # which was sent to the worker alone
            case _:
                self._dismiss(connection)
                self._do_again(worker)

    def _dismiss(self, connection: Connection) -> None:
        """Let go of a worker that has said its last."""
        self._ending.append(self._at_work.pop(connection).process)
        connection.close()

    def _do_again(self, worker: _Worker) -> None:
        """Have the piece of a worker that has died done again, by one worker fewer: memory may be short.

        Raises:
            RunError: too many have died over it.
        """
        worker.process.join()
        self._task.advance(-worker.steps)
        self._deaths[worker.index] += 1
        name, cause = self._pieces[worker.index].name, _cause(worker.process.exitcode)
        if self._deaths[worker.index] == DEATHS:
            raise RunError(
                f"{name}: {DEATHS} worker processes have died over it, the last one of {cause}; what was saved is "
                "kept. If memory has run out, take fewer --workers (1 does all in this process)"
            )
        self._count = max(1, self._count - 1)
        log.warning(
            "a worker (process %s) has died of %s; %s is done again, with %d worker(s) from now on",
            worker.process.pid,
            cause,
            name,
            self._count,
        )
        self._waiting.appendleft(worker.index)
        self._start()

    def _end(self) -> None:
        """End what is still at work: what saves itself is asked to, and waited for."""
        try:
            if self._saving:
                for worker in self._at_work.values():
                    worker.process.terminate()
                for connection in self._at_work:
                    while (message := _received(connection)) is not None:
                        if isinstance(message, logging.LogRecord):
                            logging.getLogger(message.name).handle(message)
        finally:
            for worker in self._at_work.values():
                worker.process.kill()
            for process in (*self._ending, *(worker.process for worker in self._at_work.values())):
                process.join()
            for connection in self._at_work:
                connection.close()
            self._at_work.clear()


def _received(connection: Connection) -> Any:
    """The next message of a worker; None once it has ended."""
    try:
        return connection.recv()
    except (EOFError, OSError):
        return None


def _cause(code: int | None) -> str:
    """What a process has died of, in words."""
    if code is not None and code < 0:
        with suppress(ValueError):
            return signal.Signals(-code).name
    return f"exit code {code}"
