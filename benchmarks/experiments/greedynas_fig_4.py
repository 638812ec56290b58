"""Rank correlation over the number of images, and over training by snapshots: uniform and greedy supernets.

Left: Kendall's tau of losses of 30 random networks on few validation images with those on all 1,920, both with
recalibrated norms, for the supernets of `greedynas-table-1` and an untrained one. Right: the same for 100 and 1,000
images over training, from the snapshots that the supernets have kept, six each, and tau of a snapshot's losses
on all images with those of the supernet at its end.

Differs from the paper: its scale, and the second curve on the right, which says how early the order is that of the
end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np

from experiments.base import Experiment, Outcome, Presented, ResultTable, inline, spread
from experiments.greedynas import ranking

KINDS = ("uniform", "greedy")


def measure(seed: int, folder: Path, quick: bool) -> dict[str, Any]:
    found = {kind: ranking(folder, kind, seed, quick) for kind in KINDS}
    images = {kind: _rows(found[kind]["supernets"]["trained"]) for kind in KINDS}
    images["untrained"] = _rows(found["uniform"]["supernets"]["untrained"])
    training = {
        kind: [
            {"epoch": snapshot["epoch"], "few": _rows(snapshot), "end": snapshot["trained_loss"]["kendall"]}
            for snapshot in found[kind]["snapshots"]
        ]
        for kind in KINDS
    }
    return {"images": images, "training": training}


def _rows(supernet: dict[str, Any]) -> list[dict[str, Any]]:
    """Tau of the loss on few images with that on all, by their number."""
    return [{"images": row["images"], "tau": row["loss"]["kendall"]} for row in supernet["rows"][:-1]]


def present(outcomes: Sequence[Outcome]) -> Presented:
    counts = [row["images"] for row in outcomes[0]["images"]["uniform"]]
    left = [
        {"supernet": kind, "images": count, "tau": [o["images"][kind][i]["tau"] for o in outcomes]}
        for kind in ("untrained", *KINDS)
        for i, count in enumerate(counts)
    ]
    right = list(_training(outcomes))
    rows = [[kind, *(spread(p["tau"]) for p in left if p["supernet"] == kind)] for kind in ("untrained", *KINDS)]
    few = ResultTable(
        "Left: Kendall's tau of losses on few images with those on all",
        ["supernet", *(f"{count:,} images" for count in counts)],
        rows,
    )
    ends = [_row(point) for point in right]
    over = ResultTable(
        "Right: over training",
        ["supernet", "epoch", f"{counts[0]:,} images", f"{counts[-1]:,} images", "with the trained supernet"],
        ends,
    )
    return Presented([few, over], {"": alt.hconcat(_left(left), _right(right))})


def _training(outcomes: Sequence[Outcome]) -> Iterator[dict[str, Any]]:
    for kind in KINDS:
        for i, snapshot in enumerate(outcomes[0]["training"][kind]):
            there = [outcome["training"][kind][i] for outcome in outcomes]
            yield {
                "supernet": kind,
                "epoch": snapshot["epoch"],
                "fewest": [one["few"][0]["tau"] for one in there],
                "most": [one["few"][-1]["tau"] for one in there],
                "end": [one["end"] for one in there],
            }


def _row(point: dict[str, Any]) -> list[str]:
    """The row of one epoch."""
    return [point["supernet"], str(point["epoch"]), *(spread(point[key]) for key in ("fewest", "most", "end"))]


def _left(points: Sequence[dict[str, Any]]) -> Any:
    data = inline([{**point, "tau": float(np.mean(point["tau"]))} for point in points])
    chart = alt.Chart(data, title="over the number of images", width=300, height=240)
    return chart.mark_line(point=True).encode(
        x=alt.X("images:Q", title="validation images"),
        y=alt.Y("tau:Q", title="Kendall's tau with all images", scale=alt.Scale(zero=False)),
        color=alt.Color("supernet:N", title="supernet"),
    )


def _right(points: Sequence[dict[str, Any]]) -> Any:
    names = {"fewest": "fewest images", "most": "most images", "end": "the trained supernet"}
    data = inline(
        [
            {"supernet": p["supernet"], "epoch": p["epoch"], "with": names[key], "tau": float(np.mean(p[key]))}
            for p in points
            for key in names
        ]
    )
    chart = alt.Chart(data, title="over training", width=300, height=240)
    return chart.mark_line(point=True).encode(
        x=alt.X("epoch:Q", title="epoch"),
        y=alt.Y("tau:Q", title="Kendall's tau", scale=alt.Scale(zero=False)),
        color=alt.Color("supernet:N", title="supernet"),
        strokeDash=alt.StrokeDash("with:N", title="with"),
    )


EXPERIMENT = Experiment(
    name="greedynas-fig-4",
    title="GreedyNAS, Fig. 4: rank correlation over images and over training",
    measure=measure,
    present=present,
)
