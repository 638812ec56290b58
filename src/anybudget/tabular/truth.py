"""`Truth`: what a tabular benchmark says of every distinct network, as arrays that scores are held against."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from anybudget.architecture import Architecture
from anybudget.errors import ConfigError
from anybudget.spaces import SearchSpace
from anybudget.tabular.tables import TABLES, TabularBenchmark

Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Truth:
    """Every distinct network of a table, with its accuracy when trained alone and its cost.

    Args:
        space: the benchmark's own.
        networks: canonical architectures `[n]`, sorted by their choices; a row of all arrays each.
        percent: true accuracy in percent, `[n]`.
        macs: multiply-adds of the full network as the table counts them, `[n]`.
        floors: what orders networks for nothing, by name, `[n]` each: `macs`, `params`, `depth` (layers with weights).
        seeds: accuracy of single trainings in percent, `[seeds, n]`; `[0, n]` where the table has none.
        others: further accuracies in percent that the table has, of other splits and data sets, by column, `[n]` each.
    """

    space: SearchSpace
    networks: tuple[Architecture, ...]
    percent: Values
    macs: Values
    floors: Mapping[str, Values]
    seeds: Values
    others: Mapping[str, Values]

    @classmethod
    def of(cls, benchmark: TabularBenchmark) -> Truth:
        """The truth in a table.

        Accuracies of rows that spell one network are averaged, and its costs are those of the cheapest of them.
        """
        table, space = TABLES[benchmark.space.name], benchmark.space
        percent = benchmark.networks(table.truth)
        networks = tuple(sorted(percent, key=lambda architecture: architecture.choices))

        def column(values: Mapping[Architecture, float]) -> Values:
            return np.array([values[architecture] for architecture in networks])

        macs = column(benchmark.cheapest(table.cost))
        depth = [sum(choice in table.weighted for choice in architecture.choices) for architecture in networks]
        floors = {"macs": macs, "params": column(benchmark.cheapest("params")), "depth": np.array(depth, dtype=float)}
        seeds = np.array([column(benchmark.networks(name)) for name in table.seeds]).reshape(-1, len(networks))
        others = {n: column(benchmark.networks(n)) for n in table.others if n in benchmark.columns}
        return cls(space, networks, column(percent), macs, floors, seeds, others)

    def sample(self, count: int) -> Truth:
        """The truth of `count` networks, drawn uniformly with seed 0; of all, where there are no more.

        Raises:
            ConfigError: `count` is 0 or less.
        """
        if count < 1:
            raise ConfigError(f"a sample of {count} networks has no order; draw 1 or more")
        rows = np.random.default_rng(0).permutation(len(self.networks))[:count]
        return self._only(np.sort(rows))

    def _only(self, rows: NDArray[np.int64]) -> Truth:
        """The truth of the networks in these rows, ascending."""
        return replace(
            self,
            networks=tuple(self.networks[row] for row in rows),
            percent=self.percent[rows],
            macs=self.macs[rows],
            floors={name: values[rows] for name, values in self.floors.items()},
            seeds=self.seeds[:, rows],
            others={name: values[rows] for name, values in self.others.items()},
        )

    @cached_property
    def index(self) -> Mapping[Architecture, int]:
        """The row of every network."""
        return {architecture: row for row, architecture in enumerate(self.networks)}

    def within(self, limit: float) -> NDArray[np.int64]:
        """The rows of the networks that cost at most `limit` multiply-adds, ascending."""
        return np.flatnonzero(self.macs <= limit)
