"""Pointwise convolutions with a stride: of the pixels that they look at, and of no others."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def strided_pointwise(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int) -> Tensor:
    """`F.conv2d(x, weight, bias, stride)` for a kernel of one pixel: the pixels between are left out first.

    On the CPU, oneDNN's weight gradient of such a convolution writes outside of its memory where few channels come last
    and maps are large (seen with 4 and 8 channels, 64 images, 56 and 112 pixels, PyTorch 2.13): the process crashes.

    Args:
        x: `[N, C_in, H, W]`.
        weight: `[C_out, C_in, 1, 1]`.
        bias: `[C_out]`.
        stride: of both directions.

    Returns:
        `[N, C_out, ceil(H / stride), ceil(W / stride)]`.

    Example:
        >>> strided_pointwise(torch.ones(2, 3, 7, 7), torch.ones(4, 3, 1, 1), None, 2).shape
        torch.Size([2, 4, 4, 4])
    """
    last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    layout = torch.channels_last if last else torch.contiguous_format
    return F.conv2d(x[:, :, ::stride, ::stride].contiguous(memory_format=layout), weight, bias)


class PointwiseConv2d(nn.Conv2d):
    """A pointwise `nn.Conv2d` without bias that trains by `strided_pointwise`.

    Same parameters and state as `nn.Conv2d`; in evaluation mode, and wherever it is exported, it is one.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__(in_channels, out_channels, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """`[N, C_in, H, W]` to `[N, C_out, ceil(H / stride), ceil(W / stride)]`."""
        if self.training and self.stride[0] > 1:
            return strided_pointwise(x, self.weight, None, self.stride[0])
        return super().forward(x)
