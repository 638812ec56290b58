"""The ShuffleNet space of SPOS: every block a ShuffleNetV2 unit of kernel 3, 5 or 7, or an Xception-like one."""

from __future__ import annotations

import re

from anybudget.errors import ConfigError
from anybudget.spaces.blocks import ActivationName, ClassifierSpec, ConvSpec, strided
from anybudget.spaces.choice_blocks import ChoiceBlockSpace
from anybudget.spaces.settings import (
    Channels,
    Classes,
    Count,
    LayerShape,
    Pixels,
    Settings,
    Some,
    Stage,
    stage_shapes,
    stages,
)
from anybudget.spaces.shuffle_blocks import ShuffleUnitSpec

_KERNEL = re.compile(r"(?P<kernel>\d{1,2})x(?P=kernel)")


class ShuffleNetSettings(Settings):
    """The macro-architecture and the choice blocks of a ShuffleNet space; by default SPOS's on ImageNet.

    An operation is a kernel size such as `3x3`, or `xception`: three separable 3x3 convolutions in a row.
    """

    input_size: Pixels = 224
    input_channels: Channels = 3
    classes: Classes = 1000
    stem_width: Channels = 16
    stem_stride: Count = 2
    stages: Some[Stage] = stages((64, 4, 2), (160, 4, 2), (320, 8, 2), (640, 4, 2))
    head_width: Channels = 1024
    activation: ActivationName = "relu"
    operations: Some[str] = ("3x3", "5x5", "7x7", "xception")


class ShuffleNetSpace(ChoiceBlockSpace):
    """One decision per block: which of the choice blocks it is; by default 20 blocks of 4.

    Raises:
        ConfigError: an operation is unknown or listed twice, or a width is odd.

    Source: SPOS §4.1, Tables 1 and 2.
    """

    name = "shufflenet"
    settings_type = ShuffleNetSettings
    settings: ShuffleNetSettings

    def __init__(self, settings: ShuffleNetSettings) -> None:
        self.settings = settings
        operations = check_operations(settings)
        layers = [[unit(settings, shape, operation) for operation in operations] for shape in unit_shapes(settings)]
        self._lay_out([stem(settings)], layers, [head(settings, settings.stages[-1].width), tail(settings)], operations)


def check_operations(settings: ShuffleNetSettings) -> tuple[str, ...]:
    """The operations of the settings.

    Raises:
        ConfigError: one is listed twice, or a width is odd, so that it cannot be halved.
    """
    odd = [stage.width for stage in settings.stages if stage.width % 2]
    if odd or settings.stem_width % 2:
        key, value = ("stages", odd[0]) if odd else ("stem_width", settings.stem_width)
        raise ConfigError(f"{key}: width {value} is odd; ShuffleNet units halve their channels, so take an even one")
    if len(set(settings.operations)) < len(settings.operations):
        raise ConfigError(f"operations {list(settings.operations)}: each may be listed once")
    return settings.operations


def unit_shapes(settings: ShuffleNetSettings) -> tuple[LayerShape, ...]:
    """The shape of every block, at the widths of the settings."""
    return stage_shapes(settings.stages, settings.stem_width, strided(settings.input_size, settings.stem_stride))


def unit(settings: ShuffleNetSettings, shape: LayerShape, operation: str) -> ShuffleUnitSpec:
    """What an operation builds in a block of this shape.

    Raises:
        ConfigError: there is no such operation.
    """
    match = _KERNEL.fullmatch(operation)
    if operation == "xception":
        kernel, separable = 3, 3
    elif match and int(match["kernel"]) % 2:
        kernel, separable = int(match["kernel"]), 1
    else:
        raise ConfigError(f"operations: {operation!r} is unknown; write an odd kernel size such as 3x3, or xception")
    return ShuffleUnitSpec(
        shape.in_channels,
        shape.out_channels // 2,
        shape.out_channels,
        shape.stride,
        shape.resolution,
        kernel,
        separable,
        settings.activation,
    )


def stem(settings: ShuffleNetSettings) -> ConvSpec:
    """The first convolution."""
    return ConvSpec(
        settings.input_channels, settings.stem_width, 3, settings.stem_stride, settings.input_size, settings.activation
    )


def head(settings: ShuffleNetSettings, channels: int) -> ConvSpec:
    """The last convolution, on what the last block gives."""
    return ConvSpec(channels, settings.head_width, 1, 1, _last_resolution(settings), settings.activation)


def tail(settings: ShuffleNetSettings) -> ClassifierSpec:
    """The classifier."""
    return ClassifierSpec(
        settings.head_width, settings.classes, settings.dropout, resolution=_last_resolution(settings)
    )


def _last_resolution(settings: ShuffleNetSettings) -> int:
    """Height and width of what the last unit gives, in pixels."""
    last = unit_shapes(settings)[-1]
    return strided(last.resolution, last.stride)
