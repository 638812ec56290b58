"""How far `anybudget estimate` is from the truth: estimates a recipe, runs it stage by stage, and compares.

Times are seconds that pass, and seconds of processors: on a machine that others use, too, only the latter compare.
Run: python benchmarks/estimate.py [RECIPE] [--out runs/bench-estimate] [--seconds 30] [--set KEY=VALUE]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table

from anybudget.cli.terminal import RichProgress
from anybudget.planning.timing import Time
from anybudget.recipe import load_recipe
from anybudget.runs.context import RunContext
from anybudget.runs.estimate import estimate
from anybudget.runs.probe import Clock
from anybudget.runs.run import Run
from anybudget.storage.run_folder import RunFolder
from fashion import ROOT

PARTS = {"search": ("search", "race")}
"""Stages of a run that an estimate has in parts."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path, nargs="?", default=ROOT / "recipes" / "demo.toml")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "bench-estimate", help="an empty or new folder")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    arguments = parser.parse_args()
    recipe = load_recipe(arguments.recipe, arguments.overrides)
    context = RunContext(RunFolder(arguments.out), recipe, RichProgress())
    context.asked_workers = arguments.workers
    expected = estimate(context, arguments.seconds).stages
    run = Run.create(recipe, arguments.out, RichProgress())
    run.workers = arguments.workers
    _ = run.data
    stages: dict[str, Callable[[], object]] = {
        "supernet": run.train_supernet,
        **({"generator": run.train_generator} if recipe.strategy.needs_generator else {}),
        "search": run.search,
        "random": run.random_baseline,
        "retrain": run.retrain_picks,
    }
    found = {}
    for name, stage in stages.items():
        clock = Clock()
        stage()
        found[name] = clock.read()
    run.report()
    Console(width=120).print(compared(expected, found))


def compared(expected: Mapping[str, Time], found: Mapping[str, Time]) -> Table:
    """Every stage as it was estimated and as it was, and the ratio of the two."""
    columns = ("stage", "estimated s", "real s", "ratio", "estimated processor s", "real processor s", "ratio")
    table = Table(*columns, title="an estimate and the truth", title_justify="left")
    rows = {name: sum((expected[part] for part in PARTS.get(name, (name,))), Time()) for name in found}
    rows["all"] = sum(rows.values(), Time())
    for name, guess in rows.items():
        real = sum(found.values(), Time()) if name == "all" else found[name]
        cells = []
        for one, other in ((guess.seconds, real.seconds), (guess.processor_seconds, real.processor_seconds)):
            cells += [f"{one:.1f}", f"{other:.1f}", f"{one / other:.2f}" if other else ""]
        table.add_row(name, *cells)
    return table


if __name__ == "__main__":
    main()
