"""What training ImageNet's supernet takes: measured per image here, and what follows for other machines.

Trains a few steps of SGNAS's own supernet (224 pixels, 19 layers) on random images, counts what a path computes and how
many bytes of gradients processes have to average in a step, and prints the hours of the paper's 50 epochs by a model
whose assumptions are in the table.
Run: python benchmarks/throughput.py [--images 4] [--steps 3]
"""

from __future__ import annotations

import argparse
import time
from statistics import median

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch.nn import functional as F

from anybudget.costs import build_costs
from anybudget.nets import build_supernet
from anybudget.nets.blocks import channels_last
from anybudget.recipe import load_recipe
from anybudget.training.samplers import uniform_path
from fashion import ROOT
from measure import machine

IMAGES, EPOCHS = 1_281_167 * 0.95, 50
"""ImageNet's training images but for the validation part of the recipe; epochs of SGNAS's supernet."""
RATES = (500.0, 1_000.0, 2_000.0)
"""Assumed images a second that one GPU trains of a network of some 330 M multiply-adds."""
BYTES_PER_SECOND = 5e9
"""Assumed speed at which 8 GPUs of one machine average gradients."""
GLOBAL_BATCH = 1_024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--steps", type=int, default=3)
    arguments = parser.parse_args()
    space = load_recipe(ROOT / "recipes" / "sgnas-imagenet.toml").build_space()
    net = channels_last(build_supernet(space)).train()
    macs = build_costs(space, ("macs",))["macs"].cost
    rng, seconds, work, sent = np.random.default_rng(0), [], [], []
    images = torch.randn(arguments.images, 3, 224, 224).contiguous(memory_format=torch.channels_last)
    labels = torch.arange(arguments.images)
    for _ in range(arguments.steps + 1):
        path = uniform_path(space, rng)
        net.zero_grad(set_to_none=True)
        started = time.perf_counter()
        F.cross_entropy(net(images, path), labels).backward()
        seconds.append((time.perf_counter() - started) / arguments.images)
        work.append(macs(space.canonical(path)))
        sent.append(sum(p.grad.numel() * 4 for p in net.parameters() if p.grad is not None))
    per_image, path_macs, gradients = median(seconds[1:]), float(np.mean(work)), float(np.mean(sent))
    console = Console(width=120)
    console.print(f"measured ({machine()}): {per_image:.2f} s a trained image, a path of {path_macs / 1e6:.0f} M MACs,")
    console.print(f"gradients of {gradients / 1e6:.1f} MB a path, to be averaged every step")
    table = Table("where", "assumed", "hours", title=f"{EPOCHS} epochs of ImageNet", title_justify="left")
    table.add_row("this machine", "as measured", f"{IMAGES * EPOCHS * per_image / 3600:,.0f}")
    steps = IMAGES * EPOCHS / GLOBAL_BATCH
    for gpus in (1, 8, 32):
        for rate in RATES:
            averaging = steps * gradients / BYTES_PER_SECOND if gpus > 1 else 0.0
            hours = (IMAGES * EPOCHS / rate / gpus + averaging) / 3600
            table.add_row(f"{gpus} GPU{'s' if gpus > 1 else ''}", f"{rate:,.0f} images/s each", f"{hours:,.1f}")
    console.print(table)
    console.print(
        f"Assumed: averaging at {BYTES_PER_SECOND / 1e9:.0f} GB/s, not hidden behind computing; a global batch of "
        f"{GLOBAL_BATCH}; data that arrive in time."
    )


if __name__ == "__main__":
    main()
