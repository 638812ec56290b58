"""Weight gradients of depthwise convolutions, and whole training steps with and without ours, on the CPU.

Each ratio compares medians of workloads that run in turn in one process. Run: python benchmarks/depthwise.py
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from typing import cast

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional as F

from anybudget.nets import build_supernet, depthwise
from anybudget.nets.blocks import channels_last
from anybudget.recipe import load_recipe
from measure import machine, seconds

FASHION = Path(__file__).parents[1] / "recipes" / "fashion.toml"
BATCH = 64
# Channels at work in a layer (one, three and six sub-blocks), and the side of its map.
MAPS = [(6, 14), (18, 14), (36, 14), (10, 7), (30, 7), (60, 7), (14, 4), (42, 4), (84, 4)]
Step = Callable[[], object]


def of_pytorch(x: Tensor, gradient: Tensor, kernel: Tensor, stride: int) -> Tensor:
    strides, paddings, dilations = [stride] * 2, [kernel.shape[-1] // 2] * 2, [1, 1]
    answers = torch.ops.aten.convolution_backward(
        gradient, x, kernel, None, strides, paddings, dilations, False, [0, 0], x.shape[1], [False, True, False]
    )
    return cast(Tensor, answers[1])


def weight_gradients(channels: int, side: int, size: int, stride: int, layout: torch.memory_format) -> float:
    """Our time over PyTorch's for one shape, whatever the rule chooses."""
    x = torch.randn(BATCH, channels, side, side).contiguous(memory_format=layout)
    kernel = torch.randn(channels, 1, size, size).contiguous(memory_format=layout)
    gradient = torch.randn_like(F.conv2d(x, kernel, None, stride, size // 2, groups=channels))
    times = seconds(
        {
            "ours": partial(depthwise.weight_gradient, x, gradient, size, stride),
            "pytorch": partial(of_pytorch, x, gradient, kernel, stride),
        }
    )
    return times["ours"] / times["pytorch"]


def training_step(
    module: nn.Module, forward: Callable[[Tensor], Tensor], x: Tensor, labels: Tensor, kernel: int
) -> Step:
    """A step in which our gradient is taken from this kernel size on."""
    optimiser = torch.optim.SGD(module.parameters(), lr=1e-3, momentum=0.9)

    def step() -> None:
        depthwise._SMALLEST_KERNEL = kernel
        optimiser.zero_grad(set_to_none=True)
        F.cross_entropy(forward(x), labels).backward()
        optimiser.step()

    return step


def steps(paths: int) -> list[tuple[str, float]]:
    """Whole training steps of the fashion recipe: time with our gradient over time without."""
    torch.manual_seed(0)
    space = load_recipe(FASHION).build_space()
    supernet = channels_last(build_supernet(space)).train()
    x = torch.randn(BATCH, 1, 28, 28).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(0, 10, (BATCH,))
    rng = np.random.default_rng(0)
    ours, never = depthwise._SMALLEST_KERNEL, 99
    ratios: dict[str, list[float]] = {"path step": [], "step of the network alone": []}
    for _ in range(paths):
        architecture = space.sample(rng)
        network = channels_last(supernet.extract(architecture))
        for name, module, forward in (
            ("path step", supernet, partial(supernet, path=architecture)),
            ("step of the network alone", network, network),
        ):
            works = {str(size): training_step(module, forward, x, labels, size) for size in (ours, never)}
            times = seconds(works)
            ratios[name].append(times[str(ours)] / times[str(never)])
    depthwise._SMALLEST_KERNEL = ours
    return [(name, float(np.median(values))) for name, values in ratios.items()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--paths", type=int, default=5, help="random paths of the fashion recipe's supernet to measure")
    arguments = parser.parse_args()
    table = Table(
        "what", "channels last", "contiguous", title=f"time with / without ({machine()})", title_justify="left"
    )
    for (channels, side), (size, stride) in product(MAPS, product((3, 5, 7), (1, 2))):
        empty = torch.empty(BATCH, channels, side, side)
        chosen = depthwise.gains(empty, torch.empty(channels, 1, size, size, requires_grad=True), stride)
        name = f"gradient, {size}x{size}, {channels} channels, map {side}x{side}, stride {stride}"
        ratios = [
            weight_gradients(channels, side, size, stride, layout)
            for layout in (torch.channels_last, torch.contiguous_format)
        ]
        table.add_row(name if chosen else f"({name}: PyTorch's is taken)", *(f"{ratio:.2f}" for ratio in ratios))
    for name, ratio in steps(arguments.paths):
        table.add_row(f"fashion, {name}", f"{ratio:.2f}", "")
    Console(width=130).print(table)


if __name__ == "__main__":
    main()
