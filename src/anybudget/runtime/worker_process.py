"""What happens within a worker process: one piece of work, and what the parent is told of it; see `workers`."""

from __future__ import annotations

import gc
import logging
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from logging.handlers import QueueHandler
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.reduction import ForkingPickler
from typing import Any

from anybudget.errors import AnyBudgetError
from anybudget.runtime.process_state import computing_threads
from anybudget.runtime.progress import Task
from anybudget.runtime.signals import Stopped, obey_parent

OFTEN = 0.1
"""Seconds after which a worker says again how far it is."""


@dataclass(frozen=True, slots=True)
class Advanced:
    """So many more steps are done, with the last figure; besides these, records of what is logged are sent."""

    steps: int
    figure: str


@dataclass(frozen=True, slots=True)
class Done:
    """The last message of a worker whose piece is done."""

    result: Any


@dataclass(frozen=True, slots=True)
class Failed:
    """The last message of a worker whose piece cannot be done."""

    error: BaseException


@dataclass(frozen=True, slots=True)
class HasStopped:
    """The last message of a worker that was asked to stop, and has saved itself."""


def work_on(work: Callable[[Task], Any], connection: Connection) -> None:
    """Do a piece of work in this process, which has just been forked for it and ends with it."""
    obey_parent()
    threading.Thread(target=end_with_parent, daemon=True).start()
    gc.freeze()  # what the parent had is not looked at again, since memory that is written to is shared no longer
    package = logging.getLogger(__name__.partition(".")[0])
    package.handlers, package.propagate = [ToParent(connection)], False
    task = _Reports(connection)
    try:
        # More would hang: GNU's OpenMP has lost those of the parent, and waits for them.
        with computing_threads(1):
            result = work(task)
        task.flush()
        connection.send(Done(result))
    except Stopped:
        connection.send(HasStopped())
    except BaseException as error:
        connection.send(Failed(sendable(error)))
    finally:
        os._exit(0)  # what is cleaned up when a process ends is the parent's


class _Reports:
    """The task of a piece within its worker: tells the parent now and then."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._steps, self._figure, self._told = 0, "", 0.0

    def advance(self, steps: int = 1, figure: str = "") -> None:
        """See `Task.advance`."""
        self._steps, self._figure = self._steps + steps, figure or self._figure
        if time.monotonic() - self._told >= OFTEN:
            self.flush()

    def flush(self) -> None:
        """Tell what has not been told."""
        if self._steps or self._figure:
            self._connection.send(Advanced(self._steps, self._figure))
        self._steps, self._figure, self._told = 0, "", time.monotonic()


class ToParent(QueueHandler):
    """Sends what is logged to the parent, which alone prints."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(queue=None)  # type: ignore[arg-type]  # the connection takes its place
        self._connection = connection

    def enqueue(self, record: logging.LogRecord) -> None:
        """Send one record."""
        self._connection.send(record)


def sendable(error: BaseException) -> BaseException:
    """An error as the parent can raise it; with where it came from, unless it is the user's to mend."""
    said = "".join(traceback.format_exception(error))
    if not isinstance(error, AnyBudgetError):
        error.add_note(f"In a worker process:\n{said}")
    try:
        ForkingPickler.loads(ForkingPickler.dumps(error))  # as the connection would
    except Exception:
        return RuntimeError(said)
    return error


def end_with_parent() -> None:
    """Wait for the parent to end, however that comes, and end with it."""
    parent = parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGKILL)
