"""Evaluating many paths with common starts computed once, against one by one.

On the NAS-Bench-Macro supernet at its own widths: GreedyNAS's 10 random paths, a population as evolution has it (fifty
children of ten parents), and all 3,969 canonical networks. Wall-clock ratios, measured in turn in one process.
Run: python benchmarks/prefixes.py [--images N]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from anybudget.architecture import Architecture
from anybudget.nets import Supernet, build_supernet
from anybudget.nets.blocks import channels_last
from anybudget.nets.prefix_tree import build_prefix_tree, forward_many
from anybudget.spaces import SPACES, SearchSpace
from measure import machine, seconds


def population(space: SearchSpace, rng: np.random.Generator) -> list[Architecture]:
    """Fifty children of ten parents, half by crossover and half by mutation (SPOS Algorithm 1)."""
    parents = [space.sample(rng) for _ in range(10)]
    found: dict[Architecture, None] = {}
    while len(found) < 50:
        first, second = (parents[int(index)] for index in rng.integers(10, size=2))
        child = space.crossover(first, second, rng) if len(found) % 2 else space.mutate(first, rng, 0.1)
        found[child] = None
    return list(found)


def one_by_one(supernet: Supernet, paths: Sequence[Architecture], x: torch.Tensor) -> list[torch.Tensor]:
    with torch.no_grad():
        return [supernet(x, path) for path in paths]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=8, help="images in the batch")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    kind = SPACES["nas-bench-macro"]
    space = kind(kind.settings_type())  # type: ignore[call-arg]
    supernet = channels_last(build_supernet(space)).eval()
    x = torch.randn(arguments.images, *space.input_shape).contiguous(memory_format=torch.channels_last)
    rng = np.random.default_rng(0)
    sets = {
        "10 random paths": [space.sample(rng) for _ in range(10)],
        "a population of 50": population(space, rng),
        "all canonical networks": list(space.enumerate()),
    }
    table = Table("paths", "blocks run / one by one", "largest difference", "speed-up", "at least")
    table.title = f"many paths at once ({machine()}, {arguments.images} images)"
    for name, paths in sets.items():
        works = {
            "together": partial(forward_many, supernet, paths, x),
            "alone": partial(one_by_one, supernet, paths, x),
        }
        rounds = 7 if len(paths) < 100 else 1
        found = seconds(works, rounds=rounds, warmup=1 if rounds > 1 else 0)
        results = [work() for work in works.values()] if rounds > 1 else None
        difference = max(float((a - b).abs().max()) for a, b in zip(*results, strict=True)) if results else None
        blocks = sum(node.count() for node in build_prefix_tree(supernet, paths)) / sum(
            len(supernet.steps(p)) for p in paths
        )
        target = "3" if name.startswith("all") else ""
        table.add_row(
            f"{len(paths):,}: {name}",
            f"{blocks:.2f}",
            "" if difference is None else f"{difference:.1e}",
            f"{found['alone'] / found['together']:.2f}",
            target,
        )
    Console(width=130).print(table)


if __name__ == "__main__":
    main()
