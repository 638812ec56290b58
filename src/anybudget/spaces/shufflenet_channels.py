"""The channel search of SPOS: every block of a ShuffleNet also chooses how many channels it gives, or has inside."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property, partial
from itertools import product
from math import prod
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from anybudget.architecture import Architecture
from anybudget.errors import ConfigError
from anybudget.spaces.base import Decision, Factor, PathEncoding, SearchSpace
from anybudget.spaces.blocks import BlockSpec
from anybudget.spaces.settings import Some
from anybudget.spaces.shuffle_blocks import ShuffleUnitSpec
from anybudget.spaces.shufflenet import ShuffleNetSettings, check_operations, head, stem, tail, unit, unit_shapes

Ratio = Annotated[float, Field(gt=0, le=16, allow_inf_nan=False)]


Searched = Literal["outputs", "inside"]

_INSIDE = (0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6)


class ShuffleNetChannelsSettings(ShuffleNetSettings):
    """`ShuffleNetSettings`, which channels are searched, their ratios, and which blocks are fixed.

    `channels` says which: the `outputs` of every block, whose ratios are of the stage's width, rounded to the nearest
    even number; or those `inside` a block, between its convolutions, whose ratios are of half the stage's width,
    rounded down, by default 0.2 to 1.6. `blocks` fixes the choice block of every layer (one name for all, or one for
    each), so that only channels are searched; left empty, both are searched together.
    """

    channels: Searched = "outputs"
    ratios: Some[Ratio] = (*_INSIDE, 1.8, 2.0)
    blocks: Annotated[tuple[str, ...], Field(strict=False)] = ()

    @model_validator(mode="before")
    @classmethod
    def _released_ratios(cls, given: Any) -> Any:
        """Inside a block, the ratios of the released search are those that are meant unless others are given."""
        inside = isinstance(given, dict) and given.get("channels") == "inside"
        return {"ratios": _INSIDE, **given} if inside else given


class ShuffleNetChannelsSpace(SearchSpace):
    """One decision per block: its channels, and which choice block it is unless that is fixed.

    By default 20 decisions of 40 choices in two slots, block and ratio; with `blocks` set, 10 choices in one slot.
    What a block costs depends on the outputs of the one before, so costs have a pairwise term for every two neighbours;
    where channels are searched inside blocks, costs add up over blocks.

    Raises:
        ConfigError: an operation is unknown, a ratio is listed twice, or `blocks` has another length.

    Source: SPOS §3.4 (channel number search): ratios 0.2 to 2.0 of a ShuffleNetV2. Inside blocks as in the network that
        its authors released (megvii-model/ShuffleNet-Series, OneShot): ratios 0.2 to 1.6.
    """

    name = "shufflenet-channels"
    settings_type = ShuffleNetChannelsSettings
    supernet = "sliced"
    settings: ShuffleNetChannelsSettings

    def __init__(self, settings: ShuffleNetChannelsSettings) -> None:
        self.settings = settings
        shapes = unit_shapes(settings)
        ratios = settings.ratios
        if len(set(ratios)) < len(ratios):
            raise ConfigError(f"ratios {list(ratios)}: each may be listed once")
        fixed = settings.blocks * len(shapes) if len(settings.blocks) == 1 else settings.blocks
        if fixed and len(fixed) != len(shapes):
            raise ConfigError(f"blocks has {len(fixed)} names; give one, or one for each of the {len(shapes)} layers")
        operations = () if fixed else check_operations(settings)
        self.blocks = tuple((name,) for name in fixed) if fixed else (operations,) * len(shapes)
        # The unit of every operation of every layer at ratio 1: what `unit` takes other widths into.
        self._units = tuple(
            tuple(unit(settings, shape, name) for name in names)
            for shape, names in zip(shapes, self.blocks, strict=True)
        )
        self.inside = settings.channels == "inside"
        widths = _inside if self.inside else _outputs
        self.widths = tuple(tuple(widths(shape.out_channels, ratio) for ratio in ratios) for shape in shapes)
        slots = [range(len(operations)), range(len(operations), len(operations) + len(ratios))]
        choices = tuple(product(*slots[1 if fixed else 0 :]))
        names = (*operations, *(f"{ratio:g}x" for ratio in ratios))
        self.decisions = tuple(Decision(f"layer {number}", names, choices) for number in range(1, len(shapes) + 1))
        self.factors = (Factor.fixed(stem(settings)), *self._layers(), Factor.fixed(tail(settings)))

    def _layers(self) -> tuple[Factor, ...]:
        """The units, and the last convolution, by the decisions that they depend on."""
        layers = range(len(self.decisions))
        if self.inside:
            units = (Factor((layer,), partial(self._alone, layer)) for layer in layers)
            return (*units, Factor.fixed(head(self.settings, self.settings.stages[-1].width)))
        pairs = (Factor((layer - 1, layer), partial(self._unit, layer)) for layer in layers[1:])
        return (Factor((0,), partial(self._alone, 0)), *pairs, Factor((layers[-1],), self._head))

    def read(self, layer: int, operations: tuple[int, ...]) -> tuple[int, int]:
        """What the slots of a layer say: the index into its blocks, and how many channels it gives or has inside."""
        block = operations[0] if len(operations) == 2 else 0
        return block, self.widths[layer][operations[-1] - len(self.decisions[layer].operations)]

    def unit(self, layer: int, block: int, in_channels: int, width: int) -> ShuffleUnitSpec:
        """One block of a layer at these widths: of its input, and of what is searched."""
        alone = self._units[layer][block]
        if self.inside:
            return replace(alone, mid_channels=width)
        return replace(alone, in_channels=in_channels, mid_channels=width // 2, out_channels=width)

    def widest(self) -> Architecture:
        """The architecture with the most channels everywhere."""
        choices = tuple(
            max(range(len(decision.choices)), key=lambda choice, layer=layer: self._chosen(layer, choice)[1])  # type: ignore[misc]
            for layer, decision in enumerate(self.decisions)
        )
        return Architecture(self.name, choices)

    def canonical(self, encoding: PathEncoding) -> Architecture:
        """The architecture with the first of the ratios that round to one width; see `SearchSpace.canonical`."""
        choices = self._read(encoding)
        return Architecture(self.name, tuple(map(dict.__getitem__, self._merged, choices)))

    def networks(self) -> int:
        """Number of distinct networks: ratios that round to one width count once."""
        return prod(len(set(merged.values())) for merged in self._merged)

    @cached_property
    def _merged(self) -> tuple[dict[int, int], ...]:
        """For every layer, the first choice that builds the same as each choice does."""
        found = []
        for layer, decision in enumerate(self.decisions):
            first: dict[tuple[int, int], int] = {}
            found.append(
                {c: first.setdefault(self.read(layer, operations), c) for c, operations in enumerate(decision.choices)}
            )
        return tuple(found)

    def _chosen(self, layer: int, choice: int) -> tuple[int, int]:
        return self.read(layer, self.decisions[layer].choices[choice])

    def _alone(self, layer: int, choice: int) -> BlockSpec:
        """A unit whose input no decision changes."""
        block, width = self._chosen(layer, choice)
        return self.unit(layer, block, self._units[layer][block].in_channels, width)

    def _unit(self, layer: int, before: int, choice: int) -> BlockSpec:
        block, width = self._chosen(layer, choice)
        return self.unit(layer, block, self._chosen(layer - 1, before)[1], width)

    def _head(self, choice: int) -> BlockSpec:
        return head(self.settings, self._chosen(len(self.decisions) - 1, choice)[1])


def _outputs(width: int, ratio: float) -> int:
    return 2 * max(1, round(ratio * width / 2))


def _inside(width: int, ratio: float) -> int:
    return max(1, int(width // 2 * ratio))
