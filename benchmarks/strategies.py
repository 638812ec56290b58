"""Every strategy on the fashion recipe's supernets: several budgets and seeds, what is found and what it costs.

For every seed supernet and generator are trained once (kept in runs/bench-strategies-SEED, and made anew
only where missing); each strategy then answers all budgets with an evaluator of its own. Results are kept by
strategy, so that an interrupted benchmark resumes. Differences are paired over seeds.
Run: python benchmarks/strategies.py [--seeds 3] [--strategies a,b] [--budgets recipe] [--set KEY=VALUE]
"""

from __future__ import annotations

import argparse
import json
from statistics import mean
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from anybudget.budgets import BudgetSet
from anybudget.cli.terminal import RichProgress
from anybudget.recipe import load_recipe
from anybudget.runs.run import Run
from anybudget.search.compare import compare
from fashion import ROOT, spread
from measure import machine

TEN = [f"macs<={limit}k" for limit in (170, 200, 240, 290, 350, 420, 500, 600, 730, 900)]
STRATEGIES = "refined,generator,random,linear,nsga2,evolution"


def open_run(seed: int, overrides: list[str]) -> Run:
    recipe = load_recipe(ROOT / "recipes" / "fashion.toml", [f"seed={seed}", *overrides])
    run = Run.create(recipe, ROOT / "runs" / f"bench-strategies-{seed}", RichProgress())
    for stage, work in (("supernet", run.train_supernet), ("generator", run.train_generator)):
        if not run.folder.finished(stage):
            work()
    return run


def result(run: Run, name: str, budgets: list[BudgetSet]) -> dict[str, Any]:
    """What one strategy finds for all budgets; read back where it has been measured."""
    file = f"compare/{name}-{len(budgets)}-budgets.json"
    path = run.folder.path / file
    if not path.exists():
        run.folder.write_json(file, compare([run.strategy(name)], budgets))
    (strategy,) = json.loads(path.read_text())["strategies"]
    return strategy  # type: ignore[no-any-return]


def scores(found: dict[str, Any]) -> list[float]:
    return [candidate["supernet_top1_percent"] for candidate in found["candidates"]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--strategies", default=STRATEGIES)
    parser.add_argument("--budgets", choices=("ten", "recipe"), default="ten", help="ten, or the recipe's own five")
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    arguments = parser.parse_args()
    names = arguments.strategies.split(",")
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for seed in range(arguments.seeds):
        run = open_run(seed, arguments.overrides)
        budgets = [BudgetSet.parse(text) for text in TEN] if arguments.budgets == "ten" else run.recipe.budget_sets()
        for name in names:
            found[name].append(result(run, name, budgets))
            print(f"seed {seed}: {name}: mean top-1 {mean(scores(found[name][-1])):.2f}%", flush=True)
    table = Table(
        "strategy",
        "mean top-1",
        "first minus it",
        "hypervolume",
        "evaluations",
        "images",
        "images / first's",
        "MACs / first's",
        "seconds",
        title=f"{len(budgets)} budgets, {arguments.seeds} seeds ({machine()})",
        title_justify="left",
    )
    reference = found[names[0]]
    for name in names:
        rows = found[name]
        differences = [mean(np.subtract(scores(a), scores(b))) for a, b in zip(reference, rows, strict=True)]
        spent = {key: mean(row["spent"][key] for row in rows) for key in rows[0]["spent"]}
        base = {key: mean(row["spent"][key] for row in reference) for key in rows[0]["spent"]}
        table.add_row(
            name,
            f"{mean(mean(scores(row)) for row in rows):.2f}%",
            spread(np.array(differences)),
            f"{mean(row['hypervolume'] for row in rows):.4f}",
            f"{spent['evaluations']:,.0f}",
            f"{spent['images'] / 1e6:.2f} M",
            f"{spent['images'] / base['images']:.1f}",
            f"{spent['macs'] / base['macs']:.1f}",
            f"{spent['seconds']:.0f}",
        )
    Console(width=150).print(table)


if __name__ == "__main__":
    main()
