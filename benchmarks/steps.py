"""One training step of a path and of the generator against what they replace, on SGNAS's CIFAR-sized net.

Table 6 widths, strides 1, 2, 2, 1, 2, 1, 32x32 images, batch 32. Each ratio compares medians of workloads that run in
turn in one process. Run: python benchmarks/steps.py
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional as F

from anybudget.generator.network import gumbel_softmax
from anybudget.nets import UnifiedSupernet
from anybudget.nets.blocks import channels_last
from anybudget.spaces import UnifiedSettings, UnifiedSpace, stages
from anybudget.testing import explicit_mixture
from measure import machine, peak_bytes, seconds

WIDTHS = [(32, 2, 1), (40, 4, 2), (80, 4, 2), (96, 4, 1), (192, 4, 2), (320, 1, 1)]
BATCH = 32


def space() -> UnifiedSpace:
    return UnifiedSpace(
        UnifiedSettings(
            input_size=32,
            input_channels=3,
            classes=100,
            stem_width=32,
            stem_stride=1,
            first_width=16,
            stages=stages(*WIDTHS),
            head_width=1280,
        )
    )


def training_step(
    network: nn.Module, forward: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor
) -> Callable[[], None]:
    optimiser = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9, weight_decay=4e-5)

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        F.cross_entropy(forward(images), labels).backward()
        optimiser.step()

    return step


def path_step(supernet: UnifiedSupernet, images: Tensor, labels: Tensor, paths: int) -> list[tuple[str, float]]:
    """A path's training step over that of the same network standing alone, in its faster memory format."""
    supernet.train()
    rng = np.random.default_rng(0)
    ratios = []
    for _ in range(paths):
        architecture = supernet.space.sample(rng)
        flat = supernet.extract(architecture).train()
        last = channels_last(supernet.extract(architecture).train())
        contiguous = images.contiguous()
        times = seconds(
            {
                "path": training_step(supernet, partial(supernet, path=architecture), images, labels),
                "alone, contiguous": training_step(flat, flat, contiguous, labels),
                "alone, channels last": training_step(last, last, images, labels),
            }
        )
        ratios.append(times["path"] / min(times["alone, contiguous"], times["alone, channels last"]))
    return [("path training step / the network alone: time", float(np.median(ratios)))]


def generator_step(supernet: UnifiedSupernet, images: Tensor, labels: Tensor) -> list[tuple[str, float]]:
    """The merged mixture's forward and backward over running every operation, both with the weights frozen."""
    supernet.eval().requires_grad_(False)
    draws = torch.Generator().manual_seed(0)
    logits = torch.randn(len(supernet.space.decisions), 80, generator=draws).log_softmax(-1)
    rows = []
    for mode, statistics in (("running", False), ("batch", True)):
        relaxed = supernet.relaxed().train(statistics)
        works = {
            "merged": mixture_step(logits, images, labels, relaxed),
            "every operation": mixture_step(
                logits, images, labels, partial(explicit_mixture, supernet, batch_statistics=statistics)
            ),
            "one convolution per kernel size": mixture_step(
                logits, images, labels, partial(explicit_mixture, supernet, batch_statistics=statistics, joined=True)
            ),
        }
        times = seconds(works, rounds=5, warmup=1)
        peaks = {name: peak_bytes(work) for name, work in works.items()}
        for name in list(works)[1:]:
            what = f"generator step ({mode} statistics) / {name}"
            rows.append((f"{what}: time", times["merged"] / times[name]))
            rows.append((f"{what}: peak memory", peaks["merged"] / peaks[name]))
    return rows


def mixture_step(
    logits: Tensor, images: Tensor, labels: Tensor, forward: Callable[[Tensor, Tensor], Tensor]
) -> Callable[[], None]:
    """One forward and backward of a mixture, down to the logits."""
    draws = torch.Generator().manual_seed(0)

    def step() -> None:
        leaf = logits.clone().requires_grad_()
        sample = gumbel_softmax(leaf, 1.0, hard=False, generator=draws)
        F.cross_entropy(forward(images, sample), labels).backward()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--paths", type=int, default=5, help="random paths to measure")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    supernet = channels_last(UnifiedSupernet(space()))
    images = torch.randn(BATCH, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(0, 100, (BATCH,))
    table = Table("ratio", "measured", "at most", title=f"steps ({machine()})", title_justify="left")
    targets = {"the network alone: time": "1.05", "operation: time": "0.4", "operation: peak memory": "0.6"}
    for name, ratio in [
        *path_step(supernet, images, labels, arguments.paths),
        *generator_step(supernet, images, labels),
    ]:
        target = next((value for key, value in targets.items() if name.endswith(key)), "")
        table.add_row(name, f"{ratio:.3f}", target)
    Console(width=130).print(table)


if __name__ == "__main__":
    main()
