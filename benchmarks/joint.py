"""A step of joint training, of the generator and of a single path: time and peak memory, over those of the path.

All on the same supernet and batch, in turn in one process and one thread. A joint step is both of its halves: the
distribution's, with the weights as they are, and the weights'. That of the generator has the weights frozen for good.
Run: python benchmarks/joint.py
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import cast

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional as F

from anybudget.generator.free_distribution import FreeDistribution
from anybudget.generator.joint import DRAWS, PATHS, drawn_path
from anybudget.generator.joint_settings import DrawName
from anybudget.generator.training import MixtureLoss
from anybudget.nets import Supernet, build_supernet
from anybudget.nets.base import without_gradients
from anybudget.nets.blocks import channels_last
from anybudget.recipe import load_recipe
from anybudget.search import STRATEGIES
from anybudget.search.joint import JointStrategy
from anybudget.spaces import SearchSpace
from measure import machine, peak_bytes, seconds

RECIPES = Path(__file__).parents[1] / "recipes" / "small"
Draws = torch.Generator
JOINT = ("darts", "gdas", "fbnet", "setn")
SPACES = "unified,mbconv,nas-bench-201"


def probabilities(logits: Tensor, draw: DrawName, draws: Draws) -> Tensor:
    return DRAWS[draw](logits.log_softmax(-1), 1.0, draws)


def weights_step(net: Supernet, draw: DrawName, logits: Tensor, images: Tensor, labels: Tensor, draws: Draws) -> None:
    """Forward and backward of the weights, as joint training and that of a supernet have it."""
    drawn = probabilities(logits, draw, draws)
    net.zero_grad(set_to_none=True)
    F.cross_entropy(net(images, drawn_path(net.space, drawn) if draw in PATHS else drawn), labels).backward()


def joint_step(net: Supernet, name: str, logits: Tensor, images: Tensor, labels: Tensor, draws: Draws) -> None:
    """Both halves of a step."""
    kind, leaf = cast(type[JointStrategy], STRATEGIES[name]), logits.clone().requires_grad_()
    with without_gradients(net):
        loss = F.cross_entropy(net(images, probabilities(leaf, kind.for_architecture, draws)), labels)
    if loss.requires_grad:
        loss.backward()
    weights_step(net, kind.for_weights, logits, images, labels, draws)


def generator_step(loss: MixtureLoss, logits: Tensor, images: Tensor, labels: Tensor, draws: Draws) -> None:
    """The frozen mixture of a relaxed sample, down to the logits."""
    loss(images, labels, probabilities(logits.clone().requires_grad_(), "gumbel", draws)).backward()


def measured(space: SearchSpace, batch: int, rounds: int) -> list[tuple[str, float, float]]:
    """Of every kind of step: its time and peak memory over those of a path's."""
    torch.manual_seed(0)
    net, draws = channels_last(build_supernet(space)), torch.Generator().manual_seed(0)
    loss = MixtureLoss(net)
    net.train()
    absent = FreeDistribution(space).absent
    logits = torch.zeros(absent.shape).masked_fill(absent, -torch.inf)
    images = torch.randn(batch, *space.input_shape).contiguous(memory_format=torch.channels_last)
    given = (logits, images, torch.randint(space.classes, (batch,)), draws)
    works: dict[str, Callable[[], None]] = {
        "path": partial(weights_step, net, "uniform-path", *given),
        "generator": partial(generator_step, loss, *given),
        **{kind: partial(joint_step, net, kind, *given) for kind in JOINT},
    }
    times, peaks = seconds(works, rounds), {kind: peak_bytes(work) for kind, work in works.items()}
    return [(kind, times[kind] / times["path"], peaks[kind] / peaks["path"]) for kind in works]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spaces", default=SPACES, help="which of recipes/small")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    table = Table("space", "step", "time", "peak memory", title=f"over a path's ({machine()})", title_justify="left")
    for name in arguments.spaces.split(","):
        space = load_recipe(RECIPES / f"{name}.toml").build_space()
        for kind, time, peak in measured(space, arguments.batch, arguments.rounds):
            table.add_row(name, kind, f"{time:.2f}", f"{peak:.2f}")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
