"""The MBConv space: every layer an inverted bottleneck of one kernel size and expansion, or skipped."""

from __future__ import annotations

import re

from anybudget.errors import ConfigError
from anybudget.spaces.blocks import ActivationName, BlockSpec, Branch, InvertedBottleneckSpec, SkipSpec, squeezed
from anybudget.spaces.choice_blocks import ChoiceBlockSpace
from anybudget.spaces.settings import (
    Channels,
    ChannelsOrNone,
    Classes,
    Count,
    LayerShape,
    Macro,
    Pixels,
    Some,
    Stage,
    outline,
    stages,
)

_OPERATION = re.compile(r"k(?P<kernel>\d{1,2})_e(?P<expansion>\d{1,2})(_g(?P<groups>\d{1,2}))?(?P<se>_se)?")

PROXYLESS_STAGES = stages((24, 4, 2), (40, 4, 2), (80, 4, 2), (96, 4, 1), (192, 4, 2), (320, 1, 1))


class MBConvSettings(Macro):
    """The macro-architecture and the operations of an MBConv-like space; by default GreedyNAS's on ImageNet.

    An operation is `k<kernel>_e<expansion>`, followed by `_g<groups>` for grouped pointwise convolutions and `_se` for
    squeeze-and-excitation, or `skip`. `se_reduction` is expanded channels over the width of the SE bottleneck.
    """

    input_size: Pixels = 224
    input_channels: Channels = 3
    classes: Classes = 1000
    stem_width: Channels = 32
    first_width: ChannelsOrNone = 16
    stages: Some[Stage] = PROXYLESS_STAGES
    head_width: ChannelsOrNone = 1280
    activation: ActivationName = "relu6"
    operations: Some[str] = ("k3_e3", "k3_e6", "k5_e3", "k5_e6", "k7_e3", "k7_e6", "skip")
    se_reduction: Count = 4


class MBConvSpace(ChoiceBlockSpace):
    """One decision per layer: the kernel size and expansion of an inverted bottleneck, or identity.

    With the default settings 21 layers of 7 operations, as GreedyNAS searches. Where a layer changes its shape, `skip`
    is a strided pointwise convolution and a norm.

    Raises:
        ConfigError: an operation is unknown, listed twice, or does not fit a layer.

    Source: GreedyNAS §5.1 on the macro-architecture of ProxylessNAS.
    """

    name = "mbconv"
    settings_type = MBConvSettings
    settings: MBConvSettings

    def __init__(self, settings: MBConvSettings) -> None:
        self.settings = settings
        operations = settings.operations
        if len(set(operations)) < len(operations):
            raise ConfigError(f"operations {list(operations)}: each may be listed once")
        lines = outline(settings)
        layers = [[self._block(operation, shape) for operation in operations] for shape in lines.layers]
        self._lay_out(lines.before, layers, lines.after, operations)

    def _block(self, operation: str, shape: LayerShape) -> BlockSpec:
        """What an operation builds in a layer of this shape."""
        if operation == "skip":
            return SkipSpec(shape.in_channels, shape.out_channels, shape.stride, shape.resolution)
        match = _OPERATION.fullmatch(operation)
        kernel, expansion = (int(match["kernel"]), int(match["expansion"])) if match else (0, 0)
        if match is None or kernel % 2 == 0 or expansion < 1 or match["groups"] == "0":
            raise ConfigError(
                f"operations: {operation!r} is unknown; write skip, or k<odd kernel>_e<expansion> with _g<groups> "
                "and _se behind it if wanted, such as k5_e6_se"
            )
        expanded = shape.in_channels * expansion
        try:
            return InvertedBottleneckSpec(
                shape.in_channels,
                shape.out_channels,
                shape.stride,
                shape.resolution,
                (Branch(kernel, expanded),),
                self.settings.activation,
                se_channels=squeezed(expanded, self.settings.se_reduction) if match["se"] else 0,
                groups=int(match["groups"] or 1),
            )
        except ConfigError as error:
            raise ConfigError(f"operations: {operation!r}: {error}") from None
