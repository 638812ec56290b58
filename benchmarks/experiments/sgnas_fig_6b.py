"""Parameters of the supernet against the number of operations a layer: the unified block, and separate blocks.

By counting, in closed form, on the paper's macro-architecture of 19 layers (`recipes/sgnas-imagenet.toml`), whole
networks with stem, head and classifier. Of the 80 configurations of a layer so many are taken, evenly spaced in order
of their parameters, the smallest and the largest included; which ones the paper takes is not known here. Separate
blocks hold each of them, the unified block what at least one of them uses.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np

from anybudget.costs import counts
from anybudget.recipe import load_recipe
from anybudget.spaces import UnifiedSpace
from anybudget.spaces.settings import LayerShape
from experiments.base import ROOT, Experiment, Outcome, Presented, ResultTable, inline

OPERATIONS = (6, 13, 25, 50, 60, 80)


def measure(seed: int, folder: Path, quick: bool) -> dict[str, Any]:
    del seed, folder, quick
    space = load_recipe(ROOT / "recipes" / "sgnas-imagenet.toml").build_space()
    assert isinstance(space, UnifiedSpace)
    return {"points": [{"operations": count, **parameters(space, count)} for count in OPERATIONS]}


def parameters(space: UnifiedSpace, count: int) -> dict[str, int]:
    """Parameters of both supernets with `count` configurations in every layer."""
    ends = sum(counts.params(factor.spec()) for factor in space.factors if not factor.decisions)
    layers = [factor for factor in space.factors if factor.decisions]
    separate = unified = ends
    for factor, decision, shape in zip(layers, space.decisions, space.outline.layers, strict=True):
        sizes = [counts.params(factor.spec(choice)) for choice in range(len(decision.choices))]
        ordered = sorted(range(len(sizes)), key=sizes.__getitem__)
        taken = [ordered[place] for place in np.linspace(0, len(ordered) - 1, count).round().astype(int)]
        separate += sum(sizes[choice] for choice in taken)
        unified += of_unified(space, shape, [decision.choices[choice] for choice in taken])
    return {"separate": separate, "unified": unified}


def of_unified(space: UnifiedSpace, shape: LayerShape, taken: Sequence[Sequence[int]]) -> int:
    """Parameters of one unified block that some configurations use, norms included."""
    width, out, kernels = shape.in_channels, shape.out_channels, space.settings.kernels
    used = {(slot, op) for choice in taken for slot, op in enumerate(choice) if op != space.skip}
    sub_blocks = {slot for slot, _ in used}
    rates = {sum(op != space.skip for op in choice) for choice in taken}
    pointwise = len(sub_blocks) * (width * width + 2 * width + width * out)
    depthwise = sum(width * kernels[op] ** 2 + 2 * width for _, op in used)
    return pointwise + depthwise + 2 * out * len(rates)


def present(outcomes: Sequence[Outcome]) -> Presented:
    found = outcomes[0]["points"]
    rows = [
        [
            str(point["operations"]),
            f"{point['unified'] / 1e6:.2f} M",
            f"{point['separate'] / 1e6:.1f} M",
            f"{point['separate'] / point['unified']:.1f}",
        ]
        for point in found
    ]
    title = "Parameters of the supernet by operations a layer"
    values = [
        {"operations": point["operations"], "parameters": point[kind], "blocks": kind}
        for point in found
        for kind in ("separate", "unified")
    ]
    chart = alt.Chart(inline(values), title=title, width=420, height=260)
    lines = chart.mark_line(point=True).encode(
        x=alt.X("operations:Q", title="operations a layer"),
        y=alt.Y("parameters:Q", title="parameters", axis=alt.Axis(format="~s")),
        color=alt.Color("blocks:N", title="blocks", scale=alt.Scale(range=["#9aa0a6", "#d1495b"])),
    )
    columns = ["operations", "unified", "separate", "separate / unified"]
    return Presented([ResultTable(title, columns, rows)], {"": lines})


EXPERIMENT = Experiment(
    name="sgnas-fig-6b",
    title="SGNAS, Fig. 6b: parameters of the supernet against operations",
    measure=measure,
    present=present,
    seeds=1,
)
