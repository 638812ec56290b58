"""MobileNetV2 scaled to the cost of a search's answers, trained like them: one operation everywhere, narrower widths.

The widest network that costs no more than the budget and a hundredth, all widths times one factor and rounded up or
down; trained once for each seed as the recipe retrains. It stands beside what benchmarks/worth.py gives for the recipe.
Run: python benchmarks/mobilenet.py [--recipe R] [--budget 1.45M] [--seeds 3] [--workers N] [--set KEY=VALUE]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from itertools import product
from math import ceil, floor
from pathlib import Path

import numpy as np

from anybudget.architecture import Architecture
from anybudget.budgets import BudgetSet
from anybudget.cli.terminal import RichProgress
from anybudget.costs import build_costs
from anybudget.recipe import Recipe, load_recipe
from anybudget.runs.run import Run
from anybudget.spaces import SearchSpace
from anybudget.spaces.mbconv import MBConvSettings
from anybudget.storage.files import write_whole
from anybudget.zoo.searched import MOBILENETV2_OPERATION as OPERATION
from fashion import ROOT


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", type=Path, default=ROOT / "recipes" / "photographs" / "cifar10-mbconv.toml")
    parser.add_argument("--budget", default="macs<=1.45M")
    parser.add_argument("--out", type=Path, help="runs/bench-mobilenet-RECIPE if not given")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    arguments = parser.parse_args()
    out = arguments.out or ROOT / "runs" / f"bench-mobilenet-{arguments.recipe.stem}"
    recipe = scaled(
        load_recipe(arguments.recipe, arguments.overrides), BudgetSet.parse(arguments.budget).limits()["macs"]
    )
    found = []
    for seed in range(arguments.seeds):
        run = Run.create(recipe.model_copy(update={"seed": seed}), out.with_name(f"{out.name}-{seed}"), RichProgress())
        run.workers = arguments.workers
        found.append(run.retrain(same_everywhere(run.space)))
    top1 = np.array([result["test_top1_percent"] for result in found])
    error = top1.std(ddof=1) / len(top1) ** 0.5 if len(top1) > 1 else float("nan")
    record = {"macs": found[0]["costs"]["macs"], "test_top1_percent": top1.tolist(), "widths": widths(recipe)}
    write_whole(out.with_name(f"{out.name}.json"), json.dumps(record, indent=2).encode())
    print(f"{record['macs']:,.0f} MACs, widths {record['widths']}: {top1.mean():.2f} ± {error:.2f}% of test images")


def scaled(recipe: Recipe, limit: float) -> Recipe:
    """The recipe with stem and stages scaled alike, rounded up or down: the costliest within 1.01 times the limit."""
    whole, fitting = widths(recipe), {}
    for factor in np.linspace(1.0, 0.2, 81):
        for up in product((False, True), repeat=len(whole)):
            wanted = [
                max(1, ceil(w * factor) if above else floor(w * factor)) for w, above in zip(whole, up, strict=True)
            ]
            candidate = with_widths(recipe, wanted)
            space = candidate.build_space()
            cost = build_costs(space, ("macs",))["macs"].cost(same_everywhere(space))
            if cost <= 1.01 * limit:
                fitting[cost] = candidate
        if fitting:
            return fitting[max(fitting)]
    raise SystemExit(f"no network of {OPERATION} alone costs {limit:,.0f} MACs; give a greater --budget")


def with_widths(recipe: Recipe, wanted: Sequence[int]) -> Recipe:
    space = layered(recipe)
    stages = [stage.model_copy(update={"width": width}) for stage, width in zip(space.stages, wanted[1:], strict=True)]
    narrow = space.model_copy(update={"stem_width": wanted[0], "stages": tuple(stages)})
    return recipe.model_copy(update={"space": narrow})


def same_everywhere(space: SearchSpace) -> Architecture:
    """The network that has the operation in every layer."""
    return Architecture(space.name, tuple(decision.choice_names.index(OPERATION) for decision in space.decisions))


def widths(recipe: Recipe) -> list[int]:
    space = layered(recipe)
    return [space.stem_width, *(stage.width for stage in space.stages)]


def layered(recipe: Recipe) -> MBConvSettings:
    if not isinstance(recipe.space, MBConvSettings):
        raise SystemExit(f"{recipe.name}: its space has no {OPERATION}; take a recipe of the space mbconv")
    return recipe.space


if __name__ == "__main__":
    main()
