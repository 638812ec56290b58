"""NAS-Bench-201 on CIFAR-10: SGNAS beside RSPS, SETN, GDAS, DARTS, SPOS and FairNAS, with the table as the judge.

The supernets are narrow copies of the benchmark's networks, those of the track `quick` (docs/benchmarks.md), on a
part of CIFAR-10 that was saved as JPEG. Every method answers the same 15 budgets in multiply-adds of the full
network, and the table says what an answer is worth after 200 epochs of training alone. One supernet of uniform paths
serves the generator (SGNAS, trained once for all budgets), random search (RSPS) and evolution (SPOS). FairNAS has a
supernet of its own, trained by fair rounds on as many images and searched by NSGA-II. DARTS (first order), GDAS and
SETN train weights of their own together with a distribution. Random search on true accuracies, which has as many of
them as the generator has candidates, and the best network are exact and need no supernet.

What differs from the paper: the copies; the budgets, since which 15 the paper asked for could not be verified; and
that rivals are decoded within a budget, too. The paper's have none, so the largest budget, which all networks but one
meet, is the one that published figures stand beside. Isomorphic cells are one network here, whose results are
averaged.

What N budgets cost is measured in images forwarded and in seconds of processor, on one thread. The method that trains
anew for every budget is FBNet's, with the cost in its loss; it is measured for two budgets and multiplied.

The picture is Fig. 5, with the loss in place of the validation accuracy; it leaves out what is below 80%.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anybudget.architecture import Architecture
from anybudget.runs.bench import Prepared, load_track, prepare
from anybudget.runs.bench.seeds import run_seed
from anybudget.runs.run import Run
from anybudget.storage.files import write_whole
from anybudget.tabular.harness import SeedScores
from anybudget.tabular.order import order
from anybudget.tabular.regret import BudgetTruth, expected_best
from experiments.base import ROOT, Experiment
from experiments.cell_methods import ANEW, BUDGETS, SUPERNETS, TRUE_EVALUATIONS, present

BENCHMARK = "nas-bench-201"
DATA = ROOT.parent / "shared" / "data"
TABLE, IMAGES = DATA / "nas_bench_201_cifar10.npz", DATA / "cifar10_jpeg.npz"

SAMPLING = {
    "uniform": (),
    "fair": ('supernet.sampler="fair"', 'supernet.paths_per_step="round"', "supernet.share_batch=true"),
}

SMALL = (
    "track.train_images=200",
    "track.validation_images=40",
    "track.scored=20",
    "space.cells=1",
    "space.width=4",
    "supernet.epochs=1",
    'generator={cost = "table_macs", epochs = 1, batch_size = 50}',
    "search.calibration_images=16",
    "search.random.count=2",
    "search.generator.candidates=2",
    "search.evolution={population = 4, generations = 2}",
    "search.nsga2={population = 4, generations = 2}",
    *(f"search.{name}={{epochs = 1, batch_size = 20}}" for name in ("darts", "gdas", "fbnet")),
    "search.setn={epochs = 1, batch_size = 20, candidates = 2}",
)
"""What makes a test of it."""


def missing() -> str:
    absent = [str(path) for path in (TABLE, IMAGES) if not path.is_file()]
    return f"no {' and no '.join(absent)}; docs/benchmarks.md says what these files hold" if absent else ""


@dataclass(frozen=True)
class Meter:
    """Does each piece of work once, and keeps its result and the seconds of processor that it took in a file."""

    path: Path

    def __call__(self, name: str, work: Callable[[], Any]) -> Any:
        """The result, as JSON holds it, of work that has been done or is done now; of several tries time adds up."""
        kept = self.kept()
        found = kept.setdefault(name, {"seconds": 0.0})
        if "result" not in found:
            began = sum(os.times()[:4])
            try:
                found["result"] = work()
            finally:
                found["seconds"] += sum(os.times()[:4]) - began
                write_whole(self.path, json.dumps(kept).encode())
        return found["result"]

    def kept(self) -> dict[str, Any]:
        """Result and seconds of what has been done, by name."""
        return json.loads(self.path.read_text()) if self.path.exists() else {}

    def seconds(self, *names: str) -> float:
        """Of pieces that have been done."""
        return float(sum(self.kept()[name]["seconds"] for name in names))


def measure(seed: int, folder: Path, quick: bool) -> dict[str, Any]:
    supernets, methods = {}, {}
    for sampling, names in SUPERNETS.items():
        overrides = (f"search.budgets={_said(BUDGETS)}", f"track.strategies={json.dumps(list(names))}")
        small = SMALL if quick else ()
        track = load_track(BENCHMARK, "quick", (*overrides, *SAMPLING[sampling], *small))
        bench = prepare(track, TABLE, str(IMAGES), folder / f"{BENCHMARK}-{sampling}")
        meter = Meter(bench.folder / f"seed-{seed}.json")
        run, scores = searched(bench, seed, meter, names)
        supernets[sampling] = judged(bench, run, scores, meter)
        for strategy, method in names.items():
            methods[method] = answered(bench.budgets, scores, strategy, meter)
        if sampling == "uniform":
            methods["FBNet"] = trained_anew(bench, seed, meter)
            shown = cloud(bench, scores)
    return {"supernets": supernets, "methods": methods, "cloud": shown, "truth": truths(bench.budgets)}


def _said(budgets: Sequence[int]) -> str:
    return json.dumps([f"table_macs<={budget}M" for budget in budgets])


def searched(bench: Prepared, seed: int, meter: Meter, strategies: Mapping[str, str]) -> tuple[Run, SeedScores]:
    """A supernet that has been trained, its scores of the sample, and the answers of the strategies."""
    run = bench.run(seed)
    run.workers = 1  # so that all work is in this process
    meter("train supernet", lambda: None if run.folder.finished("supernet") else run.train_supernet())
    if "generator" in strategies:
        meter("train generator", lambda: None if run.folder.finished("generator") else run.train_generator())
    networks = bench.sample.networks
    meter("scores", lambda: run_seed(run, networks, []) and None)
    for name in strategies:
        meter(name, lambda name=name: run_seed(run, networks, [name]) and None)  # type: ignore[misc]
    return run, run_seed(run, networks, list(strategies))


def judged(bench: Prepared, run: Run, scores: SeedScores, meter: Meter) -> dict[str, Any]:
    """How well a supernet orders the sample, beside what the multiply-adds do, and what training it took.

    A tau is 0 where scores are the same for all.
    """
    percent, macs = bench.sample.percent, bench.sample.macs
    ordered = {"loss": scores.by_loss, "top1": scores.top1, "macs": macs}
    orders = {name: order(values, percent) for name, values in ordered.items()}
    return {
        "kendall": {name: found.kendall or 0.0 for name, found in orders.items()},
        "top_kendall": {name: found.top_kendall or 0.0 for name, found in orders.items()},
        "networks": len(percent),
        "images": json.loads((run.folder.path / "supernet.json").read_text())["images_trained"],
        "seconds": meter.seconds("train supernet"),
    }


def answered(budgets: BudgetTruth, scores: SeedScores, strategy: str, meter: Meter) -> dict[str, Any]:
    """What the answers of a strategy are worth, and what they have cost beside the supernet that judges them."""
    found = scores.answers[strategy]
    seconds = meter.seconds(strategy, *(["train generator"] if strategy == "generator" else []))
    return {
        **worth(budgets, found.architectures),
        "images": found.training.images,
        "judged_images": found.spent.images - found.training.images,
        "seconds": seconds,
    }


def worth(budgets: BudgetTruth, networks: Sequence[Architecture]) -> dict[str, Any]:
    """True accuracies of answers, in percent."""
    rows = [budgets.truth.index[network] for network in networks]
    found = {name: values[rows].tolist() for name, values in accuracies(budgets).items()}
    return {"networks": [list(network.choices) for network in networks], **found}


def trained_anew(bench: Prepared, seed: int, meter: Meter) -> dict[str, Any]:
    """What FBNet finds and costs, which trains weights and a distribution anew for each of a few budgets."""
    run = bench.run(seed)
    run.workers = 1
    search = run.recipe.search.model_copy(update={"budgets": json.loads(_said(ANEW))})
    run.recipe = run.recipe.model_copy(update={"search": search})
    meter("fbnet", lambda: run_seed(run, [], ["fbnet"]) and None)
    found = run_seed(run, [], ["fbnet"]).answers["fbnet"]
    answers = worth(bench.budgets, found.architectures)
    return {**answers, "images": found.training.images, "seconds": meter.seconds("fbnet")}


def cloud(bench: Prepared, scores: SeedScores) -> dict[str, Any]:
    """True accuracy and score of the networks of the sample, and of the generator's answers."""
    found = scores.answers["generator"]
    return {
        "truth": bench.sample.percent.tolist(),
        "loss": scores.loss.tolist(),
        "answers": [bench.budgets.truth.percent[bench.budgets.truth.index[a]] for a in found.architectures],
        "answers_loss": list(found.losses),
    }


def accuracies(budgets: BudgetTruth) -> dict[str, NDArray[np.float64]]:
    """True accuracies in percent of all networks: on CIFAR-10, and on what other data sets the table has."""
    others = dict(budgets.truth.others)
    return {"validation": others.pop("val_top1_percent"), "test": budgets.truth.percent, **others}


def truths(budgets: BudgetTruth) -> dict[str, Any]:
    """What needs no supernet: the best and the largest within each budget, and random search on true accuracies.

    Its networks are chosen by validation; its accuracies are expectations over the draws, with their standard deviation
    at the largest budget.
    """
    known, test = accuracies(budgets), budgets.truth.percent
    best, largest = budgets.picked(test), budgets.picked(budgets.truth.macs)

    def drawn(values: NDArray[np.float64]) -> list[float]:
        by = known["validation"]
        return [expected_best(by[rows], TRUE_EVALUATIONS, values[rows]) for rows in budgets.rows]

    random = {name: drawn(values) for name, values in known.items()}
    return {
        "best": {name: values[best].tolist() for name, values in known.items()},
        "largest": {name: values[largest].tolist() for name, values in known.items()},
        "random": random,
        "random_deviation": float(np.sqrt(max(0.0, drawn(test**2)[-1] - random["test"][-1] ** 2))),
    }


EXPERIMENT = Experiment(
    name="sgnas-table-3",
    title="SGNAS, Table 3 and Fig. 5: NAS-Bench-201",
    measure=measure,
    present=present,
    missing=missing,
)
