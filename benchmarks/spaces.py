"""Size of every supernet against one block per candidate, and the time of its steps against the network alone.

The spaces are the papers' own, at small images so that a step fits two cores. "Separate" is what the searched layers
would hold with a block of its own for every candidate (SGNAS Fig. 6b). Times are ratios of medians, measured in turn in
one process. Run: python benchmarks/spaces.py [--space NAME] [--no-times]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from itertools import product

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional as F

from anybudget.costs import counts
from anybudget.nets import Supernet, build_supernet
from anybudget.nets.blocks import channels_last
from anybudget.spaces import SPACES, SearchSpace, UnifiedSettings, stages
from measure import machine, seconds

IMAGE = 64
BATCH = 16
PATHS = 3
SGNAS = {
    "stem_width": 32,
    "first_width": 16,
    "stages": stages((32, 2, 2), (40, 4, 2), (80, 4, 2), (96, 4, 1), (192, 4, 2), (320, 1, 1)),
    "head_width": 1280,
}
TARGETS = {"unified": 1 / 30}


def paper_space(name: str) -> SearchSpace:
    """The space as its paper has it, at smaller images."""
    kind = SPACES[name].settings_type
    if kind is UnifiedSettings:
        return SPACES[name](UnifiedSettings(input_size=IMAGE, input_channels=3, classes=1000, **SGNAS))  # type: ignore[arg-type]
    default = kind()  # type: ignore[call-arg]
    return SPACES[name](default.model_copy(update={"input_size": min(IMAGE, default.input_size)}))


def separate_parameters(space: SearchSpace) -> int:
    """Parameters of the searched blocks with one for every candidate; cells have one operation for each of an edge."""
    sizes = [len(decision.choices) for decision in space.decisions]
    total = 0
    for factor in space.factors:
        if not factor.decisions:
            continue
        if len(factor.decisions) <= 2:
            combinations = product(*(range(sizes[decision]) for decision in factor.decisions))
            total += sum(counts.params(factor.spec(*choices)) for choices in combinations)
        else:
            origin = [0] * len(factor.decisions)
            for place, decision in enumerate(factor.decisions):
                for choice in range(sizes[decision]):
                    total += counts.params(factor.spec(*origin[:place], choice, *origin[place + 1 :]))
    return total


def searched_parameters(supernet: Supernet) -> int:
    ends = {id(p) for end in (supernet.before, supernet.after) for p in end.parameters()}
    return sum(p.numel() for p in supernet.parameters() if id(p) not in ends)


def step(network: nn.Module, forward: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor) -> Callable[[], None]:
    optimiser = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9)

    def run() -> None:
        optimiser.zero_grad(set_to_none=True)
        F.cross_entropy(forward(images), labels).backward()
        optimiser.step()

    return run


def mixture(supernet: Supernet, images: Tensor, labels: Tensor) -> Callable[[], None]:
    relaxed = supernet.eval().relaxed().train()
    sizes = [len(decision.choices) for decision in supernet.space.decisions]
    logits = torch.full((len(sizes), max(sizes)), -torch.inf)
    for row, size in zip(logits, sizes, strict=True):
        row[:size] = torch.randn(size)

    def run() -> None:
        leaf = logits.clone().requires_grad_()
        F.cross_entropy(relaxed(images, leaf.softmax(-1)), labels).backward()

    return run


def times(supernet: Supernet, images: Tensor, labels: Tensor) -> tuple[float, float]:
    """A path's training step over that of its network alone, and a generator step over a path's."""
    ratios, mixed = [], []
    relaxed = mixture(supernet, images, labels)
    supernet.train()
    for index in range(PATHS):
        architecture = supernet.space.sample(np.random.default_rng(index))
        alone = channels_last(supernet.extract(architecture)).train()
        found = seconds(
            {
                "path": step(supernet, partial(supernet, path=architecture), images, labels),
                "alone": step(alone, alone, images, labels),
                "mixture": relaxed,
            },
            rounds=3,
            warmup=1,
        )
        ratios.append(found["path"] / found["alone"])
        mixed.append(found["mixture"] / found["path"])
    return float(np.median(ratios)), float(np.median(mixed))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--space", choices=list(SPACES), action="append", help="only this space; repeatable")
    parser.add_argument("--no-times", action="store_true", help="sizes only")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    table = Table(
        "space",
        "layers x candidates",
        "supernet params",
        "searched, per candidate",
        "searched / separate",
        "at most",
        "path step / alone",
        "generator step / path step",
        title=f"supernets ({machine()})",
        title_justify="left",
    )
    for name in arguments.space or SPACES:
        space = paper_space(name)
        supernet = channels_last(build_supernet(space))
        searched = searched_parameters(supernet)
        sizes = [len(decision.choices) for decision in space.decisions]
        channels, size, _ = space.input_shape
        images = torch.randn(BATCH, channels, size, size).contiguous(memory_format=torch.channels_last)
        labels = torch.randint(0, space.classes, (BATCH,))
        path, mixed = (None, None) if arguments.no_times else times(supernet, images, labels)
        table.add_row(
            name,
            f"{len(sizes)} x {max(sizes)}",
            f"{sum(p.numel() for p in supernet.parameters()) / 1e6:.1f} M",
            f"{searched / sum(sizes) / 1e3:.1f} k",
            f"1 / {separate_parameters(space) / searched:.1f}",
            f"1 / {1 / TARGETS[name]:.0f}" if name in TARGETS else "",
            "" if path is None else f"{path:.2f}",
            "" if mixed is None else f"{mixed:.1f}",
        )
    Console(width=150).print(table)


if __name__ == "__main__":
    main()
