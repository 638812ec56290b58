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


class SilentProgress:
    """Progress that nobody watches: what library calls use unless given another."""

    @contextmanager
    def task(self, name: str, total: int) -> Iterator[Task]:
        """Open a task that says nothing."""
        del name, total
        yield _SilentTask()


class PartsOf:
    """Progress of the parts of a task, which only one bar shows: their figures stand behind those of the task.

    Args:
        task: the whole.
        said: what stands before the figures of the parts.
    """

    def __init__(self, task: Task, said: str = "") -> None:
        self._task, self._said = task, said

    @contextmanager
    def task(self, name: str, total: int) -> Iterator[Task]:
        """Open a part; its steps are none of the whole."""
        del name, total
        yield _Part(self._task, self._said)


class _Part:
    def __init__(self, task: Task, said: str) -> None:
        self._task, self._said = task, said

    def advance(self, steps: int = 1, figure: str = "") -> None:
        """Show the figure."""
        del steps
        self._task.advance(0, self._said + figure)
