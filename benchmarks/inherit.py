"""What the supernet's weights are worth as a start: networks trained on from them, and trained from new weights.

Each seed is a run in OUT-SEED, whose supernet is searched for the last budget of the recipe. The answer and random
networks of its cost are trained both ways with the same schedule, for each number of epochs, and a third time from what
the trial of `retrain.inherit = "try"` says; what has been trained is kept, so a stopped benchmark resumes. The result
is written to OUT-inherit.json.
Run: python benchmarks/inherit.py [--recipe R] [--seeds 3] [--random 2] [--epochs 1,8] [--set KEY=VALUE]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from anybudget.architecture import Architecture
from anybudget.cli.terminal import RichProgress
from anybudget.recipe import load_recipe
from anybudget.recipe.trainings import Inherit
from anybudget.runs.answers import read_answers
from anybudget.runs.run import Run
from anybudget.storage.files import write_whole
from experiments.base import spread
from experiments.keeping import kept
from fashion import ROOT

STARTS: dict[str, Inherit] = {"new weights": False, "the supernet's": True, "what a trial says": "try"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", type=Path, default=ROOT / "recipes" / "demo.toml")
    parser.add_argument("--out", type=Path, help="runs/bench-inherit-RECIPE if not given")
    parser.add_argument("--seeds", type=int, default=3, help="runs, each with a supernet of its own")
    parser.add_argument("--random", type=int, default=2, help="random networks of each run")
    parser.add_argument("--epochs", default="", help="of a training, such as 1,8; the recipe's if not given")
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    arguments = parser.parse_args()
    out = arguments.out or ROOT / "runs" / f"bench-inherit-{arguments.recipe.stem}"
    recipe = load_recipe(arguments.recipe, arguments.overrides)
    epochs = [int(text) for text in arguments.epochs.split(",") if text] or [recipe.retrain.epochs]
    runs = [measured(arguments, out.with_name(f"{out.name}-{seed}"), seed, epochs) for seed in range(arguments.seeds)]
    path = out.with_name(f"{out.name}-inherit.json")
    write_whole(path, json.dumps(runs, indent=1).encode())
    Console(width=140).print(summary(f"{arguments.recipe.stem}: test top-1, %, {len(runs)} runs", runs, epochs))
    print(f"written to {path}")


def measured(arguments: argparse.Namespace, path: Path, seed: int, epochs: Sequence[int]) -> list[dict[str, Any]]:
    """Test top-1 in percent of the answer and of random networks of a run, for each start and number of epochs."""
    recipe = load_recipe(arguments.recipe, [*arguments.overrides, f"seed={seed}"])
    run = Run.create(recipe, path, RichProgress())
    if not run.folder.finished("supernet"):
        run.train_supernet()
    if recipe.strategy.needs_generator and not run.folder.finished("generator"):
        run.train_generator()
    budgets = recipe.budget_sets()[-1]
    if budgets not in dict(read_answers(run.context)):
        run.generate([budgets], race=False)
    answer = dict(read_answers(run.context))[budgets]
    feasible = run.strategy("random").feasible(budgets)
    drawn = feasible.sample(arguments.random, np.random.default_rng([seed, 1]))
    networks = {"answer": [answer.architecture], "random": list(drawn)}

    def trained(network: Architecture, inherit: Inherit, count: int) -> dict[str, Any]:
        result = run.retrain(network, inherit=inherit, epochs=count)
        return {key: result[key] for key in ("test_top1_percent", "inherited", "tried") if key in result}

    return [
        {"kind": kind, "network": network.to_dict(), "start": start, "epochs": count}
        | kept(run, f"{network.short_id}-{inherit}-{count}", partial(trained, network, inherit, count))
        for kind, found in networks.items()
        for network in found
        for count in epochs
        for start, inherit in STARTS.items()
    ]


def summary(title: str, runs: Sequence[Sequence[dict[str, Any]]], epochs: Sequence[int]) -> Table:
    """Means over runs, the gain of the supernet's weights over new ones, and how often the trial chose the better."""
    table = Table("networks", "epochs", *STARTS, "gain of the supernet's", "trial was right", title=title)
    for kind in ("answer", "random"):
        for count in epochs:
            means = [[_mean(run, kind=kind, start=start, epochs=count) for run in runs] for start in STARTS]
            gains = [inherited - new for new, inherited, _ in zip(*means, strict=True)]
            right = _right(runs, kind, count)
            table.add_row(kind, str(count), *map(spread, means), spread(gains), f"{sum(right)} of {len(right)}")
    return table


def _right(runs: Sequence[Sequence[dict[str, Any]]], kind: str, epochs: int) -> list[bool]:
    """Of each network, whether the trial took the start that it reaches more from."""
    found = []
    for run in runs:
        rows = [row for row in run if (row["kind"], row["epochs"]) == (kind, epochs)]
        for i in range(0, len(rows), len(STARTS)):  # the starts of a network are next to each other
            new, inherited, tried = rows[i : i + len(STARTS)]
            found.append(tried["inherited"] == (inherited["test_top1_percent"] > new["test_top1_percent"]))
    return found


def _mean(run: Sequence[dict[str, Any]], **which: object) -> float:
    rows = [row for row in run if all(row[key] == value for key, value in which.items())]
    return float(np.mean([row["test_top1_percent"] for row in rows]))


if __name__ == "__main__":
    main()
