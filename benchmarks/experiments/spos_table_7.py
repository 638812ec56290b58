"""Memory and time of a path's training step, beside those of methods that train a supernet's mixture.

Of the space of Table 3 and those of Table 5: steps of DARTS, GDAS and FBNet as this package has them (both halves, of
the weights and of the distribution) over those of a uniform path, on the same supernet and batch of 64 images, in turn
in one process and one thread. Memory is the most that tensors take at once beyond what is there before the step. The
second table is what searches of Table 3's space cost: that of its supernet's training and evolution, in processor
minutes as they were measured; of the others their steps' ratio times the supernet's training, once for each limit, as
these methods train anew for every one. Such trainings were not run. The paper has GPUs and images of 224 pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from anybudget.recipe import load_recipe
from experiments.base import Experiment, Outcome, Presented, ResultTable, spread
from experiments.keeping import kept
from experiments.spos_runs import BLOCKS, BUDGET, searched, trained
from experiments.spos_table_5 import SPACES as MOBILE
from joint import measured

SHUFFLENET = "ShuffleNet's blocks"
SPACES = {SHUFFLENET: [], **MOBILE}
RIVALS = ("darts", "gdas", "fbnet")
LIMITS = (1, 10)


def measure(seed: int, folder: Path, quick: bool) -> dict[str, Any]:
    steps = {}
    for name, overrides in list(SPACES.items())[: 1 if quick else None]:
        space = load_recipe(BLOCKS, overrides).build_space()
        found = measured(space, 4 if quick else 64, 2 if quick else 15)
        steps[name] = {kind: [time, peak] for kind, time, peak in found if kind in RIVALS}
    run = trained("blocks", seed, folder, quick)
    return {
        "steps": steps,
        "training": kept(run, "supernet", dict)["processor_seconds"],
        "search": searched(run, "evolution", BUDGET)["processor_seconds"],
    }


def present(outcomes: Sequence[Outcome]) -> Presented:
    steps = [
        [name, kind, *(spread([outcome["steps"][name][kind][which] for outcome in outcomes]) for which in (0, 1))]
        for name in outcomes[0]["steps"]
        for kind in RIVALS
    ]
    path = [[(one["training"] + limits * one["search"]) / 60 for one in outcomes] for limits in LIMITS]
    costs = [["path and evolution", *(spread(minutes, 1) for minutes in path)]]
    for kind in RIVALS:
        once = [one["training"] * one["steps"][SHUFFLENET][kind][0] / 60 for one in outcomes]
        costs.append([kind, *(spread([limits * minutes for minutes in once], 1) for limits in LIMITS)])
    columns = [["space", "method", "time", "peak memory"], ["method", *(f"limits: {limits}" for limits in LIMITS)]]
    titles = ["A training step, over a path's", "Processor minutes of a search"]
    return Presented([ResultTable(t, c, r) for t, c, r in zip(titles, columns, (steps, costs), strict=True)])


EXPERIMENT = Experiment(
    name="spos-table-7",
    title="SPOS, Table 7: memory and time of a search",
    measure=measure,
    present=present,
)
