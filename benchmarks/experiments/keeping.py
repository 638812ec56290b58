"""What experiments share: results kept in run folders, processor time, and images to be quick with."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

import torch

from anybudget.data import DataSource, from_tensors
from anybudget.runs.run import Run


def kept(run: Run, name: str, work: Callable[[], Any]) -> Any:
    """What some work gives, as JSON holds it; read back where it has been done."""
    file = f"papers/{name.replace(' ', '-')}.json"
    if not (run.folder.path / file).exists():
        run.folder.write_json(file, work())
    return json.loads((run.folder.path / file).read_text())


def processor_seconds(work: Callable[[], object]) -> float:
    """Seconds of processor time that some work takes, processes that it starts included."""
    before = sum(os.times()[:4])
    work()
    return sum(os.times()[:4]) - before


def few_images(channels: int, size: int) -> DataSource:
    """120 random images of ten classes."""
    draws = torch.Generator().manual_seed(0)
    images = torch.randint(256, (120, channels, size, size), dtype=torch.uint8, generator=draws)
    return from_tensors(images, torch.arange(120) % 10)
