"""A pointwise convolution, its norm and activation, and a depthwise convolution as one operator of CPU training.

What an inverted bottleneck expands to is its largest tensor by far, twice: before and after the activation. The
operator computes both anew, forward and backward, a few channels of an image at a time, and writes neither to memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anybudget.nets.compiled import kernels
from anybudget.nets.compiled.kernels import Activated, Pair
from anybudget.nets.norm_activation import PLAIN, Norm, code_of, followed

_WIDEST = 48
"""Channels that enter above which PyTorch's pointwise convolutions win; `benchmarks/training.py` measures it."""


def expand_depthwise(
    x: Tensor, weight: Tensor, norm: Norm, act: nn.Module, kernel: Tensor, stride: int
) -> Tensor | None:
    """`depthwise(act(norm(pointwise(x))))` without what lies between; None where it cannot be had or does not pay.

    Mean and variance of the pointwise convolution's output, a linear function of `x`, follow from those of `x`; and so
    does what they add to the gradients.

    Args:
        x: `[N, C_in, H, W]`.
        weight: of the pointwise convolution, `[C, C_in, 1, 1]`, without bias.
        norm: of its output.
        act: after the norm.
        kernel: of the depthwise convolution, `[C, 1, k, k]`, odd `k`, padded by half of it.
        stride: of the depthwise convolution.

    Returns:
        `[N, C, ceil(H / stride), ceil(W / stride)]`, channels last.
    """
    if torch.compiler.is_compiling():
        return None
    code = code_of(act)
    if code is None or x.shape[1] > _WIDEST or not kernels.is_dense(x):
        return None
    if kernel.shape[-1] not in kernels.SIZES or stride not in kernels.STRIDES:
        return None
    if (torch.is_grad_enabled() and not weight.requires_grad) or x.numel() <= x.shape[1]:
        return None
    if not kernels.usable(x, weight, norm.weight, norm.bias, kernel):
        return None
    settings = _Settings(norm.eps, code, stride, norm.follower)
    return cast(
        Tensor,
        _ExpandDepthwise.apply(x, weight, norm.weight, norm.bias, kernel, settings),  # type: ignore[no-untyped-call]
    )


class _Settings(NamedTuple):
    """What is no tensor."""

    eps: float
    code: Activated
    stride: int
    follower: nn.BatchNorm2d | None


class _ExpandDepthwise(torch.autograd.Function):
    """The operator; gradients of gradients are taken of PyTorch's operations.

    With W the pointwise kernel, x the input about its mean and S the sum of its outer products, the pointwise output
    about its mean is W x, and its squares add up to the diagonal of W S W'. What the norm adds to the gradient before
    it, slope * (W x) + offset, needs no W x either: for W it is slope * W S, for x it is W' slope W x + W' offset. S is
    in double precision, as a channel may hardly vary where those that it adds up do.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, scale: Tensor, shift: Tensor, kernel: Tensor, settings: _Settings
    ) -> Tensor:
        rows, matrix = _rows(x), weight.flatten(1)
        mean, count = rows.mean(0), len(rows)
        centred = rows - mean
        wide, exact = centred.double(), matrix.double()
        products = wide.t() @ wide
        variance = (((exact @ products) * exact).sum(1) / count).float().clamp_min_(0.0)
        inverse = torch.rsqrt(variance + settings.eps)
        if settings.follower is not None:
            running = followed(settings.follower)
            if running is not None:
                running.mean.lerp_(matrix @ mean, running.share)
                running.variance.lerp_(variance * (count / (count - 1)), running.share)
        pair = _pair(matrix, scale * inverse, shift, kernel, settings)
        ctx.save_for_backward(x, weight, scale, shift, kernel, mean, products, inverse)
        ctx.settings = settings
        return kernels.expand_depthwise_forward(_like(centred, x), pair)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, scale, shift, kernel, mean, products, inverse = ctx.saved_tensors
        leaves = (x, weight, scale, shift, kernel)
        if torch.is_grad_enabled():  # the gradients will be differentiated themselves
            return (*_differentiable(leaves, gradients[0], ctx.settings), None)
        matrix, factor, centred = weight.flatten(1), scale * inverse, _rows(x) - mean
        dense = gradients[0].contiguous(memory_format=torch.channels_last)
        pair = _pair(matrix, factor, shift, kernel, ctx.settings)
        found = kernels.expand_depthwise_backward(dense, _like(centred, x), pair)
        along = (matrix * found.expand).sum(1)
        slope, offset = -factor * inverse * inverse * along / len(centred), -factor * found.shift / len(centred)
        steep = slope[:, None] * matrix
        of_x = _rows(found.x).addmm_(centred, matrix.t() @ steep).add_(offset @ matrix)
        of_weight = (steep.double() @ products).float() + factor[:, None] * found.expand
        return _like(of_x, x), of_weight.view_as(weight), along * inverse, found.shift, found.kernel, None


def _pair(matrix: Tensor, factor: Tensor, shift: Tensor, kernel: Tensor, settings: _Settings) -> Pair:
    return Pair(
        (matrix * factor[:, None]).contiguous(), shift.contiguous(), kernel.contiguous(), settings.stride, settings.code
    )


def _differentiable(leaves: Sequence[Tensor], gradient: Tensor, settings: _Settings) -> list[Tensor | None]:
    """The gradients of those that need one, by operations that can be differentiated again."""
    x, weight, scale, shift, kernel = leaves
    hidden = F.batch_norm(F.conv2d(x, weight), None, None, scale, shift, training=True, eps=settings.eps)
    padding, groups = kernel.shape[-1] // 2, len(kernel)
    out = F.conv2d(PLAIN[settings.code](hidden), kernel, None, settings.stride, padding, groups=groups)
    wanted = [leaf for leaf in leaves if leaf.requires_grad]
    found = iter(torch.autograd.grad(out, wanted, gradient, create_graph=True))
    return [next(found) if leaf.requires_grad else None for leaf in leaves]


def _rows(x: Tensor) -> Tensor:
    """A channels-last tensor `[N, C, H, W]` as `[N * H * W, C]`, without a copy."""
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])


def _like(rows: Tensor, x: Tensor) -> Tensor:
    """Rows as the channels-last tensor of the shape of `x`, without a copy."""
    images, channels, height, width = x.shape
    return rows.view(images, height, width, channels).permute(0, 3, 1, 2)
