"""The plain-data descriptions of the blocks that networks are built from and costs are counted on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal, Protocol, cast, runtime_checkable

from anybudget.errors import ConfigError
from anybudget.spaces.flow import Flow

ActivationName = Literal["relu", "relu6", "hard_swish", "silu"]
GateName = Literal["hard_sigmoid", "sigmoid"]
"""What ends squeeze-and-excitation: MobileNetV3's gate behind a ReLU, or EfficientNet's behind the activation."""

FLOAT_BITS = 32
"""Bits of weights and activations that are not quantised."""


@dataclass(frozen=True, slots=True)
class Convolution:
    """One convolution, or a linear layer as a 1x1 one on a single pixel: what costs are counted on.

    `resolution` is the height and width of its input in pixels. `norm` says whether a batch norm follows, `bias`
    whether the convolution has one itself; `weight_bits` and `activation_bits` are those of its operands.
    """

    in_channels: int
    out_channels: int
    kernel: int = 1
    stride: int = 1
    resolution: int = 1
    groups: int = 1
    norm: bool = True
    bias: bool = False
    weight_bits: int = FLOAT_BITS
    activation_bits: int = FLOAT_BITS

    @property
    def weights(self) -> int:
        """Numbers in the weight tensor."""
        return self.in_channels // self.groups * self.out_channels * self.kernel**2

    @property
    def values_in(self) -> int:
        """Numbers in its input, for one image."""
        return self.in_channels * self.resolution**2

    @property
    def values_out(self) -> int:
        """Numbers in its output, for one image."""
        return self.out_channels * strided(self.resolution, self.stride) ** 2

    @property
    def macs(self) -> int:
        """Multiply-adds per image."""
        return self.weights * strided(self.resolution, self.stride) ** 2

    @property
    def params(self) -> int:
        """Learned numbers: weights, bias, scale and shift of the norm, and the steps of both quantisers."""
        quantisers = (self.weight_bits < FLOAT_BITS) + (self.activation_bits < FLOAT_BITS)
        return self.weights + (2 * self.norm + self.bias) * self.out_channels + quantisers


@runtime_checkable
class Activated(Protocol):
    """A block with a choice of activation; None where it has none."""

    @property
    def activation(self) -> ActivationName | None:
        """Which."""


class BlockSpec(ABC):
    """One block of a network as plain, hashable data; `nets` knows how to build it."""

    __slots__ = ()

    @abstractmethod
    def convolutions(self) -> tuple[Convolution, ...]:
        """Every convolution and linear layer of the block; all its cost but `extra_params`."""

    @property
    def extra_params(self) -> int:
        """Learned numbers that belong to no convolution."""
        return 0

    def flow(self) -> Flow:
        """What it computes for one image; one convolution after the other, for a block that does not say."""
        convolutions = self.convolutions()
        flow = Flow(convolutions[0].values_in if convolutions else 0)
        for number, convolution in enumerate(convolutions):
            flow.make(convolution.values_out, number)
        return flow


@dataclass(frozen=True, slots=True)
class ConvSpec(BlockSpec):
    """Convolution, batch norm, activation (if any). `resolution` is the height and width of its input in pixels."""

    in_channels: int
    out_channels: int
    kernel: int
    stride: int
    resolution: int
    activation: ActivationName | None

    def convolutions(self) -> tuple[Convolution, ...]:
        """The one it is."""
        return (Convolution(self.in_channels, self.out_channels, self.kernel, self.stride, self.resolution),)


@dataclass(frozen=True, slots=True)
class SkipSpec(BlockSpec):
    """The input as it is; where shapes differ, a strided pointwise convolution and a norm (NAS-Bench-Macro)."""

    in_channels: int
    out_channels: int
    stride: int
    resolution: int

    @property
    def identity(self) -> bool:
        """Whether nothing is computed."""
        return self.stride == 1 and self.in_channels == self.out_channels

    def convolutions(self) -> tuple[Convolution, ...]:
        """None, or the projection."""
        projection = Convolution(self.in_channels, self.out_channels, 1, self.stride, self.resolution)
        return () if self.identity else (projection,)

    def flow(self) -> Flow:
        """See `BlockSpec.flow`; nothing is made by the identity."""
        flow = Flow(self.in_channels * self.resolution**2)
        if not self.identity:
            flow.make(self.out_channels * strided(self.resolution, self.stride) ** 2, 0)
        return flow


@dataclass(frozen=True, slots=True)
class Branch:
    """The channels of an inverted bottleneck that share one depthwise kernel size."""

    kernel: int
    channels: int


@dataclass(frozen=True, slots=True)
class BottleneckSpec(BlockSpec):
    """What all inverted bottlenecks have; `branches` partitions the expanded channels by kernel size (MixConv)."""

    in_channels: int
    out_channels: int
    stride: int
    resolution: int
    branches: tuple[Branch, ...]
    activation: ActivationName

    @property
    def expanded_channels(self) -> int:
        """Channels between the two pointwise convolutions."""
        return sum(branch.channels for branch in self.branches)

    @property
    def residual(self) -> bool:
        """Whether the input is added to the output: where shapes allow."""
        return self.stride == 1 and self.in_channels == self.out_channels


@dataclass(frozen=True, slots=True)
class InvertedBottleneckSpec(BottleneckSpec):
    """Pointwise expansion, depthwise convolutions of one or more kernel sizes, optional SE, pointwise projection.

    Without `expand` the first pointwise convolution is left out, as MobileNetV2's first block does. `se_channels` is
    the width of the squeeze-and-excitation bottleneck over all expanded channels, `se_gate` what ends it; 0 means none.
    With `groups` above 1 both pointwise convolutions are grouped and the channels shuffled after the first (FBNet).
    """

    expand: bool = True
    se_channels: int = 0
    groups: int = 1
    se_gate: GateName = "hard_sigmoid"

    def __post_init__(self) -> None:
        if not self.expand and (len(self.branches) != 1 or self.expanded_channels != self.in_channels):
            raise ConfigError("an inverted bottleneck without expansion has one branch as wide as its input")
        if self.groups > 1 and len(self.branches) != 1:
            raise ConfigError("an inverted bottleneck with grouped pointwise convolutions has one branch")
        if any(width % self.groups for width in (self.in_channels, self.expanded_channels, self.out_channels)):
            raise ConfigError(
                f"pointwise convolutions of {self.groups} groups need channels divisible by it, not "
                f"{self.in_channels} -> {self.expanded_channels} -> {self.out_channels}"
            )

    def convolutions(self) -> tuple[Convolution, ...]:
        """Expansion, one depthwise convolution per branch, squeeze-and-excitation, projection."""
        expanded, size = self.expanded_channels, self.resolution
        found = [Convolution(self.in_channels, expanded, resolution=size, groups=self.groups)] if self.expand else []
        for branch in self.branches:
            width = branch.channels
            found.append(Convolution(width, width, branch.kernel, self.stride, size, groups=width))
        if self.se_channels:
            found.append(Convolution(expanded, self.se_channels, norm=False, bias=True))
            found.append(Convolution(self.se_channels, expanded, norm=False, bias=True))
        size = strided(size, self.stride)
        return (*found, Convolution(expanded, self.out_channels, resolution=size, groups=self.groups))

    def flow(self) -> Flow:
        """All branches up to their projections, gates, then the sum of the projections, and the input added."""
        before, after = self.resolution**2, strided(self.resolution, self.stride) ** 2
        flow, hidden = Flow(self.in_channels * before), []
        for branch in self.branches:
            value = flow.make(branch.channels * before, 0) if self.expand else 0
            if self.groups > 1:
                value = flow.make(branch.channels * before, value)  # shuffled
            hidden.append(flow.make(branch.channels * after, value))
        if self.se_channels:
            hidden = gated(flow, hidden, [branch.channels for branch in self.branches], self.se_channels)
        out = flow.make(self.out_channels * after, hidden[0])
        for value in hidden[1:]:
            out = flow.add(out, flow.make(self.out_channels * after, value))
        if self.residual:
            flow.add(out, 0)
        return flow


@dataclass(frozen=True, slots=True)
class ClassifierSpec(BlockSpec):
    """Global average pooling, dropout and one linear layer.

    With `hidden` there is a linear layer of so many features, with an activation, behind the pooling (MobileNetV3).
    `resolution` is the height and width of its input in pixels; nothing but what is alive at once depends on it.
    """

    in_features: int
    classes: int
    dropout: float = 0.0
    hidden: int = 0
    activation: ActivationName | None = None
    resolution: int = 1

    def __post_init__(self) -> None:
        if bool(self.hidden) != (self.activation is not None):
            raise ConfigError("a classifier has a hidden layer and its activation, or neither")

    def convolutions(self) -> tuple[Convolution, ...]:
        """The linear layers."""
        widths = [self.in_features, *([self.hidden] if self.hidden else []), self.classes]
        return tuple(Convolution(before, after, norm=False, bias=True) for before, after in pairwise(widths))

    def flow(self) -> Flow:
        """The average of every channel, then one linear layer after the other."""
        flow = Flow(self.in_features * self.resolution**2)
        value = flow.make(self.in_features, 0)
        for layer in self.convolutions():
            value = flow.make(layer.out_channels, value)
        return flow


def gated(flow: Flow, branches: Sequence[int], channels: Sequence[int], squeezed_channels: int) -> list[int]:
    """Squeeze-and-excitation over all branches together: the values of the branches times their gates."""
    pooled = [flow.make(width, branch) for branch, width in zip(branches, channels, strict=True)]
    squeezed_value = flow.make(squeezed_channels, flow.make(sum(channels), *pooled))
    gates = flow.make(sum(channels), squeezed_value)
    return [flow.add(branch, gates) for branch in branches]


def strided(resolution: int, stride: int) -> int:
    """Output height of a convolution with an odd kernel, padding of half the kernel, and `stride`."""
    return -(-resolution // stride)


def derive(
    specs: Sequence[BlockSpec], *, activation: ActivationName | None = None, se_reduction: int = 0
) -> tuple[BlockSpec, ...]:
    """The blocks with another activation, and with squeeze-and-excitation in every inverted bottleneck.

    Args:
        specs: blocks of a found network.
        activation: of every block that has a choice of one; as they are when None.
        se_reduction: the SE bottleneck is the expanded channels divided by this; 0 adds none.

    Source: SGNAS §4.2.2, as AtomNAS does: h-swish and SE (reduction 4, in every block) are added to the network that
    was found, not searched.
    """
    return tuple(_derive(spec, activation, se_reduction) for spec in specs)


def underivable(specs: Collection[BlockSpec], *, activation: ActivationName | None, se_reduction: int) -> Iterator[str]:
    """What of these settings `derive` would leave undone: their names, each with the reason.

    Args:
        specs: searched blocks, of every kind that a space has.
        activation: see `derive`.
        se_reduction: see `derive`.
    """
    if activation and not any(isinstance(spec, Activated) and spec.activation for spec in specs):
        yield "activation: the searched blocks have a ReLU that nothing replaces"
    if se_reduction and not any(isinstance(spec, InvertedBottleneckSpec) for spec in specs):
        yield "se_reduction: only inverted bottlenecks take squeeze-and-excitation, and the searched blocks are none"


def _derive(spec: BlockSpec, activation: ActivationName | None, se_reduction: int) -> BlockSpec:
    if isinstance(spec, InvertedBottleneckSpec) and se_reduction:
        spec = replace(spec, se_channels=squeezed(spec.expanded_channels, se_reduction))
    if activation and isinstance(spec, Activated) and spec.activation:
        return cast(BlockSpec, replace(cast(Any, spec), activation=activation))
    return spec


def squeezed(channels: int, reduction: int) -> int:
    """Width of the squeeze-and-excitation bottleneck over `channels`; at least 1."""
    return max(1, channels // reduction)
