"""Forced sampling and shadow norms, each with and without the other: random and generated networks on four supernets.

Four supernets of `recipes/demo-unified.toml` a seed, which differ in `space.forced_sampling` and `space.shadow_norms`
alone, score the same random networks, 360 over the three seeds, and ten that a generator of their own gives for ten
budgets (its most probable ones, without any evaluation). Each network is scored twice: with norms calibrated for it,
as searches here do, and with the running statistics that all paths share, which is what shadow norms keep apart.

"Generated above random" is how far generated networks lie above a quadratic fit of the random ones' top-1 over the
logarithm of multiply-adds, in points. The picture has the networks of the first seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np

from anybudget.evaluation.evaluator import Evaluator
from anybudget.evaluation.settings import EvaluatorSettings
from anybudget.runs.run import Run
from experiments.base import Experiment, Outcome, Presented, ResultTable, inline, spread
from experiments.keeping import kept
from experiments.sgnas_unified import SUPERNETS, TEN, asked, points, trained

NETWORKS = 120
SCORES = {"calibrated": "calibrated for each network", "running": "running statistics"}


def measure(seed: int, folder: Path, quick: bool) -> dict[str, Any]:
    count = 6 if quick else NETWORKS
    found = {}
    for supernet in SUPERNETS:
        run = trained(seed, folder, quick, supernet)
        found[supernet] = kept(run, "fig 6a", partial(scored, run, count, seed))
    return found


def scored(run: Run, count: int, seed: int) -> dict[str, Any]:
    """Points of random and of generated networks, calibrated and by running statistics."""
    rng = np.random.default_rng(seed)
    random = [run.space.sample(rng) for _ in range(count)]
    generated = [proposal.architecture for proposal in run.propose(asked(run, *TEN))]
    plain = Evaluator(run.supernet, run.data, EvaluatorSettings(calibration_images=0))
    return {
        score: {
            "random": points(run, random, evaluator.scores(random)),
            "generated": points(run, generated, evaluator.scores(generated)),
        }
        for score, evaluator in (("calibrated", run.evaluator), ("running", plain))
    }


def present(outcomes: Sequence[Outcome]) -> Presented:
    rows = []
    for supernet in SUPERNETS:
        row = [supernet]
        for score in SCORES:
            found = [outcome[supernet][score] for outcome in outcomes]
            random = [np.array(one["random"])[:, 1] for one in found]
            row += [spread([float(top1.mean()) for top1 in random]), f"{np.mean([top1.min() for top1 in random]):.2f}"]
            row.append(spread([above(one) for one in found]))
        rows.append(row)
    names = ["mean", "worst", "generated above random"]
    columns = ["supernet with", *(f"{kind}: {name}" for kind in SCORES for name in names)]
    count = sum(len(outcome["both"]["calibrated"]["random"]) for outcome in outcomes)
    title = f"Validation top-1 of {count} random networks, %; mean ± standard error over {len(outcomes)} supernets"
    return Presented([ResultTable(title, columns, rows)], {"": chart(outcomes[0])})


def above(found: Any) -> float:
    """How many points generated networks lie above what random ones of their multiply-adds have, on average."""
    (macs, top1), (costs, reached) = np.array(found["random"]).T, np.array(found["generated"]).T
    fit = np.polyfit(np.log(macs), top1, 2)
    return float(np.mean(reached - np.polyval(fit, np.log(costs))))


def chart(outcome: Outcome) -> alt.FacetChart:
    values = [
        {"supernet": supernet, "score": SCORES[score], "networks": kind, "macs": macs, "top1": top1}
        for supernet, scores in outcome.items()
        for score, kinds in scores.items()
        for kind, found in kinds.items()
        for macs, top1 in found
    ]
    colours = alt.Scale(domain=["random", "generated"], range=["#9aa0a6", "#d1495b"])
    points_of = alt.Chart(inline(values), width=210, height=170).mark_circle(opacity=0.8, size=22)
    layer = points_of.encode(
        x=alt.X("macs:Q", title="multiply-adds", axis=alt.Axis(format="~s", tickCount=5)),
        y=alt.Y("top1:Q", title="validation top-1, %", scale=alt.Scale(zero=False)),
        color=alt.Color("networks:N", scale=colours, title=None),
    )
    whole: alt.FacetChart = layer.facet(
        column=alt.Column("supernet:N", sort=list(SUPERNETS), title=None), row=alt.Row("score:N", title=None)
    )
    return whole


EXPERIMENT = Experiment(
    name="sgnas-fig-6a",
    title="SGNAS, Fig. 6a: forced sampling and shadow norms",
    measure=measure,
    present=present,
)
