"""Scores of paths while a supernet trains: what samplers choose by."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional as F

from anybudget.costs import build_costs
from anybudget.data import DataSource
from anybudget.nets import Supernet
from anybudget.nets.modes import scoring
from anybudget.nets.prefix_tree import forward_many
from anybudget.runtime.accounting import TrainingSpending
from anybudget.runtime.device import moved
from anybudget.runtime.distributed import Processes
from anybudget.spaces import PathEncoding


class PathScorer:
    """The loss of paths on a class-balanced validation batch, drawn anew at every call, with the norms of the batch.

    Nothing else of training is on: no dropout, and no running statistics are changed.

    Source: GreedyNAS §3.2: a surrogate of 1,000 images is enough to tell good paths from weak ones.
    """

    def __init__(
        self,
        supernet: Supernet,
        data: DataSource,
        images: int,
        seed: int,
        spent: TrainingSpending,
        processes: Processes | None = None,
    ) -> None:
        self._supernet, self._data, self._images, self._spent = supernet, data, images, spent
        self._processes = processes or Processes()
        self._seed, self._calls = seed, 0
        self._macs = build_costs(supernet.space, ("macs",))["macs"].cost

    def __call__(self, paths: Sequence[PathEncoding]) -> list[float]:
        """The loss of each path."""
        started = time.perf_counter()
        device, spent = next(self._supernet.parameters()).device, self._spent
        batch = self._data.validation.sample(self._images, self._seed + self._calls, balanced=True)
        self._calls += 1
        x = self._data.normalise(moved(batch.images, device)).contiguous(memory_format=torch.channels_last)
        labels = moved(batch.labels, device)
        with scoring(self._supernet), self._processes.precision():
            losses = [float(F.cross_entropy(logits, labels)) for logits in forward_many(self._supernet, paths, x)]
        seconds = time.perf_counter() - started
        macs = len(batch) * sum(self._macs(self._supernet.space.canonical(path)) for path in paths)
        spent.scored.add(len(batch) * len(paths), macs, seconds)
        # Devices may round differently, and all processes have to take the same paths.
        return self._processes.same(losses)

    def state_dict(self) -> dict[str, Any]:
        """How many batches have been drawn."""
        return {"calls": self._calls}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore such a state."""
        self._calls = state["calls"]
