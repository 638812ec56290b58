"""Spaces of choice blocks: a chain of layers, each one of several operations that share its shape."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from math import prod

from anybudget.architecture import Architecture
from anybudget.spaces.base import Decision, Factor, PathEncoding, SearchSpace
from anybudget.spaces.blocks import BlockSpec, SkipSpec
from anybudget.spaces.identities import Run, consecutive, identities_last


class ChoiceBlockSpace(SearchSpace):
    """One decision per layer, one operation per choice (SPOS §3.3, choice block).

    A subclass's constructor calls `_lay_out`. Within a run of layers of one shape an identity may stand anywhere
    without changing the network, so the canonical form moves identities to the end of their run.
    """

    supernet = "choice-blocks"
    layers: tuple[tuple[BlockSpec, ...], ...]  # what each operation of each layer builds

    def _lay_out(
        self,
        before: Sequence[BlockSpec],
        layers: Sequence[Sequence[BlockSpec]],
        after: Sequence[BlockSpec],
        operations: Sequence[str],
    ) -> None:
        """Set everything from the fixed blocks and, for every layer, the block of every operation."""
        self.layers = tuple(tuple(specs) for specs in layers)
        self.decisions = tuple(
            Decision.single(f"layer {number}", tuple(operations)) for number in range(1, len(layers) + 1)
        )
        self.factors = (
            *map(Factor.fixed, before),
            *(Factor((index,), specs.__getitem__) for index, specs in enumerate(self.layers)),
            *map(Factor.fixed, after),
        )

    def canonical(self, encoding: PathEncoding) -> Architecture:
        """The architecture with the identities of every run last; see `SearchSpace.canonical`."""
        return Architecture(self.name, identities_last(self._read(encoding), self._runs))

    def networks(self) -> int:
        """Number of distinct networks: in a run of `n` layers, `0` to `n` operations other than identity."""
        return prod(run.networks for run in self._runs)

    @cached_property
    def _runs(self) -> list[Run]:
        """Runs of consecutive layers with equal operations."""
        return [
            Run(run, len(self.layers[run[0]]), _identities(self.layers[run[0]])) for run in consecutive(self.layers)
        ]


def _identities(specs: Sequence[BlockSpec]) -> frozenset[int]:
    """Which operations of a layer compute nothing."""
    return frozenset(index for index, spec in enumerate(specs) if isinstance(spec, SkipSpec) and spec.identity)
