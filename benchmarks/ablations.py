"""GreedyNAS's Table 4 on plain images, by the recipes in recipes/ablations.

Trains the supernet of every recipe (kept in runs/bench-ablation-*) and asks it for the top-1 of the same random
networks, with norms calibrated for each network and with the running statistics that all paths share. The supernets are
searched by NSGA-II under one budget, too.
Run: python benchmarks/ablations.py [--epochs N] [--only greedynas-table4]
"""

from __future__ import annotations

import argparse
from statistics import mean

import numpy as np
from rich.console import Console
from rich.table import Table

from anybudget.budgets import BudgetSet
from anybudget.cli.terminal import RichProgress
from anybudget.decoding.feasible import FeasibleSampler
from anybudget.evaluation.evaluator import Evaluator
from anybudget.evaluation.settings import EvaluatorSettings
from anybudget.recipe import load_recipe
from anybudget.runs.run import Run
from fashion import ROOT
from measure import machine

RANDOM = 100
BUDGET = BudgetSet.parse("macs<=400k")
FAMILIES = ("greedynas-table4",)


def open_run(name: str, epochs: int | None) -> Run:
    overrides = [f"supernet.epochs={epochs}"] if epochs else []
    recipe = load_recipe(ROOT / "recipes" / "ablations" / f"{name}.toml", overrides)
    run = Run.create(recipe, ROOT / "runs" / f"bench-ablation-{name}", RichProgress())
    if not run.folder.finished("supernet"):
        run.train_supernet()
    return run


def row(run: Run, searched: bool) -> list[str]:
    """Top-1 of random networks of all sizes, calibrated and by running statistics; of NSGA-II's best if asked for."""
    drawn = FeasibleSampler(run.space, run.costs, BudgetSet.parse("macs<=900k")).sample(
        RANDOM, np.random.default_rng(0)
    )
    figures = []
    for evaluator in (run.evaluator, Evaluator(run.supernet, run.data, EvaluatorSettings(calibration_images=0))):
        scores = [score.top1_percent for score in evaluator.scores(drawn)]
        figures.append(f"{mean(scores):.2f}% ({min(scores):.2f} to {max(scores):.2f}%)")
    if not searched:
        return [*figures, ""]
    path = run.folder.path / "search" / "nsga2.jsonl"
    if not path.exists():
        run.search_with("nsga2", [BUDGET])
    (found,) = run.folder.read_lines("search/nsga2.jsonl")
    return [*figures, f"{found['supernet_top1_percent']:.2f}%"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, help="of every supernet; the recipes' if not given")
    parser.add_argument("--only", choices=FAMILIES)
    arguments = parser.parse_args()
    table = Table(
        "recipe",
        "calibrated: mean (worst to best)",
        "running statistics: mean (worst to best)",
        f"NSGA-II, {BUDGET}",
        title=f"ablations, one seed, top-1 of {RANDOM} random networks ({machine()})",
        title_justify="left",
    )
    for family in [arguments.only] if arguments.only else FAMILIES:
        for path in sorted((ROOT / "recipes" / "ablations").glob(f"{family}-*.toml")):
            run = open_run(path.stem, arguments.epochs)
            table.add_row(path.stem, *row(run, family == "greedynas-table4"))
    Console(width=130).print(table)


if __name__ == "__main__":
    main()
