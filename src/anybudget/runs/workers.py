"""How many workers do the independent pieces of work of a run, and the note of it in the run folder."""

from __future__ import annotations

import os

import torch

from anybudget.errors import ConfigError
from anybudget.runtime.threads import usable_cores
from anybudget.runtime.workers import Workers, why_none
from anybudget.storage.run_folder import RunFolder

WORKERS = "workers.json"
"""Where a run folder says how its last work was shared out; for people, since it decides no result."""


def choose_workers(asked: int | None, threads: int, device: torch.device, processes: int) -> Workers:
    """What does independent pieces of work: so many workers as were asked for, or as there are cores for.

    There is one, this process, where more would get in each other's way: on an accelerator, where several processes
    train together, and where a piece is to compute with several threads.

    Args:
        asked: how many; None leaves it open.
        threads: with how many threads a piece computes.
        device: where it computes.
        processes: how many train together.

    Raises:
        ConfigError: there cannot be several, and are to be.
    """
    together = max(processes, int(os.environ.get("WORLD_SIZE", "1"))) > 1
    if device.type != "cpu" or together:
        if asked is not None and asked > 1:
            why = "several processes train together" if together else f"the device is {device}"
            raise ConfigError(f"--workers {asked}: {why}, and workers compute on the CPU, each alone; leave it out")
        return Workers()
    if asked is None:
        asked = usable_cores() if threads == 1 and not why_none() else 1
    return Workers(asked, threads)


def note_workers(folder: RunFolder, workers: Workers) -> None:
    """Write to the run folder how work is shared out on the CPU."""
    if workers.threads:
        said = {"workers": workers.count, "threads": workers.threads, "cores": usable_cores()}
        folder.write_json(WORKERS, said)
