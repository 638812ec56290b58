"""Blocks searched under a limit of multiply-adds, beside one block everywhere, random networks and random search.

A small copy of the paper's space, seven blocks of four choices (`recipes/demo-shufflenet.toml`), on images of garments
among patches of others. The limit is half of the way from the least to the most multiply-adds of the space; all that
is drawn or searched uses nine tenths of it or more. Both searches score 160 networks with the same uniform supernet.
Networks of one block everywhere have stages as wide, in proportion, as the limit allows. Every network is trained
alone, once and from scratch; top-1 is of 6,000 test images. The paper has 20 blocks, ImageNet, 1,000 networks to a
search and five random networks; here two are trained for each seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.base import Experiment, Outcome, Presented, ResultTable
from experiments.spos_runs import BUDGET, alone, drawn, figures, gains, network, row, searched, trained

EVOLUTION, SEARCH, SELECT = "supernet and evolution", "supernet and random search", "random networks"


def measure(seed: int, folder: Path, quick: bool) -> dict[str, Any]:
    run = trained("blocks", seed, folder, quick)
    return {
        **{f"{name} everywhere": alone(name, seed, folder, quick) for name in run.space.decisions[0].operations},
        SELECT: row(run, drawn(run, BUDGET, 2)),
        SEARCH: row(run, [network(searched(run, "random", BUDGET))]),
        EVOLUTION: row(run, [network(searched(run, "evolution", BUDGET))]),
    }


def present(outcomes: Sequence[Outcome]) -> Presented:
    names = list(outcomes[0])
    rows = [[name, *figures(outcomes, name), gains(outcomes, EVOLUTION, name)] for name in names]
    columns = ["network", "multiply-adds", "supernet top-1, %", "trained top-1, %", "evolution is better by, points"]
    rows[-1][-1] = ""
    return Presented([ResultTable("Top-1 under one limit", columns, rows)])


EXPERIMENT = Experiment(
    name="spos-table-3",
    title="SPOS, Table 3: blocks searched under a limit of multiply-adds",
    measure=measure,
    present=present,
)
