"""Inverted bottlenecks whose pointwise convolutions are split into groups and not shuffled."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from anybudget.nets.blocks import ConvNormActivation, make_block, pointwise, squeeze_excite
from anybudget.nets.depthwise import DepthwiseConv2d
from anybudget.nets.norm_activation import norm_activation
from anybudget.spaces.split import SplitBottleneckSpec


class SplitBottleneck(nn.Module):
    """The plain block; see `SplitBottleneckSpec`.

    Groups of the pointwise convolutions cut through depthwise branches, so it is no sum of branches.
    """

    def __init__(self, spec: SplitBottleneckSpec) -> None:
        super().__init__()
        expanded = spec.expanded_channels
        self.widths = [branch.channels for branch in spec.branches]
        self.expand = ConvNormActivation(pointwise(spec.in_channels, expanded, spec.expand_groups), spec.activation)
        self.depthwise = nn.ModuleList(
            ConvNormActivation(DepthwiseConv2d(branch.channels, branch.kernel, spec.stride), spec.activation)
            for branch in spec.branches
        )
        self.se = squeeze_excite(spec)
        self.project = pointwise(expanded, spec.out_channels, spec.project_groups)
        self.norm = nn.BatchNorm2d(spec.out_channels)
        self.residual = spec.residual

    def forward(self, x: Tensor) -> Tensor:
        """`[N, C_in, H, W]` to `[N, C_out, H / stride, W / stride]`."""
        parts = cast(Tensor, self.expand(x)).split(self.widths, dim=1)
        hidden = [depthwise(part) for depthwise, part in zip(self.depthwise, parts, strict=True)]
        if self.se is not None:
            hidden = self.se(hidden)
        return norm_activation(self.project(torch.cat(hidden, dim=1)), self.norm, residual=x if self.residual else None)


make_block.register(SplitBottleneckSpec, SplitBottleneck)
