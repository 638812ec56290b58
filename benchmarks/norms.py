"""Batch norm of narrow channels-last tensors, forward and backward: compiled, and as rows, against torch's own.

Run: python benchmarks/norms.py
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.nn import functional as F

from anybudget.nets.compiled.kernels import kernels_allowed
from anybudget.nets.norms import batch_norm
from measure import machine, seconds

SHAPES = [(64, 4, 14, 14), (64, 12, 14, 14), (64, 24, 14, 14), (64, 18, 7, 7), (64, 36, 14, 14)]


def main() -> None:
    torch.set_num_threads(1)  # as compiled kernels compute
    table = Table(
        "shape",
        "compiled / torch's",
        "as rows / torch's",
        title=f"batch norm, channels last ({machine()})",
        title_justify="left",
    )
    for shape in SHAPES:
        norm = nn.BatchNorm2d(shape[1])
        x = torch.randn(shape).contiguous(memory_format=torch.channels_last).requires_grad_()
        gradient = torch.randn(shape).contiguous(memory_format=torch.channels_last)

        def ours(x: torch.Tensor = x, norm: nn.BatchNorm2d = norm) -> torch.Tensor:
            return batch_norm(x, [norm])

        def rows(x: torch.Tensor = x, norm: nn.BatchNorm2d = norm) -> torch.Tensor:
            with kernels_allowed(False):
                return batch_norm(x, [norm])

        def theirs(x: torch.Tensor = x, norm: nn.BatchNorm2d = norm) -> torch.Tensor:
            return F.batch_norm(x, None, None, norm.weight, norm.bias, training=True)

        def work(forward: Callable[[], torch.Tensor], gradient: torch.Tensor = gradient) -> Callable[[], None]:
            return lambda: forward().backward(gradient)

        works = {"ours": work(ours), "rows": work(rows), "theirs": work(theirs)}
        times = seconds(works, rounds=50, warmup=10)
        ratios = (f"{times[name] / times['theirs']:.2f}" for name in ("ours", "rows"))
        table.add_row("x".join(map(str, shape)), *ratios)
    Console(width=130).print(table)


if __name__ == "__main__":
    main()
