"""Evaluation with norms folded into the convolutions before them: one pass over the activations less for each norm."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anybudget.nets.blocks import ConvNormActivation, InvertedBottleneck, KernelBranch
from anybudget.nets.depthwise import DepthwiseConv2d
from anybudget.nets.norms import folded
from anybudget.nets.pointwise import PointwiseConv2d

_PLAIN = (nn.Conv2d, DepthwiseConv2d, PointwiseConv2d)
"""Convolutions that are nothing but a convolution in evaluation mode; one that quantises its weights is not."""


def fold_norms(network: nn.Module) -> None:
    """Make a network without gradients run faster in evaluation mode on the CPU, in place; outputs differ by rounding.

    In evaluation mode a norm is a scale and a shift of every channel, which the convolution before it can take on. They
    are computed anew in each forward, so that running statistics may change in between. In training mode, and where
    gradients are asked for, nothing is folded. The parameters, buffers and their names stay as they are.

    PyTorch's norm takes about as long as the convolutions here, where channels are few: `benchmarks/judging.py`.
    """
    for layer in network.modules():
        if type(layer) is ConvNormActivation and type(layer.conv) in _PLAIN:
            layer.__class__ = _FoldedConvNormActivation
        elif type(layer) is InvertedBottleneck and all(
            type(cast(KernelBranch, branch).project) in _PLAIN for branch in layer.branches
        ):
            layer.__class__ = _FoldedInvertedBottleneck


def _folds(x: Tensor, norm: nn.BatchNorm2d) -> bool:
    return not norm.training and not torch.is_grad_enabled() and x.device.type == "cpu"


def _convolved(x: Tensor, conv: nn.Conv2d, scale: Tensor, shift: Tensor | None) -> Tensor:
    weight = conv.weight * scale[:, None, None, None]
    return F.conv2d(x, weight, shift, conv.stride, cast(tuple[int, int], conv.padding), conv.dilation, conv.groups)


class _FoldedConvNormActivation(ConvNormActivation):
    """See `fold_norms`."""

    def forward(self, x: Tensor) -> Tensor:
        """`[N, C_in, H, W]` to `[N, C_out, H / stride, W / stride]`."""
        if not _folds(x, self.norm):
            return super().forward(x)
        out = _convolved(x, self.conv, *folded(self.norm))
        for layer in list(self)[2:]:  # the activation, and whatever else follows
            out = layer(out)
        return out


class _FoldedInvertedBottleneck(InvertedBottleneck):
    """See `fold_norms`."""

    def project(self, hidden: Sequence[Tensor], residual: Tensor | None) -> Tensor:
        """See `InvertedBottleneck.project`."""
        if not _folds(hidden[0], self.norm):
            return super().project(hidden, residual)
        scale, shift = folded(self.norm)
        parts = [
            _convolved(value, cast(KernelBranch, branch).project, scale, None if number else shift)
            for number, (branch, value) in enumerate(zip(self.branches, hidden, strict=True))
        ]
        out = reduce(torch.add, parts)
        return out if residual is None else out + residual
