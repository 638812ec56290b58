"""Trained networks at equal measured latency: budgets in milliseconds against budgets in multiply-adds.

For each seed a supernet is trained, and SPOS's evolution searches it within budgets of both kinds, by the same scores.
All answers are trained alone and alike, and measured together in one process of their own. The answers to budgets in
multiply-adds are a curve of accuracy against measured milliseconds; each answer to a budget in milliseconds is held
against that curve at its own latency. Stages and trainings are kept, so a stopped benchmark resumes.

    anybudget profile recipes/demo-latency.toml
    python benchmarks/trained_latency.py [--seeds 3] [--trainings 1] [--workers N] [--set KEY=VALUE]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from anybudget.architecture import Architecture
from anybudget.budgets import BudgetSet
from anybudget.cli.terminal import RichProgress
from anybudget.costs.latency import LatencyCost
from anybudget.latency.blocks import Blocks
from anybudget.latency.measuring import measure_as, runtime_of
from anybudget.recipe import load_recipe
from anybudget.runs.answers import read_answers
from anybudget.runs.run import Run
from anybudget.runs.trainings import Training, train_each
from anybudget.runtime.rounds import Rounds
from fashion import ROOT

SHARES = {"latency_ms": (20, 35, 50, 65), "macs": (10, 25, 40, 55, 70)}
"""Limits of the two costs, in percent of what the space reaches; those in multiply-adds are to enclose the others."""

ANSWERED = "search/evolution.jsonl"


@dataclass(frozen=True)
class Answer:
    """What was found for a budget, trained and measured: `top1` in percent on test images."""

    budgets: BudgetSet
    architecture: Architecture
    macs: float
    quiet_ms: float
    top1: float

    @property
    def limits(self) -> str:
        """Which cost was limited."""
        return next(iter(self.budgets)).cost


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", type=Path, default=ROOT / "recipes" / "demo-latency.toml")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "bench-trained-latency")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--trainings", type=int, default=1, help="of each network")
    parser.add_argument("--workers", type=int, help="processes that share out the work; one for each core if not given")
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    given = parser.parse_args()
    console, gains = Console(width=120), []
    for seed in range(given.seeds):
        answers = answered(given, seed)
        gains.append(gain := gained(answers))
        console.print(as_table(seed, answers))
        console.print(
            f"seed {seed}: at equal measured latency {gain:+.2f} points of top-1 for budgets in milliseconds\n"
        )
    if len(gains) > 1:
        error = np.std(gains, ddof=1) / np.sqrt(len(gains))
        console.print(
            f"budgets in milliseconds minus budgets in multiply-adds, at equal measured latency, {len(gains)} seeds: "
            f"{np.mean(gains):+.2f} ± {error:.2f} points of top-1"
        )


def answered(given: argparse.Namespace, seed: int) -> list[Answer]:
    """The answers of one supernet to all budgets, trained and measured."""
    budgets = [f"{cost}<={share}%" for cost, shares in SHARES.items() for share in shares]
    asked = f"search.budgets=[{', '.join(map(repr, budgets))}]"
    recipe = load_recipe(given.recipe, [asked, *given.overrides, f"seed={seed}"])
    run = Run.create(recipe, given.out.with_name(f"{given.out.name}-{seed}"), RichProgress())
    run.workers = given.workers
    if not run.folder.finished("supernet"):
        run.train_supernet()
    before = dict(read_answers(run.context, ANSWERED))
    missing = [budget_set for budget_set in recipe.budget_sets() if budget_set not in before]
    if missing:
        run.search_with("evolution", missing, race=False)
    found = dict(read_answers(run.context, ANSWERED))
    networks = [found[budget_set].architecture for budget_set in recipe.budget_sets()]
    wanted = [Training(network, seed) for network in networks for seed in range(given.trainings)]
    trained = train_each(run.context, wanted)
    top1 = np.reshape([result.test_figure("top1_percent") for result in trained], (len(networks), -1)).mean(axis=1)
    cost = run.costs["latency_ms"]
    assert isinstance(cost, LatencyCost)
    blocks = Blocks(run.space, runtime_of(cost.profile))
    measured = measure_as(cost.profile, blocks, networks, Rounds(seed=seed)).times
    return [
        Answer(budget_set, network, run.costs["macs"].cost(network), times.quiet, accuracy)
        for budget_set, network, times, accuracy in zip(
            recipe.budget_sets(), networks, measured, top1.tolist(), strict=True
        )
    ]


def gained(answers: Sequence[Answer]) -> float:
    """How far answers to budgets in ms lie above the curve of the others at their own latency, on average, in points.

    Those outside the curve's interval are left out.
    """
    curve = sorted((answer.quiet_ms, answer.top1) for answer in answers if answer.limits == "macs")
    times, accuracies = (np.array(values) for values in zip(*curve, strict=True))
    above = [
        answer.top1 - float(np.interp(answer.quiet_ms, times, accuracies))
        for answer in answers
        if answer.limits != "macs" and times[0] <= answer.quiet_ms <= times[-1]
    ]
    return float(np.mean(above)) if above else float("nan")


def as_table(seed: int, answers: Sequence[Answer]) -> Table:
    """The answers, from the fastest to the slowest."""
    table = Table("budget", "measured ms", "MACs", "test top-1, %", title=f"seed {seed}")
    for answer in sorted(answers, key=lambda answer: answer.quiet_ms):
        table.add_row(str(answer.budgets), f"{answer.quiet_ms:.4f}", f"{answer.macs:,.0f}", f"{answer.top1:.2f}")
    return table


if __name__ == "__main__":
    main()
