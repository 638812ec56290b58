"""The channel search of SPOS: every block of a ShuffleNet also chooses how many channels it gives."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property, partial
from itertools import product
from math import prod
from typing import Annotated

from pydantic import Field

from anybudget.architecture import Architecture
from anybudget.errors import ConfigError
from anybudget.spaces.base import Decision, Factor, PathEncoding, SearchSpace
from anybudget.spaces.blocks import BlockSpec
from anybudget.spaces.settings import Some
from anybudget.spaces.shuffle_blocks import ShuffleUnitSpec
from anybudget.spaces.shufflenet import ShuffleNetSettings, check_operations, head, stem, tail, unit, unit_shapes

Ratio = Annotated[float, Field(gt=0, le=16, allow_inf_nan=False)]


class ShuffleNetChannelsSettings(ShuffleNetSettings):
    """`ShuffleNetSettings`, the ratios of output channels, and which blocks are fixed.

    `blocks` fixes the choice block of every layer (one name for all, or one for each), so that only channels are
    searched; left empty, both are searched together. A ratio is of the stage's width; the product is rounded to the
    nearest even number.
    """

    ratios: Some[Ratio] = (0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0)
    blocks: Annotated[tuple[str, ...], Field(strict=False)] = ()


class ShuffleNetChannelsSpace(SearchSpace):
    """One decision per block: its output channels, and which choice block it is unless that is fixed.

    By default 20 decisions of 40 choices in two slots, block and ratio; with `blocks` set, 10 choices in one slot.
    What a block costs depends on the width before it, so costs have a pairwise term for every two neighbours.

    Raises:
        ConfigError: an operation is unknown, a ratio is listed twice, or `blocks` has another length.

    Source: SPOS §3.4 (channel number search): ratios 0.2 to 2.0 of a ShuffleNetV2.
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
        self.widths = tuple(tuple(_even(ratio * shape.out_channels) for ratio in ratios) for shape in shapes)
        slots = [range(len(operations)), range(len(operations), len(operations) + len(ratios))]
        choices = tuple(product(*slots[1 if fixed else 0 :]))
        names = (*operations, *(f"{ratio:g}x" for ratio in ratios))
        self.decisions = tuple(Decision(f"layer {number}", names, choices) for number in range(1, len(shapes) + 1))
        self.factors = (
            Factor.fixed(stem(settings)),
            Factor((0,), self._first),
            *(Factor((layer - 1, layer), partial(self._unit, layer)) for layer in range(1, len(shapes))),
            Factor((len(shapes) - 1,), self._head),
            Factor.fixed(tail(settings)),
        )

    def read(self, layer: int, operations: tuple[int, ...]) -> tuple[int, int]:
        """What the slots of a layer say: the index into its blocks, and how many channels it gives."""
        block = operations[0] if len(operations) == 2 else 0
        return block, self.widths[layer][operations[-1] - len(self.decisions[layer].operations)]

    def unit(self, layer: int, block: int, in_channels: int, out_channels: int) -> ShuffleUnitSpec:
        """One block of a layer at these widths."""
        return replace(self._units[layer][block], in_channels=in_channels, out_channels=out_channels)

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

    def _first(self, choice: int) -> BlockSpec:
        return self.unit(0, *_with_input(self.settings.stem_width, self._chosen(0, choice)))

    def _unit(self, layer: int, before: int, choice: int) -> BlockSpec:
        width = self._chosen(layer - 1, before)[1]
        return self.unit(layer, *_with_input(width, self._chosen(layer, choice)))

    def _head(self, choice: int) -> BlockSpec:
        return head(self.settings, self._chosen(len(self.decisions) - 1, choice)[1])


def _with_input(in_channels: int, chosen: tuple[int, int]) -> tuple[int, int, int]:
    block, out_channels = chosen
    return block, in_channels, out_channels


def _even(width: float) -> int:
    return 2 * max(1, round(width / 2))
