"""Owns the unified search space of SGNAS: one block per layer, split into sub-blocks of kernel 3, 5, 7 or skip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np

from anybudget.architecture import Architecture
from anybudget.errors import ArchitectureError, ConfigError
from anybudget.spaces.base import Decision, SearchSpace, Spelling
from anybudget.spaces.blocks import (
    ActivationName,
    BlockSpec,
    Branch,
    ClassifierSpec,
    ConvSpec,
    InvertedBottleneckSpec,
)


@dataclass(frozen=True, slots=True)
class Stage:
    """`repeats` unified layers of `width` output channels; the first one has the stride."""

    width: int
    repeats: int
    stride: int


@dataclass(frozen=True, slots=True)
class Macro:
    """The fixed outline of every network of a unified space (SGNAS supplement, Table 6)."""

    input_size: int
    input_channels: int
    classes: int
    stem_width: int
    stem_stride: int
    first_width: int  # output of the fixed inverted bottleneck after the stem; 0 leaves it out
    stages: tuple[Stage, ...]
    head_width: int  # output of the last 1x1 convolution; 0 leaves it out
    kernels: tuple[int, ...] = (3, 5, 7)
    min_expansion: int = 2
    max_expansion: int = 6
    activation: ActivationName = "relu"
    se_reduction: int = 0  # squeeze-and-excitation bottleneck = expanded channels / reduction; 0 means no SE
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if not 1 <= self.min_expansion <= self.max_expansion:
            raise ConfigError(
                f"min_expansion {self.min_expansion} must be at least 1 and at most max_expansion {self.max_expansion}"
            )
        if not self.kernels or list(self.kernels) != sorted(set(self.kernels)) or any(k % 2 == 0 for k in self.kernels):
            raise ConfigError(f"kernels {list(self.kernels)} must be distinct odd sizes in ascending order")
        if not self.stages:
            raise ConfigError("stages must hold at least one stage")


@dataclass(frozen=True, slots=True)
class LayerShape:
    """Where one unified layer sits: its channels, stride and input resolution in pixels."""

    in_channels: int
    out_channels: int
    stride: int
    resolution: int


class UnifiedSpace(SearchSpace):
    """One decision per layer: a multiset of kernel sizes, one per sub-block in use (SGNAS §3.3).

    A layer with `e` sub-blocks in use has expansion rate `e`; sub-blocks left over are skipped, and only the highest
    may be (forced sampling). With kernels 3, 5, 7 and expansion 2 to 6 a layer has 80 distinct configurations. The
    canonical spelling sorts the kernels in ascending order.

    Source: SGNAS §3.3 and supplement, Table 6.
    """

    name = "unified"

    def __init__(self, macro: Macro) -> None:
        self.macro = macro
        self.input_shape = (macro.input_channels, macro.input_size, macro.input_size)
        self.classes = macro.classes
        self.skip = len(macro.kernels)
        choices = tuple(
            multiset + (self.skip,) * (macro.max_expansion - expansion)
            for expansion in range(macro.min_expansion, macro.max_expansion + 1)
            for multiset in combinations_with_replacement(range(len(macro.kernels)), expansion)
        )
        self._choice_index = {choice: index for index, choice in enumerate(choices)}
        operations = (*(f"{kernel}x{kernel}" for kernel in macro.kernels), "skip")
        self._head, self.layers, self._tail = _outline(macro)
        self.decisions = tuple(
            Decision(f"layer {index}", operations, choices) for index in range(1, len(self.layers) + 1)
        )

    def canonical(self, spelling: Spelling) -> Architecture:
        """The architecture with every layer's kernels sorted; see `SearchSpace.canonical`."""
        if spelling.space != self.name or len(spelling.operations) != len(self.decisions):
            raise ArchitectureError(
                f"spelling of {len(spelling.operations)} layers of space {spelling.space!r} given to the "
                f"{self.name} space with {len(self.decisions)} layers"
            )
        choices = []
        for decision, operations in zip(self.decisions, spelling.operations, strict=True):
            ordered = tuple(sorted(operations))
            used = sum(operation != self.skip for operation in operations)
            if ordered not in self._choice_index or any(op == self.skip for op in operations[:used]):
                raise ArchitectureError(
                    f"{decision.name}: sub-blocks {list(operations)} are no unified block; expected "
                    f"{self.macro.max_expansion} operations out of 0 to {self.skip}, skips ({self.skip}) last, "
                    f"at least {self.macro.min_expansion} of them not skipped"
                )
            choices.append(self._choice_index[ordered])
        return Architecture(self.name, tuple(choices))

    def from_kernels(self, kernels: Sequence[Sequence[int]]) -> Architecture:
        """The architecture whose layers use these kernel sizes, as SGNAS prints them: `[[3, 3, 5], [5, 7], ...]`.

        Raises:
            ArchitectureError: the number of layers, a kernel size or an expansion rate is not of this space.
        """
        index = {kernel: position for position, kernel in enumerate(self.macro.kernels)}
        unknown = sorted({kernel for layer in kernels for kernel in layer if kernel not in index})
        if unknown:
            raise ArchitectureError(f"kernel sizes {unknown} are not in this space; it has {list(self.macro.kernels)}")
        return self.canonical(
            Spelling(
                self.name,
                tuple(
                    tuple(index[kernel] for kernel in layer) + (self.skip,) * (self.macro.max_expansion - len(layer))
                    for layer in kernels
                ),
            )
        )

    def kernels(self, architecture: Architecture) -> tuple[tuple[int, ...], ...]:
        """Kernel size of every sub-block in use, layer by layer: the inverse of `from_kernels`."""
        return tuple(
            tuple(self.macro.kernels[operation] for operation in operations if operation != self.skip)
            for operations in self.spell(architecture).operations
        )

    def block_specs(self, architecture: Architecture) -> tuple[BlockSpec, ...]:
        """Stem, first block, one inverted bottleneck per layer, head and classifier."""
        layers = tuple(
            self.layer_spec(shape, kernels)
            for shape, kernels in zip(self.layers, self.kernels(architecture), strict=True)
        )
        return (*self._head, *layers, *self._tail)

    def fair_round(self, rng: np.random.Generator) -> list[Spelling]:
        """One path per (expansion rate, kernel): 15 with the paper's values.

        In every layer each expansion rate comes equally often, and so does each kernel size in every sub-block. The
        sub-block's own share follows from forced sampling: sub-block `i` is in use at the rates of at least `i`.
        Layers are shuffled independently.
        """
        rates = np.arange(self.macro.min_expansion, self.macro.max_expansion + 1)
        kernels = np.arange(len(self.macro.kernels))
        paths = len(rates) * len(kernels)
        table = np.full((paths, len(self.decisions), self.macro.max_expansion), self.skip)
        for layer in range(len(self.decisions)):
            expansion = rng.permutation(np.repeat(rates, len(kernels)))
            for sub_block in range(self.macro.max_expansion):
                used = np.flatnonzero(expansion > sub_block)
                table[used, layer, sub_block] = rng.permutation(np.resize(kernels, len(used)))
        return [Spelling(self.name, tuple(tuple(int(op) for op in row) for row in path)) for path in table]

    @property
    def fixed_specs(self) -> tuple[tuple[BlockSpec, ...], tuple[BlockSpec, ...]]:
        """What every network has before and after the searched layers."""
        return self._head, self._tail

    def layer_spec(self, shape: LayerShape, kernels: Sequence[int]) -> InvertedBottleneckSpec:
        """The inverted bottleneck of a layer whose sub-blocks have these kernel sizes."""
        branches = tuple(
            Branch(kernel, shape.in_channels * kernels.count(kernel))
            for kernel in self.macro.kernels
            if kernel in kernels
        )
        reduction = self.macro.se_reduction
        return InvertedBottleneckSpec(
            in_channels=shape.in_channels,
            out_channels=shape.out_channels,
            stride=shape.stride,
            resolution=shape.resolution,
            branches=branches,
            activation=self.macro.activation,
            se_channels=shape.in_channels * len(kernels) // reduction if reduction else 0,
        )


def _outline(macro: Macro) -> tuple[tuple[BlockSpec, ...], tuple[LayerShape, ...], tuple[BlockSpec, ...]]:
    """The fixed blocks before the layers, the shape of every layer, and the fixed blocks after."""
    head: list[BlockSpec] = [
        ConvSpec(macro.input_channels, macro.stem_width, 3, macro.stem_stride, macro.input_size, macro.activation)
    ]
    channels, resolution = macro.stem_width, -(-macro.input_size // macro.stem_stride)
    if macro.first_width:
        head.append(
            InvertedBottleneckSpec(
                in_channels=channels,
                out_channels=macro.first_width,
                stride=1,
                resolution=resolution,
                branches=(Branch(3, channels),),
                activation=macro.activation,
                expand=False,
                se_channels=channels // macro.se_reduction if macro.se_reduction else 0,
            )
        )
        channels = macro.first_width
    layers = []
    for stage in macro.stages:
        for repeat in range(stage.repeats):
            shape = LayerShape(channels, stage.width, stage.stride if repeat == 0 else 1, resolution)
            layers.append(shape)
            channels, resolution = stage.width, -(-resolution // shape.stride)
    tail: list[BlockSpec] = []
    if macro.head_width:
        tail.append(ConvSpec(channels, macro.head_width, 1, 1, resolution, macro.activation))
        channels = macro.head_width
    tail.append(ClassifierSpec(channels, macro.classes, macro.dropout))
    return tuple(head), tuple(layers), tuple(tail)
