"""What the searches of a recipe are worth, over several seeds: whole runs, trained comparisons, pooled.

Each seed is a whole run in OUT-SEED; then its answers and random networks of their cost are trained alone and alike.
The figures of all runs are pooled: answers averaged, with errors over runs, random networks as one sample. Finished
stages and trainings are kept, so a stopped benchmark resumes where it was. The result is written to OUT-worth.json.
Run: python benchmarks/worth.py [--recipe R] [--seeds 3] [--budget B] [--random 8] [--trainings 2] [--workers N]
    [--set KEY=VALUE]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from anybudget.budgets import BudgetSet
from anybudget.cli.opening import references_of
from anybudget.cli.terminal import RichProgress
from anybudget.cli.worth import print_summaries
from anybudget.recipe import load_recipe
from anybudget.runs.answers import read_answers
from anybudget.runs.rivals import Question, asked_for
from anybudget.runs.run import Run
from anybudget.storage.files import write_whole
from anybudget.storage.records import Worth, WorthSummary
from anybudget.worth.pooling import pool
from fashion import ROOT


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", type=Path, default=ROOT / "recipes" / "demo.toml")
    parser.add_argument("--out", type=Path, help="runs/bench-worth-RECIPE if not given")
    parser.add_argument("--seeds", type=int, default=3, help="runs, each with a supernet of its own")
    parser.add_argument("--budget", action="append", default=[], dest="budgets", help="the recipe's if none is given")
    parser.add_argument("--random", type=int, help="random networks for each budget of each run; 8 if not given")
    parser.add_argument("--trainings", type=int, help="of each network; 2 if not given")
    parser.add_argument("--epochs", type=int, help="of each training; the recipe's if not given")
    parser.add_argument("--reference", action="append", default=[], dest="references", metavar="NAME=ARCH.json")
    parser.add_argument("--workers", type=int, help="processes that share out the work; one for each core if not given")
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    arguments = parser.parse_args()
    out = arguments.out or ROOT / "runs" / f"bench-worth-{arguments.recipe.stem}"
    records = [worth(arguments, out.with_name(f"{out.name}-{seed}"), seed) for seed in range(arguments.seeds)]
    pooled = pool(records)
    path = out.with_name(f"{out.name}-worth.json")
    write_whole(path, json.dumps(as_json(records, pooled), indent=2).encode())
    print_summaries(
        f"{arguments.recipe.stem}: {records[0].metric} on test images, {len(records)} runs, each network trained "
        f"{len(records[0].seeds)} times for {records[0].epochs} epochs; mean ± standard error over runs",
        pooled,
    )
    print(f"written to {path}")


def worth(arguments: argparse.Namespace, path: Path, seed: int) -> Worth:
    """One run with all its stages, and what its search is worth."""
    recipe = load_recipe(arguments.recipe, [*arguments.overrides, f"seed={seed}"])
    run = Run.create(recipe, path, RichProgress())
    run.workers = arguments.workers
    run.run_all()
    budgets = [BudgetSet.parse(text, run.costs) for text in arguments.budgets] or recipe.budget_sets()
    answered = dict(read_answers(run.context))
    missing = [budget_set for budget_set in budgets if budget_set not in answered]
    if missing:
        run.generate(missing)
    settings = asked_for(recipe.worth, random=arguments.random, seeds=arguments.trainings, epochs=arguments.epochs)
    return run.worth(Question(settings, budgets, references=references_of(run, arguments.references)))


def as_json(records: Sequence[Worth], pooled: Sequence[tuple[BudgetSet, WorthSummary]]) -> dict[str, object]:
    """The pooled figures as plain data, and those of each run."""
    return {
        "metric": records[0].metric,
        "epochs": records[0].epochs,
        "runs": len(records),
        "trainings": len(records[0].seeds),
        "pooled": [{"budgets": budgets.limits(), "summary": found.to_json()} for budgets, found in pooled],
        "worth": [record.to_json() for record in records],
    }


if __name__ == "__main__":
    main()
