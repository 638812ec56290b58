"""ShuffleNetV2 units: plain ones, and ones that take every width out of one set of weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from anybudget.nets.blocks import ConvNormActivation, make_block, pointwise
from anybudget.nets.depthwise import DepthwiseConv2d
from anybudget.spaces.shuffle_blocks import ShuffleUnitSpec, UnitStep


class ShuffleUnit(nn.Module):
    """The plain unit; see `ShuffleUnitSpec`."""

    def __init__(self, spec: ShuffleUnitSpec) -> None:
        super().__init__()
        self.stride = spec.stride
        self.passing = spec.width("pass")
        self.shortcut = nn.Sequential(*(_conv(spec, step) for step in spec.shortcut()))
        self.branch = nn.Sequential(*(_conv(spec, step) for step in spec.branch()))

    def forward(self, x: Tensor) -> Tensor:
        """`[N, C_in, H, W]` to `[N, C_out, H / stride, W / stride]`."""
        passing, entering = halves(x, self.stride)
        kept = self.shortcut(passing) if self.stride > 1 else passing[:, : self.passing]
        return torch.cat([kept, self.branch(entering)], dim=1)


make_block.register(ShuffleUnitSpec, ShuffleUnit)


def halves(x: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    """The channels that pass by and those that enter the branch: even and odd ones, or all of them twice."""
    if stride > 1:
        return x, x
    return x[:, 0::2], x[:, 1::2]


def _conv(spec: ShuffleUnitSpec, step: UnitStep) -> nn.Module:
    source, target = spec.width(step.source), spec.width(step.target)
    conv = DepthwiseConv2d(source, step.kernel, step.stride) if step.depthwise else pointwise(source, target)
    return ConvNormActivation(conv, spec.activation if step.activated else None)
