"""The settings of search spaces: typed, strict, unknown keys refused; and the macro-architecture they share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from anybudget.spaces.blocks import (
    ActivationName,
    BlockSpec,
    Branch,
    ClassifierSpec,
    ConvSpec,
    InvertedBottleneckSpec,
    strided,
)

Item = TypeVar("Item")
Pixels = Annotated[int, Field(ge=4, le=4096)]
Classes = Annotated[int, Field(ge=2, le=10**6)]
# Bounded, so that a slip of the finger is said at once and does not end in an allocation or a loop without end.
Count = Annotated[int, Field(ge=1, le=10**9)]
Natural = Annotated[int, Field(ge=0, le=10**9)]
Channels = Annotated[int, Field(ge=1, le=2**16)]
ChannelsOrNone = Annotated[int, Field(ge=0, le=2**16)]
Repeats = Annotated[int, Field(ge=1, le=1000)]
Some = Annotated[tuple[Item, ...], Field(min_length=1, strict=False)]
"""A list of at least one item; TOML has lists, settings have tuples."""


class Settings(BaseModel):
    """What describes one search space: the table `[space]` of a recipe without `name`, or keyword arguments."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    input_size: Pixels
    input_channels: Channels
    classes: Classes
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0


class Stage(BaseModel):
    """`repeats` layers of `width` output channels; the first one has the stride."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    width: Channels
    repeats: Repeats
    stride: Literal[1, 2]


def stages(*rows: tuple[int, int, int]) -> tuple[Stage, ...]:
    """Stages from rows of width, repeats and stride, as papers print them."""
    return tuple(Stage.model_validate(dict(zip(Stage.model_fields, row, strict=True))) for row in rows)


class Macro(Settings):
    """The fixed outline of every network of MobileNet-like spaces (SGNAS supplement, Table 6).

    `first_width` is the output of the fixed inverted bottleneck after the stem, `head_width` that of the last 1x1
    convolution; 0 leaves either out.
    """

    stem_width: Channels
    stem_stride: Literal[1, 2] = 2
    first_width: ChannelsOrNone = 0
    stages: Some[Stage]
    head_width: ChannelsOrNone = 0
    activation: ActivationName = "relu"


@dataclass(frozen=True, slots=True)
class LayerShape:
    """Where one searched layer sits: its channels, stride and input resolution in pixels."""

    in_channels: int
    out_channels: int
    stride: int
    resolution: int

    @property
    def keeps_shape(self) -> bool:
        """Whether the output has the shape of the input, so that both can be added, or the layer left out."""
        return self.stride == 1 and self.in_channels == self.out_channels


@dataclass(frozen=True, slots=True)
class Outline:
    """The fixed blocks before the searched layers, the shape of every layer, and the fixed blocks after."""

    before: tuple[BlockSpec, ...]
    layers: tuple[LayerShape, ...]
    after: tuple[BlockSpec, ...]


def outline(macro: Macro) -> Outline:
    """Lay the networks of `macro` out."""
    before: list[BlockSpec] = [
        ConvSpec(macro.input_channels, macro.stem_width, 3, macro.stem_stride, macro.input_size, macro.activation)
    ]
    channels, resolution = macro.stem_width, strided(macro.input_size, macro.stem_stride)
    if macro.first_width:
        branches = (Branch(3, channels),)
        before.append(
            InvertedBottleneckSpec(channels, macro.first_width, 1, resolution, branches, macro.activation, expand=False)
        )
        channels = macro.first_width
    layers = stage_shapes(macro.stages, channels, resolution)
    channels, resolution = layers[-1].out_channels, strided(layers[-1].resolution, layers[-1].stride)
    after: list[BlockSpec] = []
    if macro.head_width:
        after.append(ConvSpec(channels, macro.head_width, 1, 1, resolution, macro.activation))
        channels = macro.head_width
    after.append(ClassifierSpec(channels, macro.classes, macro.dropout, resolution=resolution))
    return Outline(tuple(before), layers, tuple(after))


def stage_shapes(stages: tuple[Stage, ...], channels: int, resolution: int) -> tuple[LayerShape, ...]:
    """The shape of every layer of the stages, given what comes in."""
    layers = []
    for stage in stages:
        for repeat in range(stage.repeats):
            shape = LayerShape(channels, stage.width, stage.stride if repeat == 0 else 1, resolution)
            layers.append(shape)
            channels, resolution = stage.width, strided(resolution, shape.stride)
    return tuple(layers)
