"""Random search, evolution and the architecture generator on one supernet, with equal accounting.

A unified supernet of `recipes/demo-unified.toml` (five layers of 80 choices on grey images of 48 pixels) is asked for
a network of at most 45% of the multiply-adds that the space reaches: by random search and by SPOS's evolution, with
1,000 evaluations each, and by the generator, once judged (8 priors, the best of 32 candidates by the supernet) and
once as in the paper, its most probable network without any evaluation. Images and multiply-adds are counted as if
every network ran alone; the generator's training is part of what it costs. Processor time is that of one thread.

Random search and evolution begin anew for every budget, so ten budgets cost ten times one. The generator was asked
for ten budgets, and what that took is measured. Answers are trained alone, for the epochs of the recipe, and so is a
random network that uses at least 90% of the budget: what not searching is worth. Errors are over the seeds, each of
which has a supernet of its own.

Differs from the paper: its supernet, budgets and trainings are of ImageNet.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from anybudget.architecture import Architecture
from anybudget.budgets import BudgetSet
from anybudget.runs.run import Run
from anybudget.runs.stages.baseline import same_cost
from anybudget.search.base import Candidate
from experiments.base import Experiment, Outcome, Presented, ResultTable, spread
from experiments.keeping import kept, processor_seconds
from experiments.sgnas_unified import TEN, asked, trained, trained_top1

BUDGET = "macs<=45%"
ROWS = {
    "random": "random search",
    "evolution": "evolution",
    "generator": "generator, best of 32 candidates",
    "instant": "generator, most probable network",
    "drawn": "one random network, not searched",
}


def measure(seed: int, folder: Path, quick: bool) -> dict[str, Any]:
    run = trained(seed, folder, quick)
    (budget,) = asked(run, BUDGET)
    found = {name: kept(run, name, partial(searched, run, name, [budget])) for name in ("random", "evolution")}
    found["generator"] = kept(run, "generator search", lambda: searched(run, "generator", [budget]))
    found["instant"] = kept(run, "instant", lambda: proposed(run, [budget]))
    found["drawn"] = kept(run, "drawn", lambda: drawn(run, budget))
    ten = asked(run, *TEN[: 2 if quick else None])
    found["generator"]["ten"] = kept(run, "generator ten", lambda: searched(run, "generator", ten))["spent"]
    found["instant"]["ten"] = kept(run, "instant ten", lambda: proposed(run, ten))["spent"]
    networks = [Architecture.from_dict(row["architecture"]) for row in found.values()]
    for row, value in zip(found.values(), trained_top1(run, networks), strict=True):
        row["trained_top1_percent"] = value
    return found


def searched(run: Run, name: str, budgets: Sequence[BudgetSet]) -> dict[str, Any]:
    """What a strategy finds for the first of some budgets, and what finding all has cost, training included."""
    strategy = run.strategy(name)
    answers: list[Candidate] = []
    seconds = processor_seconds(lambda: answers.extend(strategy.search(budgets)))
    if strategy.needs_generator:
        seconds += kept(run, "generator", dict)["processor_seconds"]
    spent = strategy.spent.to_dict() | {"processor_seconds": seconds}
    return {
        "spent": {key: value for key, value in spent.items() if key != "seconds"},
        "architecture": answers[0].architecture.to_dict(),
        "macs": answers[0].costs["macs"],
        "supernet_top1_percent": answers[0].supernet_top1_percent,
    }


def proposed(run: Run, budgets: Sequence[BudgetSet]) -> dict[str, Any]:
    """The generator's most probable network, for which no image is looked at; its score is for the table alone."""
    training = run.strategy("generator").training.to_dict()
    answers: list[Architecture] = []
    seconds = processor_seconds(lambda: answers.extend(answer.architecture for answer in run.propose(budgets)))
    seconds += kept(run, "generator", dict)["processor_seconds"]
    spent = {key: training[key] for key in ("evaluations", "images", "macs")} | {"processor_seconds": seconds}
    return {"spent": spent, **described(run, answers[0])}


def drawn(run: Run, budget: BudgetSet) -> dict[str, Any]:
    """A random network that uses most of the budget."""
    (network,) = same_cost(run.context, budget).sample(1, np.random.default_rng(run.recipe.seed))
    return {"spent": None, **described(run, network)}


def described(run: Run, network: Architecture) -> dict[str, Any]:
    score = run.evaluator.score(network)
    return {
        "architecture": network.to_dict(),
        "macs": run.costs["macs"].cost(network),
        "supernet_top1_percent": score.top1_percent,
    }


def present(outcomes: Sequence[Outcome]) -> Presented:
    rows = []
    for name, title in ROWS.items():
        found = [outcome[name] for outcome in outcomes]
        figures = [spread([row[key] for row in found]) for key in ("supernet_top1_percent", "trained_top1_percent")]
        gains = [
            outcome[name]["trained_top1_percent"] - outcome["drawn"]["trained_top1_percent"] for outcome in outcomes
        ]
        gain = "" if name == "drawn" else spread(gains)
        rows.append([title, f"{np.mean([row['macs'] for row in found]) / 1e3:,.0f}k", *figures, gain])
    answers = ResultTable(
        f"What is found for {BUDGET}: mean ± standard error over {len(outcomes)} supernets",
        ["", "multiply-adds", "supernet's validation top-1, %", "trained test top-1, %", "minus the random network's"],
        rows,
    )
    costs = ResultTable(
        "What it costs for one budget and for ten, beside random search for one",
        ["", "evaluations", "images", "multiply-adds", "processor seconds", "processor seconds, ten", "ten / random's"],
        [costs_of(name, outcomes) for name in list(ROWS)[:-1]],
    )
    return Presented([answers, costs])


def costs_of(name: str, outcomes: Sequence[Outcome]) -> list[str]:
    """The row of a strategy."""
    spent = [outcome[name]["spent"] for outcome in outcomes]
    base = [outcome["random"]["spent"] for outcome in outcomes]
    ten = [
        outcome[name].get("ten") or {key: 10 * value for key, value in outcome[name]["spent"].items()}
        for outcome in outcomes
    ]

    def of(rows: Sequence[Any], key: str) -> float:
        return float(np.mean([row[key] for row in rows]))

    return [
        ROWS[name],
        f"{of(spent, 'evaluations'):,.0f}",
        f"{of(spent, 'images') / 1e6:.2f} M",
        f"{of(spent, 'macs') / 1e12:.2f} T",
        spread([row["processor_seconds"] for row in spent], 0),
        spread([row["processor_seconds"] for row in ten], 0),
        f"{of(ten, 'processor_seconds') / (10 * of(base, 'processor_seconds')):.3f}",
    ]


EXPERIMENT = Experiment(
    name="sgnas-table-1",
    title="SGNAS, Table 1: random search, evolution and the generator",
    measure=measure,
    present=present,
)
