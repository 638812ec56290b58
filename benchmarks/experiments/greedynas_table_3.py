"""How well few validation images order networks: untrained, uniform and greedy supernets, and against trained networks.

Each supernet of `greedynas-table-1` scores the same 30 random networks of all sizes on subsets of the validation
images and on all 1,920 of them: Kendall's tau of the scores on a subset, as greedy training takes them (one batch
that normalises itself, the loss), with the recalibrated losses on all. And each scores the networks of this seed that
were trained alone, the answers of Tables 1 and 4 and three random ones: tau of its losses with their test top-1, beside
what the number of multiply-adds orders.

Differs from the paper: 30 paths for 1,000, and 1,920 images for 50,000; the column of trained networks is not in it.
Searches have chosen most of the trained networks by the supernets that are held against them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from anybudget.evaluation.evaluator import Evaluator
from anybudget.evaluation.ranking import against, rank_correlation, untrained
from anybudget.nets import Supernet
from anybudget.runs.judging import evaluator_settings
from anybudget.runs.run import Run
from experiments.base import Experiment, Outcome, Presented, ResultTable, spread
from experiments.greedynas import ranking, supernet, truth
from experiments.keeping import kept

SUPERNETS = ("untrained", "uniform", "greedy")


def measure(seed: int, folder: Path, quick: bool) -> dict[str, Any]:
    found: dict[str, Any] = {kind: ranking(folder, kind, seed, quick)["supernets"] for kind in ("uniform", "greedy")}
    rows = {
        "untrained": found["uniform"]["untrained"]["rows"],
        **{kind: found[kind]["trained"]["rows"] for kind in found},
    }
    true = truth(folder, seed, quick)

    def agreement(run: Run, net: Supernet) -> dict[str, Any]:
        scores = Evaluator(net, run.data, evaluator_settings(run.recipe, seed)).scores(list(true))
        return asdict(against(dict(zip(true, scores, strict=True)), true))

    trained = {}
    for kind in ("uniform", "greedy"):
        run = supernet(folder, kind, seed, quick)
        trained[kind] = kept(run, "against-trained", partial(agreement, run, run.supernet))
    trained["untrained"] = kept(
        run, "untrained-against-trained", partial(agreement, run, untrained(run.supernet, seed))
    )
    macs = rank_correlation([run.costs["macs"].cost(network) for network in true], list(true.values()))
    return {"rows": rows, "trained": trained, "macs_kendall": macs.kendall, "networks": len(true)}


def present(outcomes: Sequence[Outcome]) -> Presented:
    counts = [row["images"] for row in outcomes[0]["rows"]["uniform"]]
    few = ResultTable(
        f"Kendall's tau of the loss of one batch of few images with the loss on all {counts[-1]:,}",
        ["supernet", *(f"{count:,} images" for count in counts[:-1])],
        [[kind, *(_tau(o["rows"][kind][i]["batch_loss"] for o in outcomes) for i in range(len(counts) - 1))]
         for kind in SUPERNETS],
    )  # fmt: skip
    by_top1 = ResultTable(
        f"The same of top-1 on few images with top-1 on all {counts[-1]:,}, norms recalibrated",
        ["supernet", *(f"{count:,} images" for count in counts[:-1])],
        [[kind, *(_tau(o["rows"][kind][i]["top1"] for o in outcomes) for i in range(len(counts) - 1))]
         for kind in SUPERNETS],
    )  # fmt: skip
    networks = ", ".join(str(outcome["networks"]) for outcome in outcomes)
    alone = ResultTable(
        f"Kendall's tau of the loss on all images with test top-1 of networks trained alone ({networks} of each seed)",
        ["what orders them", "tau", "test top-1 of its first, %", "best there is, %"],
        [
            *([kind, *_alone([outcome["trained"][kind] for outcome in outcomes])] for kind in SUPERNETS),
            ["multiply-adds", spread([outcome["macs_kendall"] or 0.0 for outcome in outcomes]), "", ""],
        ],
    )
    return Presented([few, by_top1, alone])


def _tau(correlations: Any) -> str:
    return spread([correlation["kendall"] or 0.0 for correlation in correlations])


def _alone(agreements: Sequence[Outcome]) -> list[str]:
    percents = [spread([agreement[key] for agreement in agreements]) for key in ("picked_percent", "best_percent")]
    return [_tau(agreement["loss"] for agreement in agreements), *percents]


EXPERIMENT = Experiment(
    name="greedynas-table-3",
    title="GreedyNAS, Table 3: rank correlation of scores on few images",
    measure=measure,
    present=present,
)
