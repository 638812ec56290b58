"""Snapshots: the weights that a supernet had while it was trained, kept after every so many epochs."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from torch import nn

from anybudget.errors import RunError
from anybudget.nets import Supernet
from anybudget.runs.context import RunContext
from anybudget.runs.environment import size
from anybudget.runtime.process_state import seeded
from anybudget.storage.run_folder import RunFolder

log = logging.getLogger(__name__)

FOLDER = "snapshots"
UNFINISHED = f"{FOLDER}/unfinished"
"""Where they are while the supernet is trained, so that those of one that it replaces stay as long as that does."""


class Snapshots:
    """Keeps the weights of a supernet in training after every `every` epochs, whole files of safetensors.

    They are the weights that training would end with: with `ema` their average. Norms have no running statistics yet:
    evaluators calibrate them for each network.

    Args:
        folder: the run folder; `snapshots/epoch-0005.safetensors` has the weights after 5 epochs.
        every: after how many epochs; 0 keeps none.
    """

    def __init__(self, folder: RunFolder, every: int) -> None:
        self._folder, self._every = folder, every

    def announce(self, supernet: nn.Module, epochs: int) -> None:
        """Say how much will be kept."""
        if self._every and self._folder.writes:
            bytes_each = sum(int(tensor.nbytes) for tensor in supernet.state_dict().values())
            log.info(
                "supernet: %d snapshots of %s each will be kept in %s",
                epochs // self._every,
                size(bytes_each),
                self._folder.path / FOLDER,
            )

    def keep(self, epoch: int, supernet: nn.Module) -> None:
        """Keep the weights, if it is time."""
        if self._every and epoch % self._every == 0:
            self._folder.save_weights(f"{UNFINISHED}/{_name(epoch)}", supernet)

    def finish(self, epochs: int) -> None:
        """Put the snapshots of a training that has ended after so many epochs in the place of all that were there."""
        if not self._folder.writes:
            return
        kept = {_name(epoch) for epoch in range(1, epochs + 1) if self._every and epoch % self._every == 0}
        # One by one, and those first: killed in between, a training that ends again finds the rest.
        for path in sorted((self._folder.path / UNFINISHED).glob("epoch-*.safetensors")):
            if path.name in kept:
                path.replace(self._folder.path / FOLDER / path.name)
            else:
                path.unlink()
        for path in snapshot_files(self._folder):
            if path.name not in kept:
                path.unlink()
        for folder in (UNFINISHED, FOLDER):
            with suppress(OSError):  # never made, or not empty
                (self._folder.path / folder).rmdir()


def load_snapshots(run: RunContext) -> Iterator[tuple[int, Supernet]]:
    """The supernet as it was after each epoch that was kept, in order, with that epoch; one at a time is in memory.

    Raises:
        RunError: the run has kept none, or a file is damaged.
    """
    files = snapshot_files(run.folder)
    if not files:
        raise RunError(
            f"{run.folder.path}: has no snapshots of its supernet; train one with supernet.snapshots, after every how "
            "many epochs the weights are kept"
        )
    return _loaded(run, files)


def _loaded(run: RunContext, files: Sequence[Path]) -> Iterator[tuple[int, Supernet]]:
    for path in files:
        with seeded(run.recipe.seed):  # drawn and replaced
            supernet = run.build_supernet()
        run.folder.load_weights(f"{FOLDER}/{path.name}", supernet)
        yield int(path.stem.partition("-")[2]), supernet.eval()


def _name(epoch: int) -> str:
    return f"epoch-{epoch:04d}.safetensors"


def snapshot_files(folder: RunFolder) -> list[Path]:
    """The snapshots that are there, by epoch."""
    return sorted((folder.path / FOLDER).glob("epoch-*.safetensors"), key=lambda path: int(path.stem.partition("-")[2]))
