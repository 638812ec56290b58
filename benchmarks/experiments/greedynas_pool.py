"""How stale the losses in the candidate pool are, and what it helps and costs to rescore its members.

At the end of training all members of the pool are scored with the weights there are then, on 1,000 validation images
as one batch: Kendall's tau of the losses that the pool holds with these, of the greedy supernet of
`greedynas-table-1` and of one that rescores half a member with every path that it samples (`rescore = 0.5`, the
oldest first). The losses of a pool are of 64 images, drawn anew for every round; so fresh losses on 64 images are
there for comparison: no rescoring orders better than that. The answers of NSGA-II from the two pools under 1.1M
multiply-adds are trained alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from anybudget.evaluation.ranking import batch_losses, rank_correlation
from anybudget.runs.run import Run
from anybudget.storage.records import PoolMember, read_records
from experiments.base import Experiment, Outcome, Presented, ResultTable, spread
from experiments.greedynas import POOLED, answer, spent, supernet
from experiments.keeping import kept

KINDS = {"greedy": "off", "greedy-rescored": "0.5"}


def measure(seed: int, folder: Path, quick: bool) -> dict[str, Any]:
    found = {}
    for kind in KINDS:
        run = supernet(folder, kind, seed, quick)
        ages = kept(run, "pool", partial(_staleness, run, seed))
        found[kind] = {**answer(folder, kind, POOLED, "nsga2-from-pool", seed, quick), **spent(run), **ages}
    return found


def _staleness(run: Run, seed: int) -> dict[str, Any]:
    """How well the losses of a pool order its members, by fresh losses on many images."""
    kept_members = list(read_records(run.folder.path / "pool.jsonl", PoolMember))
    members, held = [member.architecture for member in kept_members], [member.loss for member in kept_members]
    many, few = (
        batch_losses(run.supernet, run.data, members, run.data.validation.sample(count, draw, balanced=True))
        for count, draw in ((1000, seed), (64, seed + 1))
    )
    return {
        "members": len(members),
        "held_kendall": rank_correlation(held, many).kendall,
        "fresh_kendall": rank_correlation(few, many).kendall,
        "held_too_high": float(np.mean(held) - np.mean(many)),
        "loss": float(np.mean(many)),
    }


def present(outcomes: Sequence[Outcome]) -> Presented:
    rows = []
    for kind, rescore in KINDS.items():
        found = [outcome[kind] for outcome in outcomes]
        taus = [spread([one[f"{key}_kendall"] or 0.0 for one in found]) for key in ("held", "fresh")]
        losses = [spread([one[key] for one in found], 3) for key in ("loss", "held_too_high")]
        scored = spread([one["images_scored"] / 1e3 for one in found], 0)
        corrected = spread([one["images_corrected"] / 1e3 for one in found], 0)
        rows.append(
            [rescore, *taus, *losses, scored, corrected, spread([one["trained_top1_percent"] for one in found])]
        )
    columns = ["rescore", "tau of the pool's losses", "tau of fresh losses on 64 images", "fresh loss, mean"]
    columns += ["held above fresh", "images scored, k", "corrected images, k", "test top-1 of the answer, %"]
    return Presented([ResultTable("The pool at the end of training: mean ± standard error over seeds", columns, rows)])


EXPERIMENT = Experiment(
    name="greedynas-pool",
    title="GreedyNAS, the candidate pool: how stale its losses are",
    measure=measure,
    present=present,
)
