"""The mixed-precision space: the bits of weights and activations of every residual block of a ResNet."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Literal

from pydantic import Field

from anybudget.errors import ConfigError
from anybudget.spaces.blocks import BlockSpec, ClassifierSpec, Convolution, ConvSpec, strided
from anybudget.spaces.choice_blocks import ChoiceBlockSpace
from anybudget.spaces.flow import Flow
from anybudget.spaces.settings import (
    Channels,
    Classes,
    LayerShape,
    Pixels,
    Repeats,
    Settings,
    Some,
    stage_shapes,
    stages,
)

Width = Annotated[int, Field(ge=1, le=8)]
BitPair = Annotated[tuple[Width, Width], Field(strict=False)]
"""Bits of the weights and of the activations; TOML has lists, settings have tuples."""


@dataclass(frozen=True, slots=True)
class BasicBlockSpec(BlockSpec):
    """Two 3x3 convolutions with norms and a shortcut, all convolutions quantised to the same bits.

    The first convolution has the stride. The shortcut is the input as it is; where shapes differ, a strided 1x1
    convolution and a norm. `activation_bits` are those of every convolution's input, which is never negative: a ReLU
    precedes the block.

    Source: ResNet (He et al. 2016) §3.3, option B.
    """

    in_channels: int
    out_channels: int
    stride: int
    resolution: int
    weight_bits: int
    activation_bits: int

    @property
    def projected(self) -> bool:
        """Whether the shortcut is a convolution."""
        return self.stride != 1 or self.in_channels != self.out_channels

    def convolutions(self) -> tuple[Convolution, ...]:
        """Both 3x3 convolutions, and the shortcut's if there is one."""
        middle = strided(self.resolution, self.stride)
        first = Convolution(self.in_channels, self.out_channels, 3, self.stride, self.resolution)
        second = Convolution(self.out_channels, self.out_channels, 3, 1, middle)
        shortcut = Convolution(self.in_channels, self.out_channels, 1, self.stride, self.resolution)
        used = (first, second, shortcut) if self.projected else (first, second)
        weight_bits, activation_bits = self.weight_bits, self.activation_bits
        return tuple(replace(conv, weight_bits=weight_bits, activation_bits=activation_bits) for conv in used)

    def flow(self) -> Flow:
        """Both convolutions, then the shortcut, which is added; in floats, without the quantised copies of inputs."""
        first, second, *shortcut = self.convolutions()
        flow = Flow(first.values_in)
        out = flow.make(second.values_out, flow.make(first.values_out, 0))
        flow.add(out, flow.make(shortcut[0].values_out, 0) if shortcut else 0)
        return flow


@dataclass(frozen=True, slots=True)
class MaxPoolSpec(BlockSpec):
    """3x3 max pooling with stride 2. `resolution` is the height and width of its input in pixels."""

    resolution: int
    channels: int

    def convolutions(self) -> tuple[Convolution, ...]:
        """None."""
        return ()

    def flow(self) -> Flow:
        """The input, and what is left of it."""
        flow = Flow(self.channels * self.resolution**2)
        flow.make(self.channels * strided(self.resolution, 2) ** 2, 0)
        return flow


class ResNetBitsSettings(Settings):
    """A ResNet of basic blocks and the bits its blocks may have; by default ResNet-18 on ImageNet.

    `blocks` and `widths` have one entry per stage: (3, 4, 6, 3) blocks make ResNet-34. Every stage but the first halves
    the resolution. `pool` says whether max pooling follows the stem; images of some 32 pixels go without, with
    `stem_kernel` 3 and `stem_stride` 1. `bits` lists pairs of weight bits and activation bits, 1 to 8 each.
    """

    input_size: Pixels = 224
    input_channels: Channels = 3
    classes: Classes = 1000
    blocks: Some[Repeats] = (2, 2, 2, 2)
    widths: Some[Channels] = (64, 128, 256, 512)
    stem_kernel: Literal[3, 5, 7] = 7
    stem_stride: Literal[1, 2] = 2
    pool: bool = True
    bits: Some[BitPair] = ((1, 2), (2, 2), (1, 4), (2, 4), (3, 4), (4, 4))


class ResNetBitsSpace(ChoiceBlockSpace):
    """One decision per residual block: the bits of its weights and activations, `w<weight bits>a<activation bits>`.

    The stem and the classifier stay full precision.

    Raises:
        ConfigError: `blocks` and `widths` differ in length, or `bits` lists a pair twice.

    Source: SPOS, mixed-precision quantization search. Its published BitOps leave stem and classifier out, as the cost
    `bitops` does.
    """

    name = "resnet-bits"
    settings_type = ResNetBitsSettings
    settings: ResNetBitsSettings

    def __init__(self, settings: ResNetBitsSettings) -> None:
        self.settings = settings
        if len(settings.blocks) != len(settings.widths):
            raise ConfigError(
                f"blocks has {len(settings.blocks)} entries and widths {len(settings.widths)}; each stage needs one of "
                "both"
            )
        for index, pair in enumerate(settings.bits):
            if pair in settings.bits[:index]:
                raise ConfigError(f"bits: {list(pair)} is listed twice; each pair may be listed once")
        stem = ConvSpec(
            settings.input_channels,
            settings.widths[0],
            settings.stem_kernel,
            settings.stem_stride,
            settings.input_size,
            "relu",
        )
        before: list[BlockSpec] = [stem]
        resolution = strided(settings.input_size, settings.stem_stride)
        if settings.pool:
            before.append(MaxPoolSpec(resolution, settings.widths[0]))
            resolution = strided(resolution, 2)
        rows = [
            (width, repeats, 1 if index == 0 else 2)
            for index, (width, repeats) in enumerate(zip(settings.widths, settings.blocks, strict=True))
        ]
        shapes = stage_shapes(stages(*rows), settings.widths[0], resolution)
        last = strided(shapes[-1].resolution, shapes[-1].stride)
        layers = [[_block(shape, pair) for pair in settings.bits] for shape in shapes]
        classifier = ClassifierSpec(settings.widths[-1], settings.classes, settings.dropout, resolution=last)
        self._lay_out(before, layers, [classifier], [f"w{weight}a{activation}" for weight, activation in settings.bits])


def _block(shape: LayerShape, bits: tuple[int, int]) -> BasicBlockSpec:
    """The residual block of this shape with these bits of weights and activations."""
    return BasicBlockSpec(shape.in_channels, shape.out_channels, shape.stride, shape.resolution, *bits)
