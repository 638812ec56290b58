"""Requested against delivered cost: a generator for each of four fixed priors, and generators without a random prior.

On the unified supernet of each seed (`recipes/demo-unified.toml`), as in the paper, a generator is trained for each
of four fixed priors: the map of one random architecture, the same for all budgets (`priors = "fixed"` in
`[generator]`). Beside them four generators that get the same constant map for all (`random_prior = false`), which
differ in their first weights, and the way that is this library's default: one generator whose priors are drawn anew
in every step, asked with four. All are asked for 40 budgets, from 2 to 98% of what the space reaches.

What is delivered is the most probable architecture of the distribution itself. Searches here do not stop at that:
they decode within the budget, so no answer of theirs is ever over it. The picture has the generators of the first
seed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import torch
from scipy.stats import kendalltau, pearsonr

from anybudget.data import TrainingBatches
from anybudget.decoding.reachability import extremes
from anybudget.generator.network import ArchitectureGenerator
from anybudget.generator.training import MixtureLoss, train_generator
from anybudget.runs.run import Run
from experiments.base import Experiment, Outcome, Presented, ResultTable, inline, spread
from experiments.keeping import kept
from experiments.sgnas_unified import trained

PRIORS, BUDGETS = 4, 40
KINDS = {
    "fixed": "a generator for each fixed prior (the paper's)",
    "none": "no random prior",
    "fresh": "one generator, priors drawn anew",
}


def measure(seed: int, folder: Path, quick: bool) -> dict[str, Any]:
    run, count = trained(seed, folder, quick), 1 if quick else PRIORS
    low, high = extremes(run.cost.terms)
    places = np.linspace(0.02, 0.98, BUDGETS)
    found: dict[str, Any] = {"requested": (low + places * (high - low)).tolist(), "interval": high - low}
    for kind in ("fixed", "none"):
        found[kind] = [kept(run, f"fig 7 {kind} {n}", partial(train, run, kind, n)) for n in range(count)]
    priors = run.generator.random_priors(count, np.random.default_rng(seed))
    found["fresh"] = [delivered(run, run.generator, prior) for prior in priors]
    return found


def train(run: Run, kind: str, number: int) -> list[float]:
    """What a generator of a kind delivers; the number draws its fixed prior, or its first weights if it has none."""
    schedule, seed = run.recipe.generator, run.recipe.seed
    torch.manual_seed(number if kind == "none" else seed)
    generator = ArchitectureGenerator(
        [decision.encoding() for decision in run.space.decisions],
        hidden=schedule.hidden,
        random_prior=kind != "none",
        fixed_prior=number if kind == "fixed" else None,
    )
    batches = TrainingBatches(run.data, run.data.validation, schedule.batch_size, seed)
    train_generator(generator, MixtureLoss(run.supernet), run.cost.terms, batches, schedule, seed=seed)
    return delivered(run, generator, generator.random_priors(1, np.random.default_rng(0))[0])


def delivered(run: Run, generator: ArchitectureGenerator, prior: torch.Tensor) -> list[float]:
    """The cost of the most probable architecture at every budget."""
    places = torch.linspace(0.02, 0.98, BUDGETS)
    with torch.no_grad():
        choices = generator(places, prior.expand(BUDGETS, *prior.shape)).argmax(-1).numpy()
    return [float(cost) for cost in run.cost.terms.costs(choices)]


def present(outcomes: Sequence[Outcome]) -> Presented:
    rows = []
    for kind, title in KINDS.items():
        figures = np.array([[judged(outcome, costs) for costs in outcome[kind]] for outcome in outcomes])
        means = figures.mean(axis=1).T
        worst = f"{figures[..., 2].max():.1f}"
        rows.append([title, spread(means[0], 3), spread(means[1], 3), spread(means[2], 1), worst])
    columns = ["", "Kendall's tau", "Pearson's r", "mean gap, % of the interval", "of the worst generator"]
    title = f"Delivered against {BUDGETS} requested costs; mean ± standard error over {len(outcomes)} supernets"
    return Presented([ResultTable(title, columns, rows)], {"": chart(outcomes[0])})


def judged(outcome: Outcome, costs: Sequence[float]) -> tuple[float, float, float]:
    """Kendall's tau, Pearson's r, and the mean distance in percent of the interval."""
    requested = outcome["requested"]
    gap = 100 * np.mean(np.abs(np.subtract(costs, requested))) / outcome["interval"]
    return kendalltau(requested, costs).statistic, pearsonr(requested, costs).statistic, float(gap)


def chart(outcome: Outcome) -> alt.TopLevelMixin:
    def lines() -> Iterator[dict[str, Any]]:
        for kind, title in KINDS.items():
            for number, costs in enumerate(outcome[kind], start=1):
                for requested, cost in zip(outcome["requested"], costs, strict=True):
                    yield {"kind": title, "number": str(number), "requested": round(requested), "delivered": cost}

    y = alt.Y("delivered:Q", title="delivered multiply-adds", axis=alt.Axis(format="~s"))
    x = alt.X("requested:Q", title="requested multiply-adds", axis=alt.Axis(format="~s", tickCount=5))
    base = alt.Chart(width=250, height=250)
    diagonal = base.mark_line(color="#bbbbbb", strokeDash=[4, 3]).encode(x=x, y=alt.Y("requested:Q"))
    found = base.mark_line(point=alt.OverlayMarkDef(size=14), strokeWidth=1).encode(
        x=x, y=y, color=alt.Color("number:N", title="prior or start", scale=alt.Scale(scheme="dark2"))
    )
    whole = alt.layer(diagonal, found, data=inline(list(lines())))
    return whole.facet(column=alt.Column("kind:N", sort=list(KINDS.values()), title=None))


EXPERIMENT = Experiment(
    name="sgnas-fig-7",
    title="SGNAS, Fig. 7a and 7b: requested against delivered cost",
    measure=measure,
    present=present,
)
