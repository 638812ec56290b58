"""When training ends because the pool is steady, what that saves, and what it costs in found networks, in two spaces.

Greedy supernets with the stop (at most 8% of a pool of 100 are new after 20 rounds of 5 trained paths) beside the
same without: `mbconv` (12 epochs, as in `greedynas-table-1`), and `shufflenet` of `recipes/small/shufflenet.toml`
(10 epochs). NSGA-II from the pool answers 1.1M and 550k multiply-adds, and the answers are trained alone, for 6 and 2
epochs.

Differs from the paper: its text, not its equation, see `GreedySampler`; the learning rate falls as if training went
on.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.base import Experiment, Outcome, Presented, ResultTable, spread
from experiments.greedynas import POOLED, SHUFFLENET, answer, spent, supernet

SPACES = {"mbconv": ("greedy", "greedy-stop"), "shufflenet": ("shufflenet-greedy", "shufflenet-stop")}
BUDGETS = {"mbconv": POOLED, "shufflenet": SHUFFLENET}


def measure(seed: int, folder: Path, quick: bool) -> dict[str, Any]:
    return {
        kind: {
            **answer(folder, kind, BUDGETS[space], "nsga2-from-pool", seed, quick),
            **spent(supernet(folder, kind, seed, quick)),
        }
        for space, kinds in SPACES.items()
        for kind in kinds
    }


def present(outcomes: Sequence[Outcome]) -> Presented:
    rows = []
    for space, kinds in SPACES.items():
        for kind, stop in zip(kinds, ("off", "on"), strict=True):
            found = [outcome[kind] for outcome in outcomes]
            whole = [outcome[kinds[0]]["images_trained"] for outcome in outcomes]
            share = [100 * one["images_trained"] / all_ for one, all_ in zip(found, whole, strict=True)]
            corrected = [one["images_corrected"] / 1e3 for one in found]
            top1 = [spread([one[f"{key}_top1_percent"] for one in found]) for key in ("supernet", "trained")]
            rows.append([space, stop, spread(share, 0), spread(corrected, 0), *top1])
    columns = ["space", "stop", "of the training, %", "corrected images, k", "supernet top-1, %"]
    table = ResultTable("Mean ± standard error over seeds", [*columns, "test top-1 once trained, %"], rows)
    return Presented([table])


EXPERIMENT = Experiment(
    name="greedynas-eq-10",
    title="GreedyNAS, Eq. 10: when training stops, and what that saves and costs",
    measure=measure,
    present=present,
)
