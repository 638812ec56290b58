"""Growing a block into a larger one that computes the same: kernels padded with zeros, channels copied."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F

from anybudget.nets.blocks import ConvNormActivation, InvertedBottleneck, KernelBranch, SqueezeExcite


@torch.no_grad()
def grow(small: InvertedBottleneck, large: InvertedBottleneck, generator: torch.Generator) -> None:
    """Set all weights and statistics of `large` so that it computes what `small` does, in either mode of the norms.

    Kernels are padded with zeros to the larger size. Expanded channels are copied, in turn, until there are enough, and
    what follows reads each channel as the sum of its copies. The weights are divided among the copies at random: were
    they divided evenly, copies would have equal gradients, and stay equal however long they train.

    Args:
        small: a trained block of one kernel size.
        large: a block that contains it, see `anybudget.spaces.growth.contains`.
        generator: draws the shares, on the CPU.

    Source: Net2Net (Chen et al. 2016), §2.2, for copied channels.
    Differs: there copies have equal shares, and noise on the weights tells them apart; random shares change nothing.
    """
    source, target = cast(KernelBranch, small.branches[0]), cast(KernelBranch, large.branches[0])
    copied = _copies(source.depthwise.norm.num_features, target.depthwise.norm.num_features)
    if isinstance(source.expand, ConvNormActivation):
        _grow_rows(source.expand, cast(ConvNormActivation, target.expand), copied)
    _grow_rows(source.depthwise, target.depthwise, copied)
    target.project.weight.copy_(_divided(source.project.weight, copied, generator))
    large.norm.load_state_dict(small.norm.state_dict())
    if small.se is not None and large.se is not None:
        _grow_gates(small.se, large.se, copied, generator)


def _copies(small: int, large: int) -> Tensor:
    """Of which channel each of `large` channels is a copy."""
    return torch.arange(large) % small


def _grow_rows(small: ConvNormActivation, large: ConvNormActivation, copied: Tensor) -> None:
    """Copy the output channels of a convolution with their norm; pad its kernels."""
    border = (large.conv.kernel_size[0] - small.conv.kernel_size[0]) // 2
    large.conv.weight.copy_(F.pad(small.conv.weight[copied], [border] * 4))
    for name, value in large.norm.state_dict().items():  # views of its own weights and statistics
        grown = small.norm.state_dict()[name]
        value.copy_(grown[copied] if grown.ndim else grown)


def _grow_gates(small: SqueezeExcite, large: SqueezeExcite, copied: Tensor, generator: torch.Generator) -> None:
    """Copy the gates of copied channels, and the units that they are computed from."""
    units = _copies(small.reduce.out_channels, large.reduce.out_channels)
    large.reduce.weight.copy_(_divided(small.reduce.weight[units], copied, generator))
    large.restore.weight.copy_(_divided(small.restore.weight, units, generator)[copied])
    for layer, grown, rows in ((large.reduce, small.reduce, units), (large.restore, small.restore, copied)):
        if layer.bias is not None and grown.bias is not None:
            layer.bias.copy_(grown.bias[rows])


def _divided(weight: Tensor, copied: Tensor, generator: torch.Generator) -> Tensor:
    """A pointwise weight `[out, in, 1, 1]` whose inputs have been copied: those of an input's copies add up to its own.

    Of two copies each gets between a quarter and three quarters.
    """
    outputs, inputs = weight.shape[:2]
    if len(copied.unique()) == len(copied):
        return weight  # nothing has been copied, as is always so where the inputs are grouped
    parts = 0.5 + torch.rand(outputs, len(copied), generator=generator)
    totals = torch.zeros(outputs, inputs).index_add_(1, copied, parts)
    shares = (parts / totals[:, copied]).to(weight)
    return weight[:, copied] * shares[:, :, None, None]
