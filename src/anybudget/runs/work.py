"""Long work in a run folder: where it saves itself, who trains it, and how it ends."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from anybudget.errors import RunError, TrainingError
from anybudget.runtime.distributed import Processes
from anybudget.runtime.signals import StopRequest
from anybudget.storage.changes import conflict
from anybudget.storage.checkpoint import FileCheckpoint
from anybudget.storage.journal import Journal
from anybudget.storage.run_folder import RunFolder
from anybudget.training.loop import Log, TrainingContext, no_log

FOLDER = "checkpoints"
"""Where in a run folder unfinished work is kept."""


class Work:
    """One piece of long work: makes its checkpoints and journals, and removes them when its results are written.

    In a process that does not write the run folder they keep nothing on disk.

    Args:
        folder: the run folder.
        name: names the files.
        settings: everything that decides the results.
        request: whether the process has been asked to stop.
        processes: gives those that train together; asked only when something is trained.
        seconds: how long between two checkpoints.
        common: what its trainings have in common: where they say how far they are, and who chooses their threads.
    """

    def __init__(
        self,
        folder: RunFolder,
        name: str,
        settings: Mapping[str, Any],
        request: StopRequest,
        *,
        processes: Callable[[], Processes],
        seconds: float,
        common: TrainingContext,
    ) -> None:
        self.request = request
        self.shared = False
        """Whether all processes of the run take part."""
        self._folder, self._name, self._settings = folder.path / FOLDER, name, settings
        self._writes = folder.writes
        self._processes, self._seconds, self._common = processes, seconds, common
        self._files: list[FileCheckpoint | Journal] = []

    def training_context(
        self, log: Log = no_log, rollbacks: int = 0, part: str = "", processes: Processes | None = None
    ) -> TrainingContext:
        """Who watches over a training.

        Args:
            log: gets one row of metrics per epoch.
            rollbacks: see `TrainingContext`.
            part: tells several trainings within one work apart.
            processes: those that train together; all of the run if None.
        """
        self.shared = self.shared or processes is None
        if processes is None:
            processes = self._processes()
            check_alike(processes, self._settings)
        checkpoint = self.checkpoint(part)
        return replace(self._common, checkpoint=checkpoint, processes=processes, log=log, rollbacks=rollbacks)

    def checkpoint(self, part: str = "") -> FileCheckpoint:
        """Where a training within this work saves itself; whatever asks for it, it is removed when the work is done."""
        path = self._path(part, "checkpoint")
        checkpoint = FileCheckpoint(
            path, self._settings, seconds=self._seconds, request=self.request, writes=self._writes
        )
        self._files.append(checkpoint)
        return checkpoint

    def journal(self, part: str = "") -> Journal:
        """Where scores are kept as they come; `part` tells several within one work apart."""
        path = self._path(part, "jsonl")
        journal = Journal(path, self._settings, request=self.request, writes=self._writes)
        self._files.append(journal)
        return journal

    def clear(self, *, last: bool) -> None:
        """Remove what was kept: the results are written. The `last` work under way removes the empty folder, too."""
        if not self._writes:
            return
        for file in self._files:
            file.clear()
        if last:
            with suppress(OSError):  # not empty, or never made
                self._folder.rmdir()

    def discard(self, name: str) -> None:
        """Remove the checkpoint of other work that a kill has left after that had written its results."""
        if self._writes:
            FileCheckpoint(self._folder / _file(name, "checkpoint"), {}).clear()

    def _path(self, part: str, extension: str) -> Path:
        return self._folder / _file(f"{self._name} {part}", extension)


def _file(name: str, extension: str) -> str:
    words = re.findall(r"[\w.]+", name)
    return f"{'-'.join(words)}.{extension}"


def check_alike(processes: Processes, settings: Mapping[str, Any]) -> None:
    """Check that all processes train with the settings and on the data of the main one; they end together if not.

    Raises:
        RunError: some do not; a process that does says so of the others.
    """
    otherwise = conflict(processes.same(dict(settings)), settings)
    if processes.mean([float(bool(otherwise))])[0]:
        said = otherwise or "other settings or data than this one"
        raise RunError(f"one of the processes that train together has {said}; give all the same recipe and data")


OUT_OF_MEMORY = (
    "out of memory",  # CUDA, MPS and others, also where torch raises no OutOfMemoryError
    "allocate memory",  # DefaultCPUAllocator: can't allocate memory; Cannot allocate memory
    "could not create a primitive",  # oneDNN has no room for a convolution's working memory
    "could not create a memory object",  # oneDNN has no room for a tensor
    "cublas_status_alloc_failed",
    "cudnn_status_alloc_failed",
)
"""What messages of a `RuntimeError` say, in lower case, when the cause is a lack of memory."""


@contextmanager
def as_memory_error() -> Iterator[None]:
    """Say what helps when memory runs out.

    Raises:
        TrainingError: it has.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        text = str(error)
        if not isinstance(error, MemoryError | torch.OutOfMemoryError) and not any(
            message in text.lower() for message in OUT_OF_MEMORY
        ):
            raise
        raise TrainingError(
            f"out of memory ({text.strip().splitlines()[0] if text.strip() else 'no details'}); lower batch_size, or "
            "raise accumulate, which splits a batch into parts, or lower generator.networks_per_step or "
            "search.calibration_images; what was saved before is kept"
        ) from None
