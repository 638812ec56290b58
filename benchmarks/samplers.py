"""Greedy, uniform, fair and canonical fair supernet training at equal corrected cost, on the fashion recipe's space.

Greedy training scores paths as well as training them, so it gets fewer epochs: as many as cost what the others do, by
the ratio of a trained to a scored image that is measured while it trains (GreedyNAS Table 1). `uniform`, `greedy` and
`fair-canonical` train canonical encodings alone, those that are scored; `fair` trains all. Every supernet is asked
for the best of the same random networks under three budgets; and the networks that any of them puts on top are
retrained, so that each supernet's order of them can be compared with the truth. Everything is kept in
runs/bench-samplers-*.
Run: python benchmarks/samplers.py [--seeds 3] [--truth 24]
"""

from __future__ import annotations

import argparse
import json
from statistics import mean
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from anybudget.architecture import Architecture
from anybudget.budgets import BudgetSet
from anybudget.cli.terminal import RichProgress
from anybudget.decoding.feasible import FeasibleSampler
from anybudget.evaluation.ranking import rank_correlation
from anybudget.recipe import load_recipe
from anybudget.runs.run import Run
from fashion import ROOT
from measure import machine

BUDGETS = ("macs<=240k", "macs<=400k", "macs<=700k")
RANDOM = 60
GREEDY = ["supernet.greedy.score_images=100", "supernet.greedy.pool_size=200", "supernet.greedy.window=0"]
SAMPLERS = {
    "fair": [],
    "fair-canonical": ["supernet.sampler=fair-canonical"],
    "uniform": ["supernet.sampler=uniform"],
    # 23 epochs with 20% warm-up and 5 of 10 paths kept cost about what 40 plain ones do at the paper's ratio of 3.33.
    "greedy": ["supernet.sampler=greedy", "supernet.epochs=23", *GREEDY],
}
RETRAIN_EPOCHS = 4


def open_run(sampler: str, seed: int) -> Run:
    recipe = load_recipe(ROOT / "recipes" / "fashion.toml", [f"seed={seed}", *SAMPLERS[sampler]])
    run = Run.create(recipe, ROOT / "runs" / f"bench-samplers-{sampler}-{seed}", RichProgress())
    if not run.folder.finished("supernet"):
        run.train_supernet()
    return run


def drawn(run: Run) -> list[Architecture]:
    """The same random networks for every supernet: those that use at least 90% of each budget."""
    found: list[Architecture] = []
    for text in BUDGETS:
        sampler = FeasibleSampler(
            run.space, run.costs, BudgetSet.parse(text), floor=0.9 * next(iter(BudgetSet.parse(text))).limit
        )
        found += sampler.sample(RANDOM, np.random.default_rng(0))
    return found


def top1(run: Run, architectures: list[Architecture]) -> list[float]:
    return [score.top1_percent for score in run.evaluator.scores(architectures)]


def truth(run: Run, architectures: list[Architecture]) -> list[float]:
    """Test top-1 of each network retrained on its own."""
    found = []
    for architecture in architectures:
        path = run.folder.path / "retrain" / architecture.short_id / "result.json"
        if not path.exists():
            run.retrain(architecture, epochs=RETRAIN_EPOCHS)
        found.append(json.loads(path.read_text())["test_top1_percent"])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--truth", type=int, default=24, help="networks to retrain: the top of every sampler's first seed"
    )
    arguments = parser.parse_args()
    runs = {name: [open_run(name, seed) for seed in range(arguments.seeds)] for name in SAMPLERS}
    networks = drawn(runs["fair"][0])
    scored = {name: [top1(run, networks) for run in group] for name, group in runs.items()}
    each = max(1, arguments.truth // len(SAMPLERS))
    chosen: dict[Architecture, None] = {}
    for group in scored.values():
        for index in np.argsort(group[0])[::-1][:each]:
            chosen[networks[int(index)]] = None
    top = list(chosen)
    true = truth(runs["fair"][0], top) if arguments.truth else []
    table = Table(
        "sampler",
        "images trained",
        "cost ratio",
        "corrected images",
        "mean top-1",
        "best found, by budget",
        f"tau among the top {len(top)}",
        title=f"supernet training, {arguments.seeds} seeds ({machine()})",
        title_justify="left",
    )
    for name, group in scored.items():
        spent: list[dict[str, Any]] = [run.folder.read_json("supernet.json") for run in runs[name]]
        best = [mean(max(row[i * RANDOM : (i + 1) * RANDOM]) for row in group) for i in range(len(BUDGETS))]
        taus = []
        for row in group if true else ():
            scores = dict(zip(networks, row, strict=True))
            taus.append(rank_correlation([scores[network] for network in top], true).kendall or 0.0)
        table.add_row(
            name,
            f"{mean(row['images_trained'] for row in spent) / 1e3:,.0f} k",
            f"{mean(row['cost_ratio'] for row in spent):.2f}" if name == "greedy" else "",
            f"{mean(row['images_corrected'] for row in spent) / 1e3:,.0f} k",
            f"{mean(mean(row) for row in group):.2f}%",
            ", ".join(f"{value:.2f}%" for value in best),
            " ".join(f"{tau:+.2f}" for tau in taus),
        )
    Console(width=150).print(table)


if __name__ == "__main__":
    main()
