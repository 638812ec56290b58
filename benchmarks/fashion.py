"""The fashion recipe over several seeds: supernet scores of generated and random architectures at the same budgets.

Each seed is a whole run in runs/bench-fashion-SEED. Finished stages are kept, so a stopped benchmark resumes.
What the networks are worth when they are trained is measured by benchmarks/worth.py.
Run: python benchmarks/fashion.py [--seeds 3] [--set KEY=VALUE]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.stats import kendalltau

from anybudget.budgets import least_unused_percent
from anybudget.cli.terminal import RichProgress
from anybudget.recipe import load_recipe
from anybudget.runs.run import Run

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--recipe", type=Path, default=ROOT / "recipes" / "fashion.toml")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "bench-fashion")
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    arguments = parser.parse_args()
    runs = []
    for seed in range(arguments.seeds):
        recipe = load_recipe(arguments.recipe, [*arguments.overrides, f"seed={seed}"])
        run = Run.create(recipe, arguments.out.with_name(f"{arguments.out.name}-{seed}"), RichProgress())
        run.run_all()
        runs.append(run)
    report(runs)


def report(runs: list[Run]) -> None:
    """Print the table of means and standard errors over the runs, and what the scores must show."""
    console = Console(width=130)
    budgets = [next(iter(budget_set)).limit for budget_set in runs[0].recipe.budget_sets()]
    found = [run.folder.read_lines("candidates.jsonl")[: len(budgets)] for run in runs]
    generated = np.array([[row["supernet_top1_percent"] for row in rows] for rows in found])
    used = np.array([[row["costs"]["macs"] for row in rows] for rows in found])
    unused = np.array([[least_unused_percent(row["budgets"], row["costs"]) for row in rows] for rows in found])
    scores = [
        [
            [
                row["supernet_top1_percent"]
                for row in run.folder.read_lines("random.jsonl")
                if row["budgets"]["macs"] == b
            ]
            for b in budgets
        ]
        for run in runs
    ]
    best, mean, worst = (np.array([[f(s) for s in rows] for rows in scores]) for f in (max, np.mean, min))
    columns = ("budget (MACs)", "unused", "generated", "random best", "random mean", "random worst", "gain over mean")
    table = Table(*columns, title=f"supernet top-1 in percent, mean ± standard error of {len(runs)} seeds")
    for i, budget in enumerate(budgets):
        table.add_row(
            f"{budget:,.0f}",
            f"{unused[:, i].mean():.2f}%",
            *(spread(values[:, i]) for values in (generated, best, mean, worst, generated - mean)),
        )
    console.print(table)
    taus = [kendalltau(budgets, row).statistic for row in generated]
    console.print(f"violations: {int((used > np.array(budgets)).sum())}")
    console.print(f"mean unused share of the tightest budget: {unused.mean():.2f}%")
    of_mean = kendalltau(budgets, generated.mean(0)).statistic
    console.print(
        f"Kendall tau of budget and generated top-1: of the mean {of_mean:.2f}; "
        f"by seed {', '.join(f'{tau:.2f}' for tau in taus)} (mean {np.mean(taus):.2f})"
    )
    console.print(f"generated minus random best, mean over budgets: {spread((generated - best).mean(1))}")
    for run in runs:
        stages = json.loads((run.folder.path / "stages.json").read_text())
        tests = [
            json.loads(path.read_text())["test_top1_percent"] for path in run.folder.path.glob("retrain/*/result.json")
        ]
        seconds = ", ".join(f"{name} {stage['seconds']:.0f} s" for name, stage in stages.items())
        total = sum(stage["seconds"] for stage in stages.values())
        console.print(f"seed {run.recipe.seed}: {seconds}; {total:.0f} s in all; retrained test top-1 {sorted(tests)}")


def spread(values: np.ndarray) -> str:
    """Mean ± standard error; one value has no error that could be told."""
    if len(values) == 1:
        return f"{values[0]:.2f}"
    return f"{values.mean():.2f} ± {values.std(ddof=1) / np.sqrt(len(values)):.2f}"


if __name__ == "__main__":
    main()
