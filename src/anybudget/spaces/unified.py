"""The unified search space of SGNAS: one block per layer, split into sub-blocks of kernel 3, 5, 7 or skip."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import combinations_with_replacement
from math import comb
from typing import Annotated

import numpy as np
from pydantic import Field

from anybudget.architecture import Architecture
from anybudget.errors import ArchitectureError, ConfigError
from anybudget.spaces.base import Decision, Factor, PathEncoding, SearchSpace
from anybudget.spaces.blocks import Branch, InvertedBottleneckSpec
from anybudget.spaces.settings import Count, LayerShape, Macro, Some, outline

MOST_CHOICES = 20_000
"""Configurations that a layer may have: they are listed one by one, and every cost is counted for each."""


class UnifiedSettings(Macro):
    """The macro-architecture of a unified space, its kernel sizes and expansion rates.

    `forced_sampling` lets training skip only the highest sub-blocks, `shadow_norms` gives every expansion rate a norm
    of its own; the ablations of SGNAS Fig. 6a switch them off.
    """

    kernels: Some[Annotated[int, Field(ge=1, le=99)]] = (3, 5, 7)
    min_expansion: Count = 2
    max_expansion: Annotated[int, Field(ge=1, le=12)] = 6
    forced_sampling: bool = True
    shadow_norms: bool = True


class UnifiedSpace(SearchSpace):
    """One decision per layer: a multiset of kernel sizes, one per sub-block in use (SGNAS §3.3).

    A layer with `e` sub-blocks in use has expansion rate `e`; sub-blocks left over are skipped, and only the highest
    may be (forced sampling). With kernels 3, 5, 7 and expansion 2 to 6 a layer has 80 distinct configurations. The
    canonical encoding sorts the kernels in ascending order.

    Raises:
        ConfigError: kernels or expansion rates make no space.

    Source: SGNAS §3.3 and supplement, Table 6.

    Example:
        >>> from anybudget.spaces import stages
        >>> shapes = {"input_size": 8, "input_channels": 1, "classes": 3, "stem_width": 4}
        >>> space = UnifiedSpace(UnifiedSettings(**shapes, stages=stages((4, 2, 1))))
        >>> [len(decision.choices) for decision in space.decisions]
        [80, 80]
        >>> space.describe(space.from_kernels([[7, 3], [3, 3, 7]]))[0]
        ['3x3', '7x7', 'skip', 'skip', 'skip', 'skip']
    """

    name = "unified"
    settings_type = UnifiedSettings
    supernet = "unified"
    settings: UnifiedSettings

    def __init__(self, settings: UnifiedSettings) -> None:
        kernels = settings.kernels
        if settings.min_expansion > settings.max_expansion:
            raise ConfigError(
                f"min_expansion {settings.min_expansion} must be at most max_expansion {settings.max_expansion}"
            )
        if list(kernels) != sorted(set(kernels)) or any(kernel % 2 == 0 for kernel in kernels):
            raise ConfigError(f"kernels {list(kernels)} must be distinct odd sizes in ascending order")
        rates = range(settings.min_expansion, settings.max_expansion + 1)
        count = sum(comb(len(kernels) + expansion - 1, expansion) for expansion in rates)
        if count > MOST_CHOICES:
            raise ConfigError(
                f"{len(kernels)} kernels and expansion rates {rates.start} to {rates.stop - 1} make {count:,} "
                f"configurations of a layer, more than {MOST_CHOICES:,}; take fewer kernels or a lower max_expansion"
            )
        self.settings = settings
        self.skip = len(kernels)
        choices = tuple(
            multiset + (self.skip,) * (settings.max_expansion - expansion)
            for expansion in rates
            for multiset in combinations_with_replacement(range(len(kernels)), expansion)
        )
        operations = (*(f"{kernel}x{kernel}" for kernel in kernels), "skip")
        self.outline = outline(settings)
        self.decisions = tuple(
            Decision(f"layer {index}", operations, choices) for index in range(1, len(self.outline.layers) + 1)
        )
        self.factors = (
            *map(Factor.fixed, self.outline.before),
            *(Factor((d,), partial(self._layer, shape)) for d, shape in enumerate(self.outline.layers)),
            *map(Factor.fixed, self.outline.after),
        )

    def canonical(self, encoding: PathEncoding) -> Architecture:
        """The architecture with every layer's kernels sorted; see `SearchSpace.canonical`."""
        for number, operations in enumerate(encoding.operations, start=1):
            used = sum(operation != self.skip for operation in operations)
            if self.settings.forced_sampling and any(operation == self.skip for operation in operations[:used]):
                raise ArchitectureError(
                    f"layer {number}: sub-blocks {list(operations)} are no unified block; skips ({self.skip}) come last"
                )
        ordered = tuple(tuple(sorted(operations)) for operations in encoding.operations)
        return super().canonical(PathEncoding(encoding.space, ordered))

    def from_kernels(self, kernels: Sequence[Sequence[int]]) -> Architecture:
        """The architecture whose layers use these kernel sizes, as SGNAS prints them: `[[3, 3, 5], [5, 7], ...]`.

        Raises:
            ArchitectureError: the number of layers, a kernel size or an expansion rate is not of this space.
        """
        index = {kernel: position for position, kernel in enumerate(self.settings.kernels)}
        unknown = sorted({kernel for layer in kernels for kernel in layer if kernel not in index})
        if unknown:
            raise ArchitectureError(
                f"kernel sizes {unknown} are not in this space; it has {list(self.settings.kernels)}"
            )
        slots = self.settings.max_expansion
        return self.canonical(
            PathEncoding(
                self.name,
                tuple(
                    tuple(index[kernel] for kernel in layer) + (self.skip,) * (slots - len(layer)) for layer in kernels
                ),
            )
        )

    def kernels(self, architecture: Architecture) -> tuple[tuple[int, ...], ...]:
        """Kernel size of every sub-block in use, layer by layer: the inverse of `from_kernels`."""
        self.validate(architecture)
        return tuple(map(self._kernels, architecture.choices))

    def _kernels(self, choice: int) -> tuple[int, ...]:
        operations = self.decisions[0].choices[choice]
        return tuple(self.settings.kernels[operation] for operation in operations if operation != self.skip)

    def fair_round(self, rng: np.random.Generator) -> list[PathEncoding]:
        """One path per (expansion rate, kernel): 15 with the paper's values.

        In every layer each expansion rate comes equally often, and so does each kernel size in every sub-block. The
        sub-block's own share follows from forced sampling: sub-block `i` is in use at the rates of at least `i`.
        Layers are shuffled independently. Without forced sampling each layer's sub-blocks are shuffled, too.
        """
        rates = np.arange(self.settings.min_expansion, self.settings.max_expansion + 1)
        kernels = np.arange(len(self.settings.kernels))
        paths = len(rates) * len(kernels)
        table = np.full((paths, len(self.decisions), self.settings.max_expansion), self.skip)
        for layer in range(len(self.decisions)):
            expansion = rng.permutation(np.repeat(rates, len(kernels)))
            for sub_block in range(self.settings.max_expansion):
                used = np.flatnonzero(expansion > sub_block)
                table[used, layer, sub_block] = rng.permutation(np.resize(kernels, len(used)))
            if not self.settings.forced_sampling:
                table[:, layer] = rng.permuted(table[:, layer], axis=1)
        return [PathEncoding(self.name, tuple(tuple(int(op) for op in row) for row in path)) for path in table]

    def _layer(self, shape: LayerShape, choice: int) -> InvertedBottleneckSpec:
        """The inverted bottleneck of a layer under one of its choices."""
        kernels = self._kernels(choice)
        branches = tuple(
            Branch(kernel, shape.in_channels * kernels.count(kernel))
            for kernel in self.settings.kernels
            if kernel in kernels
        )
        return InvertedBottleneckSpec(
            shape.in_channels, shape.out_channels, shape.stride, shape.resolution, branches, self.settings.activation
        )
