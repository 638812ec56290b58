"""How probable it is that enough of the sampled paths are good: Theorem 1, in closed form.

Of `m` paths that are sampled, at least `k` are good with the probability of a binomial; a path comes from the candidate
pool with some probability, and all of the pool is taken for good, as in the paper. 60% of all paths are good.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import altair as alt

from anybudget.training.greedy_theory import probability_of_good
from experiments.base import Experiment, Outcome, Presented, ResultTable, inline

KEPT, SAMPLED, POOL_SHARES, GOOD = (1, 3, 5, 7, 9), 10, (0.0, 0.2, 0.5, 0.8), 0.6


def measure(seed: int, folder: Path, quick: bool) -> dict[str, Any]:
    del seed, folder, quick
    return {
        "points": [
            {"pool_share": share, "kept": kept, "percent": 100 * probability_of_good(SAMPLED, kept, GOOD, share)}
            for share in POOL_SHARES
            for kept in range(1, SAMPLED + 1)
        ]
    }


def present(outcomes: Sequence[Outcome]) -> Presented:
    points = outcomes[0]["points"]
    at = {(point["pool_share"], point["kept"]): f"{point['percent']:.2f}%" for point in points}
    rows = [[f"{share:.0%}", *(at[share, kept] for kept in KEPT)] for share in POOL_SHARES]
    title = f"Probability that at least k of m = {SAMPLED} sampled paths are good"
    chart = alt.Chart(inline(points), title=title, width=420, height=260)
    lines = chart.mark_line(point=True).encode(
        x=alt.X("kept:O", title="k", axis=alt.Axis(labelAngle=0)),
        y=alt.Y("percent:Q", title="probability, %"),
        color=alt.Color("pool_share:O", title="share drawn from the pool", scale=alt.Scale(scheme="viridis")),
    )
    return Presented([ResultTable(title, ["drawn from the pool", *(f"k = {k}" for k in KEPT)], rows)], {"": lines})


EXPERIMENT = Experiment(
    name="greedynas-fig-2",
    title="GreedyNAS, Fig. 2: the probability of good paths",
    measure=measure,
    present=present,
    seeds=1,
)
