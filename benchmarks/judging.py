"""Judging networks with norms folded into convolutions, against the same without.

Random networks of a recipe's space with random weights, on random images; the ratio of the times, measured in turn in
one process, and the largest difference of the losses.
Run: python benchmarks/judging.py [--recipe recipes/demo.toml] [--networks N] [--images N]
"""

from __future__ import annotations

import argparse
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from anybudget.architecture import Architecture
from anybudget.data import DataSettings, from_tensors
from anybudget.evaluation.evaluator import SubnetEvaluator
from anybudget.evaluation.settings import EvaluatorSettings
from anybudget.nets import build_supernet
from anybudget.nets.blocks import channels_last
from anybudget.recipe import load_recipe
from measure import machine, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", type=Path, default=Path("recipes/demo.toml"))
    parser.add_argument("--networks", type=int, default=8)
    parser.add_argument("--images", type=int, default=2048, help="validation images; a quarter as many calibrate")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    space = load_recipe(arguments.recipe).build_space()
    images = torch.randint(0, 256, (4 * arguments.images, *space.input_shape), dtype=torch.uint8)
    labels = torch.arange(len(images)) % space.classes
    data = from_tensors(images, labels, settings=DataSettings(validation_fraction=0.25, test_fraction=0.25))
    settings = EvaluatorSettings(arguments.images // 4)
    evaluator = SubnetEvaluator(channels_last(build_supernet(space)).eval(), data, settings)
    rng = np.random.default_rng(0)
    networks = list(dict.fromkeys(space.sample(rng) for _ in range(arguments.networks)))
    losses: dict[str, list[float]] = {}

    def judge(name: str) -> None:
        losses[name] = _losses(evaluator, networks)

    def plain() -> None:
        with patch("anybudget.evaluation.evaluator.fold_norms"):
            judge("plain")

    found = seconds({"folded": lambda: judge("folded"), "plain": plain}, rounds=arguments.rounds, warmup=1)
    difference = max(abs(a - b) for a, b in zip(losses["folded"], losses["plain"], strict=True))
    table = Table("networks", "images", "folded / plain", "largest difference of losses")
    table.title = f"judging ({arguments.recipe.stem}, {machine()})"
    ratio = f"{found['folded'] / found['plain']:.2f}"
    table.add_row(str(len(networks)), str(evaluator.images), ratio, f"{difference:.1e}")
    Console(width=110).print(table)


def _losses(evaluator: SubnetEvaluator, networks: list[Architecture]) -> list[float]:
    return [metrics.loss for metrics in evaluator.scores(networks).values()]


if __name__ == "__main__":
    main()
