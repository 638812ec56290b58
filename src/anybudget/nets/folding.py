"""Evaluation with norms folded into the convolutions before them: one pass over the activations less for each norm."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anybudget.nets.blocks import ConvNormActivation, InvertedBottleneck, KernelBranch
from anybudget.nets.compiled import kernels
from anybudget.nets.compiled.kernels import Activated, Frozen
from anybudget.nets.depthwise import DepthwiseConv2d
from anybudget.nets.norm_activation import code_of, is_hooked
from anybudget.nets.norms import folded
from anybudget.nets.pointwise import PointwiseConv2d

_PLAIN = (nn.Conv2d, DepthwiseConv2d, PointwiseConv2d)
"""Convolutions that are nothing but a convolution in evaluation mode; one that quantises its weights is not."""

_ACTIVATED = (Activated.RELU, Activated.RELU6, Activated.HARD_SWISH)
"""That the compiled kernel knows."""


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


class _Branch(NamedTuple):
    """The layers of a branch that the compiled kernel can compute."""

    expand: nn.Conv2d
    expand_norm: nn.BatchNorm2d
    depthwise: nn.Conv2d
    depthwise_norm: nn.BatchNorm2d
    project: nn.Conv2d
    act: Activated


def _layers(branch: KernelBranch) -> _Branch | None:
    """The layers of a branch; None where the compiled kernel does not compute them."""
    first, second = branch.expand, branch.depthwise
    if not isinstance(first, _FoldedConvNormActivation) or not isinstance(second, _FoldedConvNormActivation):
        return None
    code = code_of(getattr(first, "act", None))
    if code not in _ACTIVATED or len(first) != 3 or first.conv.groups > 1 or first.norm.training:
        return None
    conv = second.conv
    if conv.stride[0] not in kernels.STRIDES or conv.kernel_size[0] not in kernels.SIZES or second.norm.training:
        return None
    return _Branch(first.conv, first.norm, conv, second.norm, branch.project, code)


def _at_once(x: Tensor, of: _Branch, scale: Tensor) -> Tensor:
    """A branch of an inverted bottleneck, times `scale` `[C_out]`."""
    (first, shift), (second, bias) = folded(of.expand_norm), folded(of.depthwise_norm)
    frozen = Frozen(
        (of.expand.weight.flatten(1) * first[:, None]).contiguous(),
        shift,
        (of.project.weight.flatten(1) * scale[:, None]).contiguous(),
        of.depthwise.kernel_size[0],
        of.depthwise.stride[0],
        of.act,
    )
    kernel = (of.depthwise.weight * second[:, None, None, None]).contiguous()
    return kernels.merged_forward(x, kernel, bias, frozen, keep=False)[0]


class _FoldedInvertedBottleneck(InvertedBottleneck):
    """See `fold_norms`."""

    def forward(self, x: Tensor) -> Tensor:
        """`[N, C_in, H, W]` to `[N, C_out, H / stride, W / stride]`; by the compiled kernel where it can be used."""
        layers = [_layers(cast(KernelBranch, branch)) for branch in self.branches]
        if not _folds(x, self.norm) or not kernels.is_dense(x) or not kernels.usable(x, self.norm.weight):
            return super().forward(x)
        if self.se is not None or None in layers or is_hooked(*self.modules()):
            return super().forward(x)
        scale, shift = folded(self.norm)
        parts = [_at_once(x, found, scale) for found in layers if found is not None]
        out = reduce(torch.add, parts).add_(shift[:, None, None])
        return out.add_(x) if self.residual else out

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
