"""The NAS-Bench-201 space: one cell of six edges, repeated in every stage, and its isomorphism classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import product
from typing import Annotated

from pydantic import Field

from anybudget.architecture import Architecture
from anybudget.errors import ConfigError
from anybudget.spaces.base import Decision, Factor, PathEncoding, SearchSpace
from anybudget.spaces.blocks import BlockSpec, ClassifierSpec, Convolution, ConvSpec, strided
from anybudget.spaces.flow import Flow
from anybudget.spaces.settings import Channels, Classes, Pixels, Repeats, Settings

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
"""What an edge can be, in the benchmark's order."""

KERNELS = {"nor_conv_1x1": 1, "nor_conv_3x3": 3}
"""Kernel size of the operations that are convolutions; the others learn nothing."""

NODES = 4
EDGES = tuple((source, target) for target in range(NODES) for source in range(target))
"""Source and target node of every edge, in the benchmark's order; node 0 is the cell's input, node 3 its output."""

_BY_COST = tuple(map(OPERATIONS.index, ("nor_conv_3x3", "nor_conv_1x1", "avg_pool_3x3", "skip_connect")))


@dataclass(frozen=True, slots=True)
class CellSpec(BlockSpec):
    """Nodes that each add up what their incoming edges compute. `resolution` is the height and width in pixels.

    `operations` names the operation of every edge, in the order of `EDGES`. Every edge is built and counted, also one
    whose result reaches no output.
    """

    operations: tuple[str, ...]
    channels: int
    resolution: int

    def __post_init__(self) -> None:
        if len(self.operations) != len(EDGES) or not set(self.operations) <= set(OPERATIONS):
            raise ConfigError(f"cell {list(self.operations)} needs {len(EDGES)} operations of {', '.join(OPERATIONS)}")

    def convolutions(self) -> tuple[Convolution, ...]:
        """One for every edge that is a convolution."""
        return tuple(
            Convolution(self.channels, self.channels, KERNELS[operation], resolution=self.resolution)
            for operation in self.operations
            if operation in KERNELS
        )

    def flow(self) -> Flow:
        """That of the cell whose edges are all convolutions, the most that a cell of this width needs.

        What is alive in a cell depends on all of its edges together, and no sum or maximum over edges says it.
        """
        size = self.channels * self.resolution**2
        flow, nodes = Flow(size), [0]
        for node in range(1, NODES):
            arriving = [flow.make(size, flow.make(size, nodes[source])) for source, target in EDGES if target == node]
            total = arriving[0]
            for value in arriving[1:]:
                total = flow.add(total, value)
            nodes.append(total)
        return flow


@dataclass(frozen=True, slots=True)
class ReductionSpec(BlockSpec):
    """Residual block of stride 2: two 3x3 pre-activation convolutions beside an average pool and a 1x1 convolution.

    `resolution` is the height and width of its input in pixels.
    """

    in_channels: int
    out_channels: int
    resolution: int

    def convolutions(self) -> tuple[Convolution, ...]:
        """The two of the residual branch and the shortcut's, which follows its pool and has no norm."""
        size = strided(self.resolution, 2)
        return (
            Convolution(self.in_channels, self.out_channels, 3, 2, self.resolution),
            Convolution(self.out_channels, self.out_channels, 3, resolution=size),
            Convolution(self.in_channels, self.out_channels, resolution=size, norm=False),
        )

    def flow(self) -> Flow:
        """The shortcut, then the residual branch, whose activations are read by one convolution each."""
        first, second, shortcut = self.convolutions()
        flow = Flow(first.values_in)
        passing = flow.make(shortcut.values_out, flow.make(shortcut.values_in, 0))
        out = flow.make(second.values_out, flow.make(first.values_out, 0))
        flow.add(passing, out)
        return flow


@dataclass(frozen=True, slots=True)
class NormActivationSpec(BlockSpec):
    """Batch norm and ReLU, which pre-activation networks end with; both write over their input."""

    channels: int

    def convolutions(self) -> tuple[Convolution, ...]:
        """None."""
        return ()

    @property
    def extra_params(self) -> int:
        """Scale and shift of the norm."""
        return 2 * self.channels


class NASBench201Settings(Settings):
    """The macro-architecture around the cell; by default the benchmark's for CIFAR-10.

    `width` is the channels of the first stage, doubled from stage to stage; `cells` is the cells of each stage.
    """

    input_size: Pixels = 32
    input_channels: Channels = 3
    classes: Classes = 10
    width: Channels = 16
    cells: Repeats = 5
    stages: Annotated[int, Field(ge=1, le=8)] = 3


class NASBench201Space(SearchSpace):
    """One decision per edge of a cell of four nodes; all cells of a network are equal.

    6 edges of 5 operations give 15,625 encodings. The canonical architecture is the cheapest of those that the
    benchmark counts as one network. Its count, 6,466, is that of a text form: it sees a `none` edge and an edge from
    an unconnected node, but neither drops a term that is zero from a sum nor carries a sum of zeros on, so some
    networks that compute the same stay apart.

    Source: Dong & Yang 2020 (NAS-Bench-201) §2.1 and §2.2; SGNAS §4.3.
    """

    name = "nas-bench-201"
    settings_type = NASBench201Settings
    supernet = "cell"
    settings: NASBench201Settings

    def __init__(self, settings: NASBench201Settings) -> None:
        self.settings = settings
        self.decisions = tuple(Decision.single(f"edge {source}->{target}", OPERATIONS) for source, target in EDGES)
        edges = tuple(range(len(EDGES)))
        channels, resolution = settings.width, settings.input_size
        factors = [Factor.fixed(ConvSpec(settings.input_channels, channels, 3, 1, resolution, None))]
        for stage in range(settings.stages):
            if stage:
                factors.append(Factor.fixed(ReductionSpec(channels, 2 * channels, resolution)))
                channels, resolution = 2 * channels, strided(resolution, 2)
            factors += [Factor(edges, partial(_cell, channels, resolution))] * settings.cells
        factors.append(Factor.fixed(NormActivationSpec(channels)))
        factors.append(
            Factor.fixed(ClassifierSpec(channels, settings.classes, settings.dropout, resolution=resolution))
        )
        self.factors = tuple(factors)

    def canonical(self, encoding: PathEncoding) -> Architecture:
        """The cheapest architecture of the same isomorphism class; see `SearchSpace.canonical`."""
        return Architecture(self.name, self._representatives[self._read(encoding)])

    def networks(self) -> int:
        """Number of isomorphism classes."""
        return len(set(self._representatives.values()))

    @cached_property
    def _representatives(self) -> dict[tuple[int, ...], tuple[int, ...]]:
        """The choices that stand for the class of any choices."""
        classes: dict[str, list[tuple[int, ...]]] = {}
        for choices in product(range(len(OPERATIONS)), repeat=len(EDGES)):
            classes.setdefault(_text(choices), []).append(choices)
        cheapest = {text: min(members, key=_rank) for text, members in classes.items()}
        return {choices: cheapest[text] for text, members in classes.items() for choices in members}


def _cell(channels: int, resolution: int, *choices: int) -> CellSpec:
    return CellSpec(tuple(OPERATIONS[choice] for choice in choices), channels, resolution)


def _rank(choices: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Orders a class by multiply-adds, then parameters, then time.

    A 3x3 convolution costs nine 1x1 ones in multiply-adds, more than a cell has edges, so counting operations from the
    dearest to the cheapest compares the sums.
    """
    return tuple(map(choices.count, _BY_COST)), choices


def _text(choices: Sequence[int]) -> str:
    """The text of the output node, equal for equal networks as the benchmark counts them.

    The operations' names matter: a sum that arrives over a skip is not split before terms are sorted, so which texts
    coincide depends on how the names sort.

    Source: NAS-Bench-201 §2.2 (isomorphic cells), unique string with zeros considered.
    """
    texts = ["0"]
    for node in range(1, NODES):
        terms = []
        for (source, target), choice in zip(EDGES, choices, strict=True):
            if target != node:
                continue
            operation, text = OPERATIONS[choice], texts[source]
            if operation == "none" or text == "#":
                terms.append("#")
            else:
                terms.append(text if operation == "skip_connect" else f"({text})@{operation}")
        texts.append("+".join(sorted(terms)))
    return texts[-1]
