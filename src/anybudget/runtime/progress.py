"""Reports the progress of long work: an interface that the command line draws, and that library calls leave silent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Task(Protocol):
    """One piece of long work that is under way."""

    def advance(self, steps: int = 1, figure: str = "") -> None:
        """Say that `steps` more are done, and the figure that matters now, such as `loss 1.23`."""


class Progress(Protocol):
    """Where long work says how far it is."""

    def task(self, name: str, total: int) -> AbstractContextManager[Task]:
        """Open a task of `total` steps."""


class _SilentTask:
    def advance(self, steps: int = 1, figure: str = "") -> None:
        """Say nothing."""


SILENT: Task = _SilentTask()
"""A task that nobody watches."""


class SilentProgress:
    """Progress that nobody watches: what library calls use unless given another."""

    @contextmanager
    def task(self, name: str, total: int) -> Iterator[Task]:
        """Open a task that says nothing."""
        del name, total
        yield SILENT


class StepsOf:
    """Progress of work whose steps are steps of a task that is open already, where other work may add its own.

    Args:
        task: the whole.
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        self.said = ""
        """What stands before every figure."""

    @contextmanager
    def task(self, name: str, total: int) -> Iterator[Task]:
        """The task of the whole."""
        del name, total
        yield self

    def advance(self, steps: int = 1, figure: str = "") -> None:
        """See `Task.advance`."""
        self._task.advance(steps, "; ".join(filter(None, (self.said, figure))))
