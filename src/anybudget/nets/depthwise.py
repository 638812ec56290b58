"""Depthwise convolutions, with a weight gradient that does not dominate training on the CPU."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anybudget.nets.compiled.kernels import SIZES, STRIDES, depthwise_kernel_gradient, is_dense, usable

_CHUNK = 2**18
"""Numbers of the input that the weight gradient works on at a time: 1 MiB, so that its copies stay in the cache."""

_SMALLEST_KERNEL = 5
"""PyTorch's own weight gradient of a 3x3 kernel is as fast, and far faster where the channels come last."""

_LEAST_WORK = 2**18
"""Multiply-adds of the whole batch below which the gradient takes a tenth of a millisecond, however it is computed."""


def depthwise_conv2d(x: Tensor, kernel: Tensor, bias: Tensor | None = None, stride: int = 1) -> Tensor:
    """A depthwise convolution padded by half its odd kernel: `F.conv2d(..., groups=C)`, perhaps with a faster backward.

    On the CPU PyTorch spends several times as long on the weight gradient of a large depthwise kernel as on all else
    that the convolution needs. Where `gains` says so, that gradient alone is computed by `weight_gradient`; the output
    and all other gradients are PyTorch's own to the last bit. Gradients of gradients work.

    Args:
        x: `[N, C, H, W]`, in any memory format.
        kernel: `[C, 1, k, k]`, odd `k`.
        bias: `[C]`.
        stride: of both directions.

    Returns:
        `[N, C, ceil(H / stride), ceil(W / stride)]`.

    Example:
        >>> depthwise_conv2d(torch.ones(2, 8, 14, 14), torch.ones(8, 1, 5, 5), stride=2).shape
        torch.Size([2, 8, 7, 7])
    """
    if gains(x, kernel, stride):
        return cast(Tensor, _DepthwiseConv2d.apply(x, kernel, bias, stride))  # type: ignore[no-untyped-call]
    return _convolve(x, kernel, bias, stride)


class DepthwiseConv2d(nn.Conv2d):
    """A depthwise `nn.Conv2d` without bias, padded by half its odd kernel, that trains by `depthwise_conv2d`.

    Same parameters and state as `nn.Conv2d`; in evaluation mode, and wherever it is traced, compiled or exported, it
    is one.
    """

    def __init__(self, channels: int, kernel: int, stride: int = 1) -> None:
        super().__init__(channels, channels, kernel, stride, kernel // 2, groups=channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """`[N, C, H, W]` to `[N, C, ceil(H / stride), ceil(W / stride)]`."""
        if self.training:
            return depthwise_conv2d(x, self.weight, None, self.stride[0])
        return super().forward(x)


def gains(x: Tensor, kernel: Tensor, stride: int) -> bool:
    """Whether `weight_gradient` is wanted here, can be had, and is faster than PyTorch's own.

    It is for float32 on the CPU with oneDNN, for kernels from 5x5 on, unless there is next to nothing to compute. A map
    must be larger than the padding: below, oneDNN leaves its fast kernels. The rule was measured over maps of 4 to 112
    pixels, 6 to 1,152 channels, 8 to 128 images, strides 1 and 2, both memory formats; `benchmarks/depthwise.py`
    measures a part of these again.
    """
    size = kernel.shape[-1]
    return (
        not torch.compiler.is_compiling()  # asked first: what follows would break the graph
        and size >= _SMALLEST_KERNEL
        and kernel.requires_grad
        and torch.is_grad_enabled()
        and x.device.type == "cpu"
        and x.dtype == kernel.dtype == torch.float32
        and x.numel() * size**2 >= _LEAST_WORK * stride**2
        and all((length - 1) // stride * stride >= size // 2 for length in x.shape[2:])
        and torch.backends.mkldnn.is_available()
        and bool(torch.backends.mkldnn.enabled)
        and not torch.is_autocast_enabled("cpu")
        and not torch.jit.is_tracing()  # type: ignore[attr-defined,no-untyped-call]
    )


def weight_gradient(x: Tensor, gradient: Tensor, size: int, stride: int) -> Tensor:
    """The gradient of a depthwise kernel: by a compiled kernel where that can be used, else by one convolution.

    The convolution is a forward one with every image and channel a group of its own: entry `[c, 0, i, j]` is the sum of
    `gradient[n, c, a, b] * x[n, c, stride * a + i, stride * b + j]`, `x` padded: of each plane of `x` with the same
    plane of `gradient` as the kernel, dilated by the stride. A few images at a time, as many for the same shape always,
    so that the sum is always rounded alike. It can be differentiated; the compiled kernel is not used where that is
    wanted.

    Args:
        x: the input, `[N, C, H, W]`.
        gradient: of the output, `[N, C, ceil(H / stride), ceil(W / stride)]`.
        size: the kernel's, odd.
        stride: of the convolution.

    Returns:
        `[C, 1, size, size]`.
    """
    if size in SIZES and stride in STRIDES and not torch.is_grad_enabled() and is_dense(x) and usable(x, gradient):
        dense = gradient.contiguous(memory_format=torch.channels_last)
        return depthwise_kernel_gradient(x, dense, size, stride)
    channels, padding = x.shape[1], size // 2
    images = max(1, _CHUNK // (x.numel() // len(x)))
    total = x.new_zeros(channels, size, size)
    for part, share in zip(x.split(images), gradient.split(images), strict=True):
        groups = len(part) * channels
        planes = part.reshape(1, groups, *part.shape[2:])
        kernels = share.reshape(groups, 1, *share.shape[2:])
        found = F.conv2d(planes, kernels, padding=padding, dilation=stride, groups=groups)
        # Where the stride does not divide the map evenly, the kernel fits in at further places that are none of ours.
        total = total + found[0, :, :size, :size].reshape(len(part), channels, size, size).sum(0)
    return total.unsqueeze(1)


def input_gradient(gradient: Tensor, x: Tensor, kernel: Tensor, stride: int) -> Tensor:
    """The gradient of the input of `depthwise_conv2d`, PyTorch's own; `x` gives no more than its shape and format."""
    strides, paddings, dilations = [stride] * 2, [kernel.shape[-1] // 2] * 2, [1, 1]
    answers = torch.ops.aten.convolution_backward(
        gradient, x, kernel, None, strides, paddings, dilations, False, [0, 0], x.shape[1], [True, False, False]
    )
    return cast(Tensor, answers[0])


class _DepthwiseConv2d(torch.autograd.Function):
    """The convolution as one step of autograd; its backward is made of differentiable operations."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, kernel: Tensor, bias: Tensor | None, stride: int) -> Tensor:
        ctx.save_for_backward(x, kernel)
        ctx.stride = stride
        return _convolve(x, kernel, bias, stride)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        x, kernel = ctx.saved_tensors
        gradient, of_x, of_kernel, of_bias = gradients[0], None, None, None
        if ctx.needs_input_grad[0]:
            of_x = input_gradient(gradient, x, kernel, ctx.stride)
        if ctx.needs_input_grad[1]:
            of_kernel = weight_gradient(x, gradient, kernel.shape[-1], ctx.stride)
        if ctx.needs_input_grad[2]:
            of_bias = gradient.sum((0, 2, 3))
        return of_x, of_kernel, of_bias, None


def _convolve(x: Tensor, kernel: Tensor, bias: Tensor | None, stride: int) -> Tensor:
    return F.conv2d(x, kernel, bias, stride, kernel.shape[-1] // 2, groups=x.shape[1])
