"""Owns the plain-data descriptions of the blocks that networks are built from and costs are counted on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ActivationName = Literal["relu", "relu6", "hard_swish"]


@dataclass(frozen=True, slots=True)
class ConvSpec:
    """Convolution, batch norm, activation. `resolution` is the height and width of its input in pixels."""

    in_channels: int
    out_channels: int
    kernel: int
    stride: int
    resolution: int
    activation: ActivationName

    @property
    def out_resolution(self) -> int:
        """Height and width of the output; padding is half the kernel."""
        return strided(self.resolution, self.stride)


@dataclass(frozen=True, slots=True)
class Branch:
    """The channels of an inverted bottleneck that share one depthwise kernel size."""

    kernel: int
    channels: int


@dataclass(frozen=True, slots=True)
class InvertedBottleneckSpec:
    """Pointwise expansion, depthwise convolutions of one or more kernel sizes, optional SE, pointwise projection.

    `branches` partitions the expanded channels by kernel size (MixConv). Without `expand` the first pointwise
    convolution is left out, as MobileNetV2's first block does. `se_channels` is the width of the squeeze-and-excitation
    bottleneck over all expanded channels; 0 means none.
    """

    in_channels: int
    out_channels: int
    stride: int
    resolution: int
    branches: tuple[Branch, ...]
    activation: ActivationName
    expand: bool = True
    se_channels: int = 0

    @property
    def expanded_channels(self) -> int:
        """Channels between the two pointwise convolutions."""
        return sum(branch.channels for branch in self.branches)

    @property
    def out_resolution(self) -> int:
        """Height and width of the output."""
        return strided(self.resolution, self.stride)

    @property
    def residual(self) -> bool:
        """Whether the input is added to the output: where shapes allow."""
        return self.stride == 1 and self.in_channels == self.out_channels


@dataclass(frozen=True, slots=True)
class ClassifierSpec:
    """Global average pooling, dropout and one linear layer."""

    in_features: int
    classes: int
    dropout: float = 0.0


BlockSpec = ConvSpec | InvertedBottleneckSpec | ClassifierSpec


def strided(resolution: int, stride: int) -> int:
    """Output height of a convolution with an odd kernel, padding of half the kernel, and `stride`."""
    return -(-resolution // stride)
