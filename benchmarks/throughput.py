"""What training ImageNet's supernet takes: images a second measured here, and what follows for the paper's 50 epochs.

Trains a few steps of SGNAS's own supernet (224 pixels, 19 layers) and of a generator's mixture of it on random images,
and counts what a path computes and how many bytes of gradients processes have to average in a step. The hours of 50
epochs follow by a model whose assumptions are printed below the table.
Run: python benchmarks/throughput.py [--device cuda] [--images 4] [--steps 3] [--precision 32-true,bf16-mixed]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import median

import numpy as np
import torch
from lightning_fabric import Fabric
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional as F

from anybudget.costs import build_costs
from anybudget.nets import Supernet, build_network, build_supernet
from anybudget.nets.blocks import channels_last
from anybudget.recipe import load_recipe
from anybudget.training.graphs import GraphedForward
from anybudget.training.samplers import uniform_path
from fashion import ROOT
from measure import machine, seconds

IMAGES, EPOCHS = 1_281_167 * 0.95, 50
"""ImageNet's training images but for the validation part of the recipe; epochs of SGNAS's supernet."""
ASSUMED = (500.0, 1_000.0, 2_000.0)
"""Images a second that a GPU trains, where none is here to measure it."""
BYTES_PER_SECOND = 5e9
"""Assumed speed at which 8 GPUs of one machine average gradients."""
GLOBAL_BATCH = 1_024


@dataclass(frozen=True)
class Measured:
    """Images a second of a path's and of a generator's step, and what a path computes and sends."""

    paths: float
    mixtures: float
    macs: float
    gradient_bytes: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--images", type=int, default=4, help="in a batch of paths; a mixture has a quarter as many")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--precision", default="32-true", help="one or several, with commas between")
    arguments = parser.parse_args()
    console = Console(width=120)
    where = torch.cuda.get_device_name() if arguments.device == "cuda" else "CPU"
    console.print(f"measured ({where}, {machine()}), batches of {arguments.images} images of 224 pixels:")
    found: dict[str, Measured] = {}
    for precision in arguments.precision.split(","):
        found[precision] = figures = measured(arguments.device, precision, arguments.images, arguments.steps)
        console.print(
            f"{precision}: {figures.paths:,.1f} images/s for a path of {figures.macs / 1e6:.0f} M MACs on average, "
            f"{figures.mixtures:,.1f} images/s for a generator's mixture; gradients of a path "
            f"{figures.gradient_bytes / 1e6:.1f} MB"
        )
    if arguments.device == "cuda":
        console.print(f"retraining a network of the demo, as a graph / kernel by kernel: {graphed():.2f} of the time")
    console.print(hours_table({key: figures.paths for key, figures in found.items()}, where, found))
    console.print(
        f"Assumed: averaging at {BYTES_PER_SECOND / 1e9:.0f} GB/s, not hidden behind computing; a global batch of "
        f"{GLOBAL_BATCH}; data that arrive in time."
    )


def measured(device: str, precision: str, count: int, steps: int) -> Measured:
    """Median images a second; every path is another one."""
    fabric = Fabric(accelerator=device, devices=1, precision=precision)  # type: ignore[arg-type]
    space = load_recipe(ROOT / "recipes" / "sgnas-imagenet.toml").build_space()
    supernet = channels_last(build_supernet(space)).to(fabric.device)
    macs = build_costs(space, ("macs",))["macs"].cost
    rng, work, sent = np.random.default_rng(0), [], []
    optimiser = torch.optim.SGD(supernet.parameters(), lr=1e-3, momentum=0.9)

    def path_step(images: Tensor, labels: Tensor) -> None:
        path = uniform_path(space, rng)
        optimiser.zero_grad(set_to_none=True)
        with fabric.autocast():
            loss = F.cross_entropy(supernet(images, path).float(), labels)
        loss.backward()
        work.append(macs(space.canonical(path)))
        sent.append(sum(p.grad.numel() * 4 for p in supernet.parameters() if p.grad is not None))
        optimiser.step()

    paths = images_per_second(path_step, fabric, count, steps)
    mixtures = images_per_second(mixture_step(supernet, fabric), fabric, max(1, count // 4), steps)
    return Measured(paths, mixtures, float(np.mean(work)), float(np.mean(sent)))


def mixture_step(supernet: Supernet, fabric: Fabric) -> Callable[[Tensor, Tensor], None]:
    """A forward of the frozen supernet's mixture, and its backward down to the probabilities."""
    relaxed = supernet.eval().requires_grad_(False).relaxed().train()
    choices = [len(decision.choice_names) for decision in supernet.space.decisions]
    logits = torch.zeros(len(choices), max(choices), device=fabric.device)

    def step(images: Tensor, labels: Tensor) -> None:
        leaf = logits.clone().requires_grad_()
        with fabric.autocast():
            loss = F.cross_entropy(relaxed(images, leaf.softmax(-1)).float(), labels)
        loss.backward()

    return step


def graphed() -> float:
    """Time of a step of one network of the demo's space, launched as a CUDA graph, over the same launched as it is."""
    recipe = load_recipe(ROOT / "recipes" / "demo.toml")
    space, batch = recipe.build_space(), recipe.retrain.batch_size
    network = channels_last(build_network(space.block_specs(space.sample(np.random.default_rng(0))))).cuda().train()
    images = torch.randn(batch, *space.input_shape, device="cuda").contiguous(memory_format=torch.channels_last)
    labels = torch.arange(batch, device="cuda") % space.classes
    optimiser = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9)

    def step(forward: Callable[[Tensor], Tensor]) -> None:
        optimiser.zero_grad(set_to_none=True)
        F.cross_entropy(forward(images), labels).backward()
        optimiser.step()
        torch.cuda.synchronize()

    times = seconds({"graph": partial(step, GraphedForward(network)), "kernels": partial(step, network)}, rounds=30)
    return times["graph"] / times["kernels"]


def images_per_second(step: Callable[[Tensor, Tensor], None], fabric: Fabric, count: int, steps: int) -> float:
    """Median over `steps`, after two that are not counted; on the CPU by processor time, whatever else it does."""
    images = torch.randn(count, 3, 224, 224, device=fabric.device).contiguous(memory_format=torch.channels_last)
    labels = torch.arange(count, device=fabric.device)
    clock = time.perf_counter if fabric.device.type == "cuda" else time.process_time
    taken = []
    for _ in range(steps + 2):
        started = clock()
        step(images, labels)
        if fabric.device.type == "cuda":
            torch.cuda.synchronize()
        taken.append(clock() - started)
    return count / median(taken[2:])


def hours_table(rates: dict[str, float], where: str, found: dict[str, Measured]) -> Table:
    """Hours of all epochs: here, as measured, and on GPUs, as measured if this is one, else at assumed rates."""
    table = Table("where", "images/s each", "hours", title=f"{EPOCHS} epochs of ImageNet", title_justify="left")
    for precision, rate in rates.items():
        table.add_row(f"{where}, {precision}", f"{rate:,.1f}, measured", f"{IMAGES * EPOCHS / rate / 3600:,.1f}")
    gradients = next(iter(found.values())).gradient_bytes
    steps = IMAGES * EPOCHS / GLOBAL_BATCH
    known = [] if where == "CPU" else [max(rates.values())]
    for gpus in (1, 8, 32):
        for rate in known or ASSUMED:
            averaging = steps * gradients / BYTES_PER_SECOND if gpus > 1 else 0.0
            hours = (IMAGES * EPOCHS / rate / gpus + averaging) / 3600
            source = "measured on one" if known else "assumed"
            table.add_row(f"{gpus} GPU{'s' if gpus > 1 else ''}", f"{rate:,.0f}, {source}", f"{hours:,.1f}")
    return table


if __name__ == "__main__":
    main()
