"""Requested against delivered cost of the generator with and without a random prior, for four priors (SGNAS Fig. 7).

Trains both generators against the supernet of a run. What is delivered is the most probable architecture of the
distribution itself, without decoding to the budget. Run: python benchmarks/priors.py [RUN]
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from scipy.stats import kendalltau, pearsonr

from anybudget.cli.terminal import RichProgress
from anybudget.data import TrainingBatches
from anybudget.decoding.reachability import reachable
from anybudget.generator.network import ArchitectureGenerator
from anybudget.generator.training import MixtureLoss, train_generator
from anybudget.runs.run import Run
from anybudget.training.loop import TrainingContext
from fashion import ROOT
from measure import machine

PRIORS, BUDGETS = 4, 40


def main() -> None:
    run = Run.open(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "runs" / "demo", RichProgress())
    terms = run.cost.terms
    low, high = reachable({run.cost.name: terms}, run.cost.name)
    positions = torch.linspace(0.02, 0.98, BUDGETS)
    requested = low + positions.numpy() * (high - low)
    table = Table(
        "random prior",
        "prior",
        "Kendall tau",
        "Pearson r",
        "mean |delivered - requested| / interval",
        title=f"{BUDGETS} budgets ({machine()})",
        title_justify="left",
    )
    for random_prior in (True, False):
        torch.manual_seed(run.recipe.seed)
        generator = ArchitectureGenerator(
            [decision.encoding() for decision in run.space.decisions],
            hidden=run.recipe.generator.hidden,
            random_prior=random_prior,
        )
        schedule = run.recipe.generator
        train_generator(
            generator,
            MixtureLoss(run.supernet),
            run.cost.terms,
            TrainingBatches(run.data, run.data.validation, schedule.batch_size, run.recipe.seed),
            schedule,
            seed=run.recipe.seed,
            context=TrainingContext(progress=run.context.progress),
        )
        priors = generator.random_priors(PRIORS if random_prior else 1, np.random.default_rng(1))
        for number, prior in enumerate(priors, start=1):
            with torch.no_grad():
                choices = generator(positions, prior.expand(BUDGETS, -1, -1)).argmax(-1).numpy()
            delivered = terms.costs(choices)
            table.add_row(
                "yes" if random_prior else "no",
                str(number),
                f"{kendalltau(requested, delivered).statistic:.3f}",
                f"{pearsonr(requested, delivered).statistic:.3f}",
                f"{100 * np.mean(np.abs(delivered - requested)) / (high - low):.1f}%",
            )
    Console(width=130).print(table)


if __name__ == "__main__":
    main()
