"""Which kernels a run trains with on the CPU, and the note of it in the run folder: others round otherwise."""

from __future__ import annotations

import json
import logging

import torch

from anybudget.nets.compiled import build
from anybudget.storage.run_folder import RunFolder

log = logging.getLogger(__name__)

KERNELS = "kernels.json"
"""Where a run folder says which kernels its first training had."""


def compare_kernels(folder: RunFolder, device: torch.device) -> None:
    """Say so if a run on the CPU was begun with other kernels than are here."""
    path = folder.path / KERNELS
    if device.type != "cpu" or not path.exists():
        return
    try:
        before = str(json.loads(path.read_text())["kernels"])
    except (OSError, ValueError, KeyError, TypeError):
        return  # it decides nothing
    here = build.found()
    if before != here.name:
        log.warning(
            "%s: was begun with the kernels %.60s, here %s (%s); results differ in rounding from those there",
            folder.path,
            before,
            here.name,
            here.said,
        )


def note_kernels(folder: RunFolder, device: torch.device) -> None:
    """Write which kernels there are, if a training has asked for them and no earlier one has written it."""
    if device.type == "cpu" and build.looked_for() and folder.writes and not (folder.path / KERNELS).exists():
        folder.write_json(KERNELS, {"kernels": build.found().name})
