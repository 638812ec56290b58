"""The six variants: path filtering, the candidate pool in training, and NSGA-II that starts from it; the stop is on.

Uniform supernets train all paths that are sampled, greedy ones the best 5 of 10. With the pool paths come from it
with a probability that grows to 0.8, and only then NSGA-II can start from it. Supernets, searches and trainings as in
`greedynas-table-1`, but for 1.1M multiply-adds, and training ends once at most 8% of the pool are new after 20
rounds. All but the first supernet score paths, and have as many epochs as cost what its 18 do, if none of them stops.

Differs from the paper: which paths its variants combine is taken from their names; scale as in `greedynas-table-1`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.base import Experiment, Outcome, Presented, ResultTable, spread
from experiments.greedynas import POOLED, answer, spent, supernet

VARIANTS = {
    ("uniform", "", ""): ("uniform", "nsga2"),
    ("uniform", "yes", ""): ("pool-stop", "nsga2"),
    ("uniform", "yes", "yes"): ("pool-stop", "nsga2-from-pool"),
    ("greedy", "", ""): ("filter-stop", "nsga2"),
    ("greedy", "yes", ""): ("greedy-stop", "nsga2"),
    ("greedy", "yes", "yes"): ("greedy-stop", "nsga2-from-pool"),
}


def measure(seed: int, folder: Path, quick: bool) -> dict[str, Any]:
    return {
        "variants": [
            {
                "variant": variant,
                **answer(folder, kind, POOLED, search, seed, quick),
                **{key: spent(supernet(folder, kind, seed, quick))[key] for key in ("epochs", "images_corrected")},
            }
            for variant, (kind, search) in VARIANTS.items()
        ]
    }


def present(outcomes: Sequence[Outcome]) -> Presented:
    rows = []
    for i, (paths, pool, start) in enumerate(VARIANTS):
        found = [outcome["variants"][i] for outcome in outcomes]
        top1 = [spread([one[f"{key}_top1_percent"] for one in found]) for key in ("supernet", "trained")]
        cost = [
            spread([one["epochs"] for one in found], 1),
            spread([one["images_corrected"] / 1e3 for one in found], 0),
        ]
        rows.append([paths, pool, start, *top1, *cost])
    columns = ["paths", "pool in training", "search from the pool", "supernet top-1, %", "test top-1 once trained, %"]
    title = "What NSGA-II found under 1.1M multiply-adds: mean ± standard error over seeds"
    return Presented([ResultTable(title, [*columns, "epochs", "corrected images, k"], rows)])


EXPERIMENT = Experiment(
    name="greedynas-table-4",
    title="GreedyNAS, Table 4: filtering, the pool, and the search from it",
    measure=measure,
    present=present,
)
