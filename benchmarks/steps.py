"""One training step of a network, of a path and of the generator against what they replace.

On SGNAS's CIFAR-sized net (table 6 widths, strides 1, 2, 2, 1, 2, 1, 32x32 images, batch 32) and that of the demo.
Workloads run in turn in one process: steps of networks and paths, in one thread, are compared by their least processor
time, generator steps by medians. Run: python benchmarks/steps.py
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional as F

from anybudget.generator.network import gumbel_softmax
from anybudget.nets import Supernet, UnifiedSupernet, build_supernet, depthwise
from anybudget.nets.blocks import channels_last
from anybudget.nets.compiled.kernels import kernels_allowed
from anybudget.recipe import load_recipe
from anybudget.runtime.allocator import freed_memory_kept
from anybudget.spaces import UnifiedSettings, UnifiedSpace, stages
from anybudget.testing import explicit_mixture
from measure import cpu_seconds, machine, peak_bytes, seconds

DEMO = Path(__file__).parents[1] / "recipes" / "demo.toml"
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


def network_steps(name: str, supernet: Supernet, images: Tensor, labels: Tensor, paths: int) -> list[tuple[str, float]]:
    """Steps of random paths, and of the same networks standing alone, over those of PyTorch's layers.

    These are the networks standing alone, called layer by layer, in their faster memory format.
    """
    supernet.train()
    rng = np.random.default_rng(0)
    ratios: dict[str, list[float]] = {}
    for _ in range(paths):
        architecture = supernet.space.sample(rng)
        own, last, flat = (supernet.extract(architecture).train() for _ in range(3))
        channels_last(own), channels_last(last)
        works = {
            "path": training_step(supernet, partial(supernet, path=architecture), images, labels),
            "network": training_step(own, own, images, labels),
            "PyTorch's layers": by_layers(training_step(last, last, images, labels)),
            "PyTorch's layers, contiguous": by_layers(training_step(flat, flat, images.contiguous(), labels)),
        }
        with freed_memory_kept():
            times = cpu_seconds(works)
        layers = min(times["PyTorch's layers"], times["PyTorch's layers, contiguous"])
        peak = peak_bytes(works["PyTorch's layers"])
        for what in ("path", "network"):
            ratios.setdefault(f"{name}, {what} / PyTorch's layers: time", []).append(times[what] / layers)
            ratios.setdefault(f"{name}, {what} / PyTorch's layers: memory", []).append(peak_bytes(works[what]) / peak)
    return [(what, float(np.median(values))) for what, values in ratios.items()]


def by_layers(step: Callable[[], None]) -> Callable[[], None]:
    """The same step with PyTorch's own operators alone."""

    def plain() -> None:
        with kernels_allowed(False), patch.object(depthwise, "gains", return_value=False):
            step()

    return plain


def demo() -> tuple[Supernet, Tensor, Tensor]:
    """The supernet of recipes/demo.toml, with a batch of images and labels."""
    recipe = load_recipe(DEMO)
    supernet, settings = build_supernet(recipe.build_space()), recipe.space
    images = torch.randn(recipe.retrain.batch_size, settings.input_channels, settings.input_size, settings.input_size)
    return channels_last(supernet), images, torch.randint(0, settings.classes, (len(images),))


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
    targets = {"layers: time": "0.7", "operation: time": "0.4", "operation: peak memory": "0.6"}
    small, few, classes = demo()
    for name, ratio in [
        *network_steps("demo", small, few.contiguous(memory_format=torch.channels_last), classes, arguments.paths),
        *network_steps("CIFAR-sized", supernet, images, labels, arguments.paths),
        *generator_step(supernet, images, labels),
    ]:
        target = next((value for key, value in targets.items() if name.endswith(key)), "")
        table.add_row(name, f"{ratio:.3f}", target)
    Console(width=130).print(table)


if __name__ == "__main__":
    main()
