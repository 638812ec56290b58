"""Owns the unified supernet: every network of the unified space with one set of weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anybudget.architecture import Architecture
from anybudget.errors import ConfigError
from anybudget.nets.base import Path, Supernet
from anybudget.nets.blocks import InvertedBottleneck, KernelBranch, activation, build_block, build_network, initialise
from anybudget.nets.norms import Norm, batch_norm, join, recording_norm, reset_statistics, running_norm
from anybudget.nets.relaxed import RelaxedUnifiedSupernet
from anybudget.spaces import UnifiedSpace
from anybudget.spaces.unified import LayerShape, Macro


class SubBlock(nn.Module):
    """One sub-block's weights: a slice of both pointwise convolutions, and a depthwise convolution per kernel size."""

    def __init__(self, shape: LayerShape, kernels: Sequence[int]) -> None:
        super().__init__()
        width = shape.in_channels
        self.expand = nn.Conv2d(width, width, 1, bias=False)
        self.expand_norm = nn.BatchNorm2d(width)
        self.depthwise = nn.ModuleList(
            nn.Conv2d(width, width, kernel, shape.stride, kernel // 2, groups=width, bias=False) for kernel in kernels
        )
        self.depthwise_norms = nn.ModuleList(nn.BatchNorm2d(width) for _ in kernels)
        self.project = nn.Conv2d(width, shape.out_channels, 1, bias=False)


class UnifiedBlock(nn.Module):
    """One layer of the unified supernet, built once at the maximal expansion.

    A path joins the weights of the sub-blocks that share a kernel size and computes one small inverted bottleneck per
    kernel size in use; their sum passes the shadow norm of the path's expansion rate. The weights of a sub-block are
    parameters of their own, so that joining them costs no gradient buffer of the full width, and weights outside the
    path get no gradient at all.

    Source: SGNAS §3.3, Eq. 11-12 (unified block), shadow batch norm and forced sampling.
    """

    def __init__(self, shape: LayerShape, macro: Macro) -> None:
        super().__init__()
        self.stride = shape.stride
        self.kernels = macro.kernels
        self.min_expansion = macro.min_expansion
        self.residual = shape.stride == 1 and shape.in_channels == shape.out_channels
        self.sub_blocks = nn.ModuleList(SubBlock(shape, macro.kernels) for _ in range(macro.max_expansion))
        self.shadow_norms = nn.ModuleList(
            nn.BatchNorm2d(shape.out_channels) for _ in range(macro.min_expansion, macro.max_expansion + 1)
        )
        self.activation = macro.activation
        self.act = activation(macro.activation)

    def forward(self, x: Tensor, operations: Sequence[int], norm: Norm) -> Tensor:
        """`[N, C_in, H, W]` through the sub-blocks, each with its operation index; the last index means skip."""
        out: Tensor | None = None
        used = 0
        for index in range(len(self.kernels)):
            members = self.members(operations, index)
            if members:
                branch = self._branch(x, members, index, norm)
                out = branch if out is None else out + branch
                used += len(members)
        assert out is not None, "forced sampling keeps at least min_expansion sub-blocks"
        out = norm(out, [self.shadow_norm(used)])
        return out + x if self.residual else out

    def members(self, operations: Sequence[int], index: int) -> list[SubBlock]:
        """The sub-blocks that use kernel `index`, in order."""
        return [
            cast(SubBlock, block)
            for block, operation in zip(self.sub_blocks, operations, strict=True)
            if operation == index
        ]

    def shadow_norm(self, expansion: int) -> nn.BatchNorm2d:
        """The norm after the second pointwise convolution at this expansion rate."""
        return cast(nn.BatchNorm2d, self.shadow_norms[expansion - self.min_expansion])

    def _branch(self, x: Tensor, members: Sequence[SubBlock], index: int, norm: Norm) -> Tensor:
        hidden = F.conv2d(x, join([member.expand.weight for member in members]))
        hidden = self.act(norm(hidden, [member.expand_norm for member in members]))
        kernel = join([cast(nn.Conv2d, member.depthwise[index]).weight for member in members])
        padding = self.kernels[index] // 2
        hidden = F.conv2d(hidden, kernel, None, self.stride, padding, groups=hidden.shape[1])
        hidden = self.act(norm(hidden, [cast(nn.BatchNorm2d, member.depthwise_norms[index]) for member in members]))
        return F.conv2d(hidden, torch.cat([member.project.weight for member in members], dim=1))

    def copy_to(self, target: InvertedBottleneck, operations: Sequence[int]) -> None:
        """Copy the weights and statistics of one path into the plain block built for it."""
        present = [members for index in range(len(self.kernels)) if (members := self.members(operations, index))]
        indices = [index for index in range(len(self.kernels)) if index in operations]
        for branch, members, index in zip(target.branches, present, indices, strict=True):
            assert isinstance(branch, KernelBranch)
            expand = cast(nn.Sequential, branch.expand)
            cast(nn.Conv2d, expand.conv).weight.copy_(join([member.expand.weight for member in members]))
            _copy_norms(cast(nn.BatchNorm2d, expand.norm), [member.expand_norm for member in members])
            branch.depthwise.conv.weight.copy_(
                join([cast(nn.Conv2d, member.depthwise[index]).weight for member in members])
            )
            _copy_norms(
                branch.depthwise.norm, [cast(nn.BatchNorm2d, member.depthwise_norms[index]) for member in members]
            )
            branch.project.weight.copy_(torch.cat([member.project.weight for member in members], dim=1))
        _copy_norms(target.norm, [self.shadow_norm(sum(map(len, present)))])


class UnifiedSupernet(Supernet):
    """The unified supernet of SGNAS §3.3: stem and head shared by all, one `UnifiedBlock` per layer."""

    space: UnifiedSpace

    def __init__(self, space: UnifiedSpace) -> None:
        super().__init__()
        if space.macro.se_reduction:
            raise ConfigError(
                "se_reduction: the supernet has no squeeze-and-excitation; add it to derived networks only"
            )
        self.space = space
        before, after = space.fixed_specs
        self.before = nn.ModuleList(build_block(spec) for spec in before)
        self.layers = nn.ModuleList(UnifiedBlock(shape, space.macro) for shape in space.layers)
        self.after = nn.ModuleList(build_block(spec) for spec in after)
        initialise(self.layers)

    def forward(self, x: Tensor, path: Path | Tensor) -> Tensor:
        """See `Supernet.forward`."""
        if isinstance(path, Tensor):
            return cast(Tensor, self.relaxed()(x, path))
        return self._forward(x, path, batch_norm if self.training else running_norm)

    def _forward(self, x: Tensor, path: Path, norm: Norm) -> Tensor:
        spelling = self.space.spell(path) if isinstance(path, Architecture) else path
        for block in self.before:
            x = block(x)
        for layer, operations in zip(self.layers, spelling.operations, strict=True):
            x = layer(x, operations, norm)
        for block in self.after:
            x = block(x)
        return x

    def relaxed(self) -> RelaxedUnifiedSupernet:
        """See `Supernet.relaxed`."""
        if self.training:
            raise ConfigError("a mixture of paths needs the frozen supernet; call eval() on it first")
        return RelaxedUnifiedSupernet(self)

    @torch.no_grad()
    def extract(self, architecture: Architecture) -> nn.Sequential:
        """See `Supernet.extract`."""
        spelling = self.space.spell(architecture)
        network = build_network(self.space.block_specs(architecture)).to(next(self.parameters()))
        blocks = list(network)
        first, last = len(self.before), len(self.before) + len(self.layers)
        for source, target in zip((*self.before, *self.after), (*blocks[:first], *blocks[last:]), strict=True):
            target.load_state_dict(source.state_dict())
        for layer, target, operations in zip(self.layers, blocks[first:last], spelling.operations, strict=True):
            cast(UnifiedBlock, layer).copy_to(cast(InvertedBottleneck, target), operations)
        return network.train(self.training)

    @torch.no_grad()
    def record_statistics(self, x: Tensor, path: Path) -> None:
        """See `Supernet.record_statistics`."""
        was_training = self.training
        self.train()
        try:
            self._forward(x, path, recording_norm)
        finally:
            self.train(was_training)

    def reset_statistics(self) -> None:
        """See `Supernet.reset_statistics`."""
        reset_statistics(self)


def _copy_norms(target: nn.BatchNorm2d, sources: Sequence[nn.BatchNorm2d]) -> None:
    for name in ("weight", "bias", "running_mean", "running_var"):
        getattr(target, name).copy_(join([getattr(source, name) for source in sources]))
