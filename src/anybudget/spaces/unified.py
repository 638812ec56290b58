"""The unified search space of SGNAS: one block per layer, split into sub-blocks of kernel 3, 5, 7 or skip."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, partial
from itertools import combinations_with_replacement
from math import comb, lcm, prod
from typing import Annotated

import numpy as np
from pydantic import Field

from anybudget.architecture import Architecture
from anybudget.errors import ArchitectureError, ConfigError
from anybudget.spaces.base import Decision, Factor, PathEncoding, SearchSpace
from anybudget.spaces.blocks import BlockSpec, Branch, InvertedBottleneckSpec, SkipSpec
from anybudget.spaces.identities import Run, consecutive, identities_last
from anybudget.spaces.settings import Count, LayerShape, Macro, Some, outline

MOST_CHOICES = 20_000
"""Configurations that a layer may have: they are listed one by one, and every cost is counted for each."""


class UnifiedSettings(Macro):
    """The macro-architecture of a unified space, its kernel sizes and expansion rates.

    `forced_sampling` lets training skip only the highest sub-blocks, `shadow_norms` gives every expansion rate a norm
    of its own; the ablations of SGNAS Fig. 6a switch them off. With `skip_layers` a layer that keeps the shape of its
    input may be left out: one more choice, with every sub-block skipped, which SGNAS's space does not have.
    """

    kernels: Some[Annotated[int, Field(ge=1, le=99)]] = (3, 5, 7)
    min_expansion: Count = 2
    max_expansion: Annotated[int, Field(ge=1, le=12)] = 6
    forced_sampling: bool = True
    shadow_norms: bool = True
    skip_layers: bool = False


class UnifiedSpace(SearchSpace):
    """One decision per layer: a multiset of kernel sizes, one per sub-block in use (SGNAS §3.3).

    A layer with `e` sub-blocks in use has expansion rate `e`; sub-blocks left over are skipped, and only the highest
    may be (forced sampling). With kernels 3, 5, 7 and expansion 2 to 6 a layer has 80 distinct configurations. The
    canonical encoding sorts the kernels in ascending order.

    With `skip_layers` the layers of stride 1 with as many channels out as in have one choice more, the last: all
    sub-blocks are skipped, and the layer is the identity. Which layers of a run of equal shapes are skipped does not
    matter, so the canonical encoding has them last in their run.

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
        >>> deep = UnifiedSpace(UnifiedSettings(**shapes, stages=stages((4, 2, 1)), skip_layers=True))
        >>> [len(decision.choices) for decision in deep.decisions]
        [81, 81]
        >>> deep.kernels(deep.from_kernels([[], [3, 7]]))
        ((3, 7), ())
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
        self.outline = outline(settings)
        if settings.skip_layers and not any(shape.keeps_shape for shape in self.outline.layers):
            raise ConfigError(
                "skip_layers: every layer changes the shape of its input (stride 2, or other channels out than in), so "
                "none can be left out; give a stage more repeats, or set skip_layers = false"
            )
        choices = tuple(
            multiset + (self.skip,) * (settings.max_expansion - expansion)
            for expansion in rates
            for multiset in combinations_with_replacement(range(len(kernels)), expansion)
        )
        operations = (*(f"{kernel}x{kernel}" for kernel in kernels), "skip")
        left_out = ((self.skip,) * settings.max_expansion,)
        self.decisions = tuple(
            Decision(f"layer {number}", operations, choices + left_out if self._skippable(shape) else choices)
            for number, shape in enumerate(self.outline.layers, start=1)
        )
        self.factors = (
            *map(Factor.fixed, self.outline.before),
            *(Factor((d,), partial(self._layer, d)) for d in range(len(self.decisions))),
            *map(Factor.fixed, self.outline.after),
        )

    def canonical(self, encoding: PathEncoding) -> Architecture:
        """The architecture with every layer's kernels sorted and skipped layers last; see `SearchSpace.canonical`."""
        for layer, operations in enumerate(encoding.operations):
            used = sum(operation != self.skip for operation in operations)
            if self.settings.forced_sampling and any(operation == self.skip for operation in operations[:used]):
                raise ArchitectureError(
                    f"layer {layer + 1}: sub-blocks {list(operations)} are no unified block; skips ({self.skip}) come "
                    "last"
                )
            if operations and not used:
                self._check_left_out(layer)
        ordered = tuple(tuple(sorted(operations)) for operations in encoding.operations)
        choices = self._read(PathEncoding(encoding.space, ordered))
        return Architecture(self.name, identities_last(choices, self._runs))

    def networks(self) -> int:
        """Number of distinct networks; fewer than `size` where layers of one shape may be skipped."""
        return prod(run.networks for run in self._runs)

    def from_kernels(self, kernels: Sequence[Sequence[int]]) -> Architecture:
        """The architecture whose layers use these kernel sizes, as SGNAS prints them: `[[3, 3, 5], [5, 7], ...]`.

        A layer without kernels is skipped.

        Raises:
            ArchitectureError: the number of layers, a kernel size or an expansion rate is not of this space, or a layer
                that cannot be skipped has no kernels.
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
        return tuple(self._kernels(layer, choice) for layer, choice in enumerate(architecture.choices))

    def _kernels(self, layer: int, choice: int) -> tuple[int, ...]:
        operations = self.decisions[layer].choices[choice]
        return tuple(self.settings.kernels[operation] for operation in operations if operation != self.skip)

    def fair_round(self, rng: np.random.Generator) -> list[PathEncoding]:
        """Paths of a strictly fair round: one per (expansion rate, kernel), 15 with the paper's values.

        In every layer each expansion rate comes equally often, and so does each kernel size in every sub-block. The
        sub-block's own share follows from forced sampling: sub-block `i` is in use at the rates of at least `i`.
        Layers are shuffled independently. Without forced sampling each layer's sub-blocks are shuffled, too.

        Being skipped is a rate of its own, 0, and comes as often as any other: in one of six paths with the paper's
        rates. Where some layers can be skipped and others cannot, a round is as long as the counts of both need to come
        out even: 90 paths.
        """
        least, most, kernels = self.settings.min_expansion, self.settings.max_expansion, len(self.settings.kernels)
        rates = [[*([0] if run.identities else []), *range(least, most + 1)] for run in self._runs for _ in run.layers]
        paths = lcm(*map(len, rates)) * kernels
        table = np.full((paths, len(rates), most), self.skip)
        for layer, possible in enumerate(rates):
            expansion = rng.permutation(np.repeat(possible, paths // len(possible)))
            for sub_block in range(most):
                used = np.flatnonzero(expansion > sub_block)
                table[used, layer, sub_block] = rng.permutation(np.resize(np.arange(kernels), len(used)))
            if not self.settings.forced_sampling:
                table[:, layer] = rng.permuted(table[:, layer], axis=1)
        return [PathEncoding(self.name, tuple(tuple(int(op) for op in row) for row in path)) for path in table]

    def _layer(self, layer: int, choice: int) -> BlockSpec:
        """The inverted bottleneck of a layer under one of its choices, or the identity."""
        shape, kernels = self.outline.layers[layer], self._kernels(layer, choice)
        if not kernels:
            return SkipSpec(shape.in_channels, shape.out_channels, shape.stride, shape.resolution)
        branches = tuple(
            Branch(kernel, shape.in_channels * kernels.count(kernel))
            for kernel in self.settings.kernels
            if kernel in kernels
        )
        return InvertedBottleneckSpec(
            shape.in_channels, shape.out_channels, shape.stride, shape.resolution, branches, self.settings.activation
        )

    def _skippable(self, shape: LayerShape) -> bool:
        """Whether a layer of this shape may be left out."""
        return self.settings.skip_layers and shape.keeps_shape

    def _check_left_out(self, layer: int) -> None:
        if not self.settings.skip_layers:
            reason = "no layer of this space can be left out (skip_layers = false)"
        elif layer < len(self.decisions) and not (shape := self.outline.layers[layer]).keeps_shape:
            reason = (
                f"a layer of stride {shape.stride} with {shape.in_channels} channels in and {shape.out_channels} out "
                "cannot be left out"
            )
        else:
            return
        raise ArchitectureError(f"layer {layer + 1}: skips all sub-blocks, but {reason}; use some of them")

    @cached_property
    def _runs(self) -> list[Run]:
        """Runs of consecutive layers of equal shapes."""
        found = []
        for run in consecutive(self.outline.layers):
            choices = len(self.decisions[run[0]].choices)
            skipped = frozenset({choices - 1} if self._skippable(self.outline.layers[run[0]]) else ())
            found.append(Run(run, choices, skipped))
        return found
