"""What NSGA-II evaluates with and without the candidate pool: histograms, and the best found as it goes on.

One comparison on the greedy supernet of `greedynas-table-1` of NSGA-II from random networks, NSGA-II from the pool,
and random search, 60 networks each under 1.1M multiply-adds.

Differs from the paper: scale as in `greedynas-table-1`; random search is there, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np

from experiments.base import Experiment, Outcome, Presented, ResultTable, inline, spread
from experiments.greedynas import POOLED, SEARCHES, searched

NAMES = SEARCHES["greedy", POOLED]


def measure(seed: int, folder: Path, quick: bool) -> dict[str, Any]:
    found = searched(folder, "greedy", POOLED, seed, quick)
    return {name: [network["top1_percent"] for network in found[name]["evaluated"]] for name in NAMES}


def present(outcomes: Sequence[Outcome]) -> Presented:
    first = len(outcomes[0][NAMES[0]]) // 5
    rows = [
        [
            name,
            spread([float(np.mean(outcome[name][:first])) for outcome in outcomes]),
            spread([float(np.mean(outcome[name])) for outcome in outcomes]),
            spread([max(outcome[name][:first]) for outcome in outcomes]),
            spread([max(outcome[name]) for outcome in outcomes]),
        ]
        for name in NAMES
    ]
    table = ResultTable(
        f"Supernet top-1 of what is evaluated, %: the first {first} networks and all",
        ["search", f"mean of the first {first}", "mean of all", f"best of the first {first}", "best of all"],
        rows,
    )
    points = [{"search": name, "top1": top1} for outcome in outcomes for name in NAMES for top1 in outcome[name]]
    chart = alt.Chart(inline(points), width=480, height=100)
    bars = chart.mark_bar().encode(
        x=alt.X("top1:Q", bin=alt.Bin(maxbins=40), title="supernet top-1, %, all seeds"),
        y=alt.Y("count()", title="networks"),
        color=alt.Color("search:N", legend=None),
        row=alt.Row("search:N", title=None, sort=list(NAMES)),
    )
    return Presented([table], {"": bars})


EXPERIMENT = Experiment(
    name="greedynas-fig-3",
    title="GreedyNAS, Fig. 3: what NSGA-II evaluates with and without the pool",
    measure=measure,
    present=present,
)
