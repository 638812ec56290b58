"""A runtime with planted latencies and a clock of its own: nothing is computed, and nothing takes time."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from anybudget.errors import ConfigError
from anybudget.latency.runtimes import RUNTIMES, Conditions, Runtime

FAILING = "planted-failure"
"""A file of this name in the working directory lets every process but the first ones fail; it says how many."""


class PlantedRuntime(Runtime):
    """A block takes 20 µs and a time by its parameters; a network 5% more than its blocks, and 0.1 ms.

    A run takes up to 0.4% longer, and one of ten up to 30%. After a start, up to 1% comes on top of all runs. The first
    300 runs of a process are half as slow again.
    """

    name = "planted"
    version = "1.0"  # type: ignore[assignment]

    def __init__(self) -> None:
        self.now = 0.0
        self.runs = 0
        self.rng = np.random.default_rng(1)

    def prepare(self, module: Any, shape: tuple[int, ...]) -> bytes:
        count = sum(parameter.numel() for parameter in module.parameters())
        return pickle.dumps(0.02 + count * shape[1] * 1e-5)

    def join(self, blocks: Sequence[bytes]) -> bytes:
        return pickle.dumps(0.1 + 1.05 * sum(map(pickle.loads, blocks)))

    def quantise(self, model: bytes, shape: tuple[int, ...]) -> bytes:  # noqa: ARG002 - any will do
        """Half the time."""
        return pickle.dumps(pickle.loads(model) / 2)

    def session(self, model: bytes, shape: tuple[int, ...], conditions: Conditions) -> Callable[[], object]:
        if conditions.device != "cpu":
            raise ConfigError(f"--device {conditions.device}: planted runs on cpu")
        if Path(FAILING).exists():
            left = int(Path(FAILING).read_text())
            if not left:
                raise MemoryError("no room for the network")
            if shape == ():
                Path(FAILING).write_text(str(left - 1))
        seconds = pickle.loads(model) / 1e3 * self.rng.uniform(1.0, 1.01)

        def run() -> None:
            self.runs += 1
            slow = 1.5 if self.runs < 300 else 1.0
            burst = self.rng.uniform(1.0, 1.3) if self.rng.random() < 0.1 else 1.0
            self.now += seconds * slow * burst * self.rng.uniform(1.0, 1.004)

        return run

    @property
    def clock(self) -> Callable[[], float]:
        return lambda: self.now


RUNTIMES.register(PlantedRuntime)
