"""Uniform and greedy supernets at equal corrected cost, searched under one budget, and what they found trained alone.

The space and trainings of `recipes/demo.toml`, scaled down, and its images with 2 patches for 8: a uniform supernet
of 18 epochs, and a greedy one of 12 (64 images to score a path, a pool of 100, no stop), each searched by random search
and NSGA-II with 60 networks under 700k multiply-adds; the greedy one's NSGA-II starts from what the candidate pool
has under this budget. Images that are only scored count by the ratio of the times of both that is measured in
training. Answers are trained for 6 epochs and tested on the test split; so are three random networks that use at least
90% of the budget.

Differs from the paper: packaged 48x48 images in place of ImageNet, a space of 9 layers, supernets of minutes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.base import Experiment, Outcome, Presented, ResultTable, spread
from experiments.greedynas import MBCONV, answer, drawn, spent, supernet

ROWS = {
    "uniform, random search": ("uniform", "random"),
    "uniform, NSGA-II": ("uniform", "nsga2"),
    "greedy, random search": ("greedy", "random"),
    "greedy, NSGA-II from the pool": ("greedy", "nsga2-from-pool"),
}


def measure(seed: int, folder: Path, quick: bool) -> dict[str, Any]:
    return {
        "supernets": {kind: spent(supernet(folder, kind, seed, quick)) for kind in ("uniform", "greedy")},
        "answers": {row: answer(folder, kind, MBCONV, search, seed, quick) for row, (kind, search) in ROWS.items()},
        "random_trained_top1_percent": drawn(folder, seed, quick),
    }


def present(outcomes: Sequence[Outcome]) -> Presented:
    costs = ResultTable(
        "What the supernets cost",
        ["supernet", "epochs", "images trained, k", "images scored, k", "ratio of costs", "corrected images, k", "s"],
        [[kind, *_costs([outcome["supernets"][kind] for outcome in outcomes])] for kind in ("uniform", "greedy")],
    )
    rows = [[row, *_found([outcome["answers"][row] for outcome in outcomes])] for row in ROWS]
    means = [sum(found := outcome["random_trained_top1_percent"]) / len(found) for outcome in outcomes]
    answers = ResultTable(
        "What was found under 700k multiply-adds: mean ± standard error over seeds",
        ["supernet and search", "supernet top-1, %", "test top-1 once trained, %", "multiply-adds, k"],
        [*rows, ["random networks of this cost", "", spread(means), ""]],
    )
    return Presented([costs, answers])


def _costs(spendings: Sequence[Outcome]) -> list[str]:
    thousand = [spread([s[key] / 1e3 for s in spendings], 0) for key in ("images_trained", "images_scored")]
    ratio = spread([s["cost_ratio"] for s in spendings]) if spendings[0]["images_scored"] else "–"
    seconds = spread([s["seconds_trained"] + s["seconds_scored"] for s in spendings], 0)
    corrected = spread([s["images_corrected"] / 1e3 for s in spendings], 0)
    return [spread([s["epochs"] for s in spendings], 0), *thousand, ratio, corrected, seconds]


def _found(answers: Sequence[Outcome]) -> list[str]:
    top1 = [spread([found[key] for found in answers]) for key in ("supernet_top1_percent", "trained_top1_percent")]
    return [*top1, spread([found["macs"] / 1e3 for found in answers], 0)]


EXPERIMENT = Experiment(
    name="greedynas-table-1",
    title="GreedyNAS, Table 1: uniform and greedy supernets at equal cost",
    measure=measure,
    present=present,
)
