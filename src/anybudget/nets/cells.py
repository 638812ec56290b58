"""The cells of NAS-Bench-201: plain blocks, and the supernet with all operations on every edge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial, reduce
from typing import cast

import torch
from torch import Tensor, nn

from anybudget.nets.base import Step
from anybudget.nets.blocks import build_block, initialise, make_block, pointwise
from anybudget.nets.mixture import MixableSupernet, taking_part, weighted_sum
from anybudget.nets.norm_activation import norm_activation
from anybudget.nets.norms import keep_statistics
from anybudget.spaces import PathEncoding
from anybudget.spaces.nas_bench_201 import (
    EDGES,
    KERNELS,
    NODES,
    OPERATIONS,
    CellSpec,
    NASBench201Space,
    NormActivationSpec,
    ReductionSpec,
)


class ActivationConvNorm(nn.Sequential):
    """ReLU, convolution without bias padded by half its odd kernel, batch norm."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.act = nn.ReLU()  # not in place: other edges read the same input
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """`[N, C_in, H, W]` to `[N, C_out, H / stride, W / stride]`."""
        return norm_activation(self.conv(self.act(x)), self.norm)


class Zero(nn.Module):
    """No connection; a cell never runs it."""

    def forward(self, x: Tensor) -> Tensor:
        """Zeros like `x`."""
        return torch.zeros_like(x)


def edge_operation(name: str, channels: int) -> nn.Module:
    """The module of one operation of `OPERATIONS`, from `[N, channels, H, W]` to the same shape."""
    if name in KERNELS:
        return ActivationConvNorm(channels, channels, KERNELS[name])
    match name:
        case "none":
            return Zero()
        case "skip_connect":
            return nn.Identity()
        case "avg_pool_3x3":
            return nn.AvgPool2d(3, 1, 1, count_include_pad=False)
    raise ValueError(f"unknown operation {name!r}")


def run_edges(x: Tensor, edges: Sequence[Callable[[Tensor], Tensor]]) -> Tensor:
    """The value of the last node, given one function per edge; also edges that do not reach it are computed."""
    nodes = [x]
    for node in range(1, NODES):
        arriving = [
            edge(nodes[source])
            for (source, target), edge in zip(EDGES, edges, strict=True)
            if target == node and not isinstance(edge, Zero)
        ]
        nodes.append(reduce(torch.add, arriving) if arriving else torch.zeros_like(x))
    return nodes[-1]


class Cell(nn.Module):
    """The cell of a stand-alone network: one operation per edge."""

    def __init__(self, spec: CellSpec) -> None:
        super().__init__()
        self.edges = nn.ModuleList(edge_operation(name, spec.channels) for name in spec.operations)

    def forward(self, x: Tensor) -> Tensor:
        """`[N, C, H, W]` to the same shape."""
        return run_edges(x, list(self.edges))


class Reduction(nn.Module):
    """The residual block between two stages; see `ReductionSpec`."""

    def __init__(self, spec: ReductionSpec) -> None:
        super().__init__()
        self.conv_a = ActivationConvNorm(spec.in_channels, spec.out_channels, 3, 2)
        self.conv_b = ActivationConvNorm(spec.out_channels, spec.out_channels, 3)
        # Rounded up as the strided convolution does, so that odd sizes fit.
        pool = nn.AvgPool2d(2, 2, ceil_mode=True)
        self.shortcut = nn.Sequential(pool, pointwise(spec.in_channels, spec.out_channels))

    def forward(self, x: Tensor) -> Tensor:
        """`[N, C_in, H, W]` to `[N, C_out, H / 2, W / 2]`, rounded up."""
        return cast(Tensor, self.shortcut(x) + self.conv_b(self.conv_a(x)))


@make_block.register
def _(spec: NormActivationSpec) -> nn.Module:
    return nn.Sequential(nn.BatchNorm2d(spec.channels), nn.ReLU(inplace=True))


make_block.register(CellSpec, Cell)
make_block.register(ReductionSpec, Reduction)


class CellLayer(nn.Module):
    """One cell of the supernet: on every edge all operations, with weights of their own."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.edges = nn.ModuleList(nn.ModuleList(edge_operation(name, channels) for name in OPERATIONS) for _ in EDGES)
        initialise(self)

    def forward(self, x: Tensor, operations: Sequence[int]) -> Tensor:
        """`[N, C, H, W]` through one operation of each edge."""
        return run_edges(x, self._chosen(operations))

    def mixture(self, x: Tensor, probabilities: Tensor) -> Tensor:
        """The mixture of all operations on every edge; `probabilities` is `[edges, operations]`."""
        edges = [
            partial(_mixed_edge, cast(nn.ModuleList, edge), row)
            for edge, row in zip(self.edges, probabilities, strict=True)
        ]
        return run_edges(x, edges)

    def copy_to(self, target: Cell, operations: Sequence[int]) -> None:
        """Copy the weights and statistics of one path into the plain cell built for it."""
        for source, edge in zip(self._chosen(operations), target.edges, strict=True):
            edge.load_state_dict(source.state_dict())

    def _chosen(self, operations: Sequence[int]) -> list[nn.Module]:
        return [cast(nn.ModuleList, edge)[operation] for edge, operation in zip(self.edges, operations, strict=True)]


def _mixed_edge(operations: nn.ModuleList, probabilities: Tensor, x: Tensor) -> Tensor:
    taking = taking_part(probabilities, len(operations), training=operations.training)
    kept = [index for index in taking if not isinstance(operations[index], Zero)]
    if not kept:
        return torch.zeros_like(x)
    return weighted_sum(probabilities[kept], [operations[index](x) for index in kept])


class CellSupernet(MixableSupernet):
    """The supernet of `NASBench201Space`: every cell has weights of its own, all cells follow the same decisions.

    The reductions between the stages are in every path, but their norms come after searched cells, so these keep
    their statistics like the cells' own.
    """

    space: NASBench201Space

    def __init__(self, space: NASBench201Space) -> None:
        super().__init__()
        self.space = space
        self._add_ends()
        origin = [0] * len(space.decisions)
        specs = [factor.spec(*origin[: len(factor.decisions)]) for factor in space.factors[self._first : self._last]]
        self.layers = nn.ModuleList(
            CellLayer(spec.channels) if isinstance(spec, CellSpec) else build_block(spec) for spec in specs
        )
        keep_statistics(self.layers)

    def _steps(self, encoding: PathEncoding) -> list[Step]:
        operations = tuple(_operations(encoding))
        return [
            Step(operations, layer, partial(layer, operations=operations) if isinstance(layer, CellLayer) else layer)
            for layer in self.layers
        ]

    def _mixed(self, x: Tensor, probabilities: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer.mixture(x, probabilities) if isinstance(layer, CellLayer) else layer(x)
        return x

    def _copy_path(self, blocks: list[nn.Module], encoding: PathEncoding) -> None:
        operations = _operations(encoding)
        for layer, target in zip(self.layers, blocks, strict=True):
            if isinstance(layer, CellLayer):
                layer.copy_to(cast(Cell, target), operations)
            else:
                target.load_state_dict(layer.state_dict())


def _operations(encoding: PathEncoding) -> list[int]:
    return [operation for (operation,) in encoding.operations]
