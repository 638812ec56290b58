"""Evolution against random search: the best score so far over the number of networks scored.

Both search the supernet of Table 3 (`recipes/demo-shufflenet.toml`) under its limit of multiply-adds, and score 160
networks each; a score is top-1 on the validation images with the supernet's weights. The line is the mean over
supernets, the band its standard error. The paper searches longer, 1,000 networks, in a larger space. What the answers
are worth when they are trained is in Table 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np

from experiments.base import Experiment, Outcome, Picture, Presented, ResultTable, inline, spread
from experiments.spos_runs import BUDGET, searched, trained

SHOWN = (20, 40, 80, 160)


def measure(seed: int, folder: Path, quick: bool) -> dict[str, Any]:
    run = trained("blocks", seed, folder, quick)
    return {name: searched(run, name, BUDGET)["scores"] for name in ("random", "evolution")}


def present(outcomes: Sequence[Outcome]) -> Presented:
    best = {name: so_far([outcome[name] for outcome in outcomes]) for name in ("random", "evolution")}
    counts = sorted({min(count, scores.shape[1]) for count in SHOWN for scores in best.values()})
    rows = [
        [name, *(spread(scores[:, min(count, scores.shape[1]) - 1].tolist()) for count in counts)]
        for name, scores in best.items()
    ]
    ahead = best["evolution"][:, -1] - best["random"][:, -1]
    rows.append(["evolution ahead, in a seed", *[""] * (len(counts) - 1), spread(ahead.tolist())])
    columns = ["strategy", *(f"{count} scored" for count in counts)]
    shown = [ResultTable("Best supernet top-1 so far, %", columns, rows)]
    return Presented(shown, {"": chart(best)})


def so_far(scores: Sequence[Sequence[float]]) -> np.ndarray:
    """Of each seed the best score so far, [seeds, networks]; cut to the shortest search."""
    shortest = min(map(len, scores))
    return np.array([np.maximum.accumulate(one[:shortest]) for one in scores])


def chart(best: dict[str, np.ndarray]) -> Picture:
    points = []
    for name, scores in best.items():
        error = scores.std(0, ddof=1) / len(scores) ** 0.5 if len(scores) > 1 else np.zeros(scores.shape[1])
        for number, (mean, half) in enumerate(zip(scores.mean(0), error, strict=True), start=1):
            low, high = mean - half, mean + half
            points.append({"strategy": name, "scored": number, "best": mean, "low": low, "high": high})
    base = alt.Chart(inline(points), width=460, height=280).encode(
        x=alt.X("scored:Q", title="networks scored"),
        color=alt.Color("strategy:N", scale=alt.Scale(range=["#d95f02", "#1b9e77"])),
    )
    y = alt.Y("low:Q", title="best supernet top-1 so far, %", scale=alt.Scale(zero=False))
    line = base.mark_line().encode(y=alt.Y("best:Q", title="best supernet top-1 so far, %"))
    return alt.layer(base.mark_area(opacity=0.2).encode(y=y, y2="high:Q"), line)


EXPERIMENT = Experiment(
    name="spos-fig-3",
    title="SPOS, Fig. 3: evolution and random search over what was scored",
    measure=measure,
    present=present,
)
