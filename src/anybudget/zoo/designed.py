"""Published networks that belong to no search space here, as rows of blocks."""

from __future__ import annotations

from dataclasses import dataclass

from anybudget.spaces.blocks import (
    ActivationName,
    BlockSpec,
    Branch,
    ClassifierSpec,
    ConvSpec,
    GateName,
    InvertedBottleneckSpec,
    strided,
)
from anybudget.spaces.split import SplitBottleneckSpec
from anybudget.zoo.network import Images


@dataclass(frozen=True, slots=True)
class Row:
    """One inverted bottleneck.

    `kernels` share the `expanded` channels evenly; `expanded` as many as come in, in the first block, leaves the first
    pointwise convolution out. `se` is the width of the squeeze-and-excitation bottleneck, 0 none. `groups` are those of
    the two pointwise convolutions.
    """

    kernels: tuple[int, ...]
    expanded: int
    width: int
    stride: int
    activation: ActivationName
    se: int = 0
    groups: tuple[int, int] = (1, 1)


@dataclass(frozen=True, slots=True)
class Rows:
    """A network of a 3x3 stem of stride 2, inverted bottlenecks, and a 1x1 convolution before the classifier.

    `hidden` is the width of a layer between pooling and classifier, 0 none; `activation` is that of everything outside
    the rows and of it.
    """

    stem: int
    rows: tuple[Row, ...]
    head: int
    stem_activation: ActivationName
    activation: ActivationName
    se_gate: GateName
    dropout: float
    hidden: int = 0

    @property
    def space_name(self) -> None:
        """It is blocks only."""

    def found(self, images: Images) -> None:
        """It is blocks only."""

    def specs(self, images: Images) -> tuple[BlockSpec, ...]:
        """Its blocks."""
        specs: list[BlockSpec] = [ConvSpec(images.channels, self.stem, 3, 2, images.size, self.stem_activation)]
        channels, size = self.stem, strided(images.size, 2)
        for row in self.rows:
            specs.append(_bottleneck(row, channels, size, self.se_gate))
            channels, size = row.width, strided(size, row.stride)
        specs.append(ConvSpec(channels, self.head, 1, 1, size, self.activation))
        activation = self.activation if self.hidden else None
        classifier = ClassifierSpec(self.head, images.classes, self.dropout, self.hidden, activation, size)
        return (*specs, classifier)


def _bottleneck(row: Row, channels: int, size: int, gate: GateName) -> BlockSpec:
    shape = (channels, row.width, row.stride, size)
    branches = tuple(Branch(kernel, row.expanded // len(row.kernels)) for kernel in row.kernels)
    if row.groups != (1, 1):
        return SplitBottleneckSpec(*shape, branches, row.activation, *row.groups, se_channels=row.se, se_gate=gate)
    expand = row.expanded != channels
    return InvertedBottleneckSpec(*shape, branches, row.activation, expand, se_channels=row.se, se_gate=gate)


def mobilenet_v3_large() -> Rows:
    """MobileNetV3-Large.

    Source: Howard et al. 2019, Table 1; squeeze-and-excitation is a quarter as wide as the expanded channels.
    """
    plain = (
        Row((3,), 16, 16, 1, "relu"),
        Row((3,), 64, 24, 2, "relu"),
        Row((3,), 72, 24, 1, "relu"),
        Row((5,), 72, 40, 2, "relu", 24),
        Row((5,), 120, 40, 1, "relu", 32),
        Row((5,), 120, 40, 1, "relu", 32),
        Row((3,), 240, 80, 2, "hard_swish"),
        Row((3,), 200, 80, 1, "hard_swish"),
        Row((3,), 184, 80, 1, "hard_swish"),
        Row((3,), 184, 80, 1, "hard_swish"),
        Row((3,), 480, 112, 1, "hard_swish", 120),
        Row((3,), 672, 112, 1, "hard_swish", 168),
        Row((5,), 672, 160, 2, "hard_swish", 168),
        Row((5,), 960, 160, 1, "hard_swish", 240),
        Row((5,), 960, 160, 1, "hard_swish", 240),
    )
    return Rows(16, plain, 960, "hard_swish", "hard_swish", "hard_sigmoid", 0.2, hidden=1280)


def efficientnet_b0() -> Rows:
    """EfficientNet-B0.

    Source: Tan and Le 2019 (EfficientNet), Table 1; squeeze-and-excitation is a quarter of the channels that come in.
    """
    stages = ((3, 1, 16, 1, 1), (3, 6, 24, 2, 2), (5, 6, 40, 2, 2), (3, 6, 80, 3, 2), (5, 6, 112, 3, 1))
    rows, channels = [], 32
    for kernel, expansion, width, repeats, stride in (*stages, (5, 6, 192, 4, 2), (3, 6, 320, 1, 1)):
        for repeat in range(repeats):
            rows.append(Row((kernel,), channels * expansion, width, 1 if repeat else stride, "silu", se=channels // 4))
            channels = width
    return Rows(32, tuple(rows), 1280, "silu", "silu", "sigmoid", 0.2)


def mixnet_m() -> Rows:
    """MixNet-M.

    Source: Tan and Le 2019 (MixConv), Fig. 5, in the words of the authors' code; squeeze-and-excitation is a half or a
    quarter of the channels that come in. Where a block has several depthwise kernels, its pointwise convolutions are
    mostly split in two groups as well.
    """
    rows = (
        Row((3,), 24, 24, 1, "relu"),
        Row((3, 5, 7), 144, 32, 2, "relu", 0, (2, 2)),
        Row((3,), 96, 32, 1, "relu", 0, (2, 2)),
        Row((3, 5, 7, 9), 192, 40, 2, "silu", 16),
        *[Row((3, 5), 240, 40, 1, "silu", 20, (2, 2))] * 3,
        Row((3, 5, 7), 240, 80, 2, "silu", 10),
        *[Row((3, 5, 7, 9), 480, 80, 1, "silu", 20, (2, 2))] * 3,
        Row((3,), 480, 120, 1, "silu", 40),
        *[Row((3, 5, 7, 9), 360, 120, 1, "silu", 60, (2, 2))] * 3,
        Row((3, 5, 7, 9), 720, 200, 2, "silu", 60),
        *[Row((3, 5, 7, 9), 1200, 200, 1, "silu", 100, (1, 2))] * 3,
    )
    return Rows(24, rows, 1536, "relu", "relu", "sigmoid", 0.25)
