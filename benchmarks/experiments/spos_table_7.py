"""Memory and time of a path's training step, beside those of methods that train a supernet's mixture.

Of the spaces of Table 5, nine layers of nine and of seven operations: steps of DARTS, GDAS and FBNet as this package
has them (both halves, of the weights and of the distribution) over those of a uniform path, on the same supernet and
batch of 64 images, in turn in one process and one thread. Memory is the most that tensors take at once beyond what is
there before the step. The second table is what searches cost: that of the supernet's training and the evolution of
Table 5, in processor minutes as they were measured; of the others their steps' ratio times the supernet's training,
once for each limit, as these methods train anew for every one. Such trainings were not run. The paper has GPUs and
images of 224 pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from anybudget.recipe import load_recipe
from experiments.base import Experiment, Outcome, Presented, ResultTable, spread
from experiments.keeping import kept
from experiments.spos_runs import BLOCKS, searched
from experiments.spos_table_5 import MACS, SPACES, timed_run
from joint import measured

RIVALS = ("darts", "gdas", "fbnet")
LIMITS = (1, 10)


def measure(seed: int, folder: Path, quick: bool) -> dict[str, Any]:
    found = {}
    for name, overrides in list(SPACES.items())[: 1 if quick else None]:
        space = load_recipe(BLOCKS, overrides).build_space()
        steps = {kind: [time, peak] for kind, time, peak in measured(space, 4 if quick else 64, 2 if quick else 15)}
        run = timed_run(name, seed, folder, quick)
        found[name] = {
            "steps": {kind: steps[kind] for kind in RIVALS},
            "training": kept(run, "supernet", dict)["processor_seconds"],
            "search": searched(run, "evolution", MACS)["processor_seconds"],
        }
    return found


def present(outcomes: Sequence[Outcome]) -> Presented:
    steps = [
        [name, kind, *(spread([outcome[name]["steps"][kind][which] for outcome in outcomes]) for which in (0, 1))]
        for name in outcomes[0]
        for kind in RIVALS
    ]
    costs = []
    for name in outcomes[0]:
        seeds = [outcome[name] for outcome in outcomes]
        path = [spread([(one["training"] + n * one["search"]) / 60 for one in seeds], 1) for n in LIMITS]
        costs.append([name, "path and evolution", *path])
        for kind in RIVALS:
            minutes = [[n * one["training"] * one["steps"][kind][0] / 60 for one in seeds] for n in LIMITS]
            costs.append([name, kind, *(spread(values, 1) for values in minutes)])
    titles = ["A training step, over a path's", "Processor minutes of a search"]
    columns = [["space", "method", "time", "peak memory"], ["space", "method", *(f"{n} limits" for n in LIMITS)]]
    columns[1][2] = "1 limit"
    return Presented([ResultTable(t, c, r) for t, c, r in zip(titles, columns, (steps, costs), strict=True)])


EXPERIMENT = Experiment(
    name="spos-table-7",
    title="SPOS, Table 7: memory and time of a search",
    measure=measure,
    present=present,
)
