"""Weight gradients of depthwise convolutions on the CPU: ours, compiled and not, over PyTorch's.

Each ratio compares medians of workloads that run in turn in one process. Run: python benchmarks/depthwise.py
"""

from __future__ import annotations

from functools import partial
from itertools import product
from typing import cast

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional as F

from anybudget.nets import depthwise
from anybudget.nets.compiled.kernels import kernels_allowed
from measure import machine, seconds

BATCH = 64
# Channels at work in a layer (one, three and six sub-blocks), and the side of its map.
MAPS = [(6, 14), (18, 14), (36, 14), (10, 7), (30, 7), (60, 7), (14, 4), (42, 4), (84, 4)]


def of_pytorch(x: Tensor, gradient: Tensor, kernel: Tensor, stride: int) -> Tensor:
    strides, paddings, dilations = [stride] * 2, [kernel.shape[-1] // 2] * 2, [1, 1]
    answers = torch.ops.aten.convolution_backward(
        gradient, x, kernel, None, strides, paddings, dilations, False, [0, 0], x.shape[1], [False, True, False]
    )
    return cast(Tensor, answers[1])


@torch.no_grad()
def weight_gradients(channels: int, side: int, size: int, stride: int, layout: torch.memory_format) -> list[float]:
    """Our time over PyTorch's for one shape, with compiled kernels and without, whatever the rule chooses."""
    x = torch.randn(BATCH, channels, side, side).contiguous(memory_format=layout)
    kernel = torch.randn(channels, 1, size, size).contiguous(memory_format=layout)
    gradient = torch.randn_like(F.conv2d(x, kernel, None, stride, size // 2, groups=channels))
    ours = partial(depthwise.weight_gradient, x, gradient, size, stride)

    def without() -> None:
        with kernels_allowed(False):
            ours()

    times = seconds({"compiled": ours, "without": without, "pytorch": partial(of_pytorch, x, gradient, kernel, stride)})
    return [times[name] / times["pytorch"] for name in ("compiled", "without")]


def main() -> None:
    torch.set_num_threads(1)  # as compiled kernels compute
    table = Table(
        "time / PyTorch's",
        "channels last",
        "the same, not compiled",
        "contiguous",
        title=f"weight gradients ({machine()})",
        title_justify="left",
    )
    for (channels, side), (size, stride) in product(MAPS, product((3, 5, 7), (1, 2))):
        empty = torch.empty(BATCH, channels, side, side)
        chosen = depthwise.gains(empty, torch.empty(channels, 1, size, size, requires_grad=True), stride)
        name = f"{size}x{size}, {channels} channels, map {side}x{side}, stride {stride}"
        last = weight_gradients(channels, side, size, stride, torch.channels_last)
        flat = weight_gradients(channels, side, size, stride, torch.contiguous_format)
        row = (f"{ratio:.2f}" for ratio in (*last, flat[1]))
        table.add_row(name if chosen else f"({name}: PyTorch's is taken)", *row)
    Console(width=130).print(table)


if __name__ == "__main__":
    main()
