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
anew for every budget is FBNet's, with the cost in its loss; it is measured for two budgets and multiplied. FBNet and
FairNAS, which take longer than all others together, are measured with one seed, so nothing is claimed of them.

The picture is Fig. 5, with the loss in place of the validation accuracy; it leaves out what is below 80%.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
from numpy.typing import NDArray

from anybudget.architecture import Architecture
from anybudget.runs.bench import Prepared, load_track, prepare
from anybudget.runs.bench.seeds import run_seed
from anybudget.runs.run import Run
from anybudget.storage.files import write_whole
from anybudget.tabular import TABLES
from anybudget.tabular.harness import SeedScores
from anybudget.tabular.order import order
from anybudget.tabular.regret import BudgetTruth, expected_best
from experiments.base import ROOT, Experiment, Outcome, Presented, ResultTable, inline, spread

BENCHMARK = "nas-bench-201"
DATA = ROOT.parent / "shared" / "data"
TABLE, IMAGES = DATA / "nas_bench_201_cifar10.npz", DATA / "cifar10_jpeg.npz"

BUDGETS = tuple(range(10, 221, 15))
"""In millions of multiply-adds of the full network: as many as the paper asks for."""

SUPERNETS = {
    "uniform": {
        "generator": "SGNAS",
        "random": "RSPS",
        "evolution": "SPOS",
        "gdas": "GDAS",
        "darts": "DARTS",
        "setn": "SETN",
    },
    "fair": {"nsga2": "FairNAS"},
}
"""The strategies that ask each supernet, or are judged by it, and the methods that they are."""

SAMPLING = {
    "uniform": (),
    "fair": ('supernet.sampler="fair"', 'supernet.paths_per_step="round"', "supernet.share_batch=true"),
}

ANEW = (BUDGETS[3], BUDGETS[-1])
"""The budgets for which FBNet is trained."""

DEAR = (1,)
"""The seeds with which FBNet and FairNAS are measured, which take longer than all others together."""

FROM = BUDGETS[3]
"""The first budget that a 3x3 convolution fits in; below, the best network is far from the best of all."""

TRUE_EVALUATIONS = 40
"""Of random search on true accuracies at a budget: as many as the generator has candidates."""

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

METHODS = tuple(method for names in SUPERNETS.values() for method in names.values())

JOINT = ("gdas", "darts", "setn")
"""The strategies that train weights of their own, for which no supernet has to be trained."""

SHOWN = 80.0
"""The percentage from which on networks are in the picture: the few below would squeeze all others."""

PUBLISHED = {
    "SGNAS": "93.53 ± 0.12",
    "GDAS": "93.51",
    "RSPS": "87.66",
    "SETN": "86.19",
    "DARTS": "54.30",
    "best of all networks": "94.37",
}
"""Test top-1 in percent on CIFAR-10, from SGNAS, Table 3."""


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
    dear = quick or seed in DEAR
    for sampling, names in SUPERNETS.items():
        if sampling == "fair" and not dear:
            continue
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
            if dear:
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
    validation = _validation(budgets)
    return {
        "networks": [list(network.choices) for network in networks],
        "validation": [validation[row] for row in rows],
        "test": budgets.truth.percent[rows].tolist(),
    }


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


def _validation(budgets: BudgetTruth) -> list[float]:
    """Validation accuracy in percent of every network of the table."""
    found = TABLES[BENCHMARK].read(TABLE).networks("val_top1_percent")
    return [found[network] for network in budgets.truth.networks]


def truths(budgets: BudgetTruth) -> dict[str, Any]:
    """What needs no supernet: the best and the largest within each budget, and random search on true accuracies.

    Its networks are chosen by validation; its accuracies are expectations over the draws, with their standard deviation
    at the largest budget.
    """
    validation, test = np.array(_validation(budgets)), budgets.truth.percent
    best, largest = budgets.picked(test), budgets.picked(budgets.truth.macs)

    def drawn(values: NDArray[np.float64]) -> list[float]:
        return [expected_best(validation[rows], TRUE_EVALUATIONS, values[rows]) for rows in budgets.rows]

    found = drawn(test)
    return {
        "best": {"test": test[best].tolist(), "validation": validation[best].tolist()},
        "largest": {"test": test[largest].tolist(), "validation": validation[largest].tolist()},
        "random": {"test": found, "validation": drawn(validation)},
        "random_deviation": float(np.sqrt(max(0.0, drawn(test**2)[-1] - found[-1] ** 2))),
    }


def present(outcomes: Sequence[Outcome]) -> Presented:
    tables = [at_the_largest(outcomes), over_all(outcomes), costs(outcomes), as_judges(outcomes)]
    return Presented(tables, {"": picture(outcomes)})


def _with(outcomes: Sequence[Outcome], method: str) -> list[Outcome]:
    """The outcomes of the seeds with which a method has been measured."""
    return [outcome for outcome in outcomes if method in outcome["methods"]]


def _said_of(outcomes: Sequence[Outcome], method: str) -> str:
    """A method, and how many seeds it has where others have more."""
    count = len(_with(outcomes, method))
    return method if count == len(outcomes) else f"{method} ({count} of {len(outcomes)} seeds)"


def _deviation(values: Sequence[float]) -> str:
    """Mean and standard deviation, as the paper has them."""
    mean = f"{np.mean(values):.2f}"
    return f"{mean} ± {np.std(values, ddof=1):.2f}" if len(values) > 1 else mean


def at_the_largest(outcomes: Sequence[Outcome]) -> ResultTable:
    """Validation and test accuracy at the largest budget, beside the published."""
    rows = []
    for method in (method for method in METHODS if _with(outcomes, method)):
        kinds = [[o["methods"][method][kind][-1] for o in _with(outcomes, method)] for kind in ("validation", "test")]
        rows.append([_said_of(outcomes, method), *map(_deviation, kinds), PUBLISHED.get(method, "")])
    truth = outcomes[0]["truth"]
    random = truth["random"]
    name = f"random search on {TRUE_EVALUATIONS} true accuracies"
    said = f"{random['test'][-1]:.2f} ± {truth['random_deviation']:.2f}"
    rows.append([name, f"{random['validation'][-1]:.2f}", said, ""])
    for name, row in (("most multiply-adds", truth["largest"]), ("best of all networks", truth["best"])):
        rows.append([name, f"{row['validation'][-1]:.2f}", f"{row['test'][-1]:.2f}", PUBLISHED.get(name, "")])
    title = f"Top-1 in percent at {BUDGETS[-1]}M multiply-adds, mean ± standard deviation over {len(outcomes)} seeds"
    return ResultTable(title, ["method", "validation", "test", "published test"], rows)


def over_all(outcomes: Sequence[Outcome]) -> ResultTable:
    """Regret over the budgets: the mean and the worst, and the mean from the budget on that a deep network meets."""
    truth, rows = outcomes[0]["truth"], []
    found = {
        _said_of(outcomes, method): [o["methods"][method]["test"] for o in _with(outcomes, method)]
        for method in METHODS
        if _with(outcomes, method)
    }
    found[f"random search on {TRUE_EVALUATIONS} true accuracies"] = [truth["random"]["test"]]
    found["most multiply-adds"] = [truth["largest"]["test"]]
    for method, tests in found.items():
        regrets = [np.subtract(truth["best"]["test"], test) for test in tests]
        parts = [
            [r.mean() for r in regrets],
            [r.max() for r in regrets],
            [r[BUDGETS.index(FROM) :].mean() for r in regrets],
        ]
        rows.append([method, *(spread([float(value) for value in part]) for part in parts)])
    title = f"Regret in points of test top-1 over the {len(BUDGETS)} budgets, mean ± standard error"
    return ResultTable(title, ["method", "mean", "worst", f"mean from {FROM}M on"], rows)


def costs(outcomes: Sequence[Outcome]) -> ResultTable:
    """What the answers to all budgets have cost, with the supernet where a method searches one."""
    rows = []
    for sampling, names in SUPERNETS.items():
        for strategy, method in names.items():
            own = strategy in JOINT
            having = _with(outcomes, method)
            if not having:
                continue
            supernets = [{"images": 0, "seconds": 0.0} if own else o["supernets"][sampling] for o in having]
            found = [o["methods"][method] for o in having]
            images, seconds = (
                [row[key] + net[key] for row, net in zip(found, supernets, strict=True)]
                for key in ("images", "seconds")
            )
            judged_by = _millions([row["judged_images"] for row in found])
            rows.append([_said_of(outcomes, method), _millions(images), judged_by, spread(seconds, 0)])
    if anew := [o["methods"]["FBNet"] for o in _with(outcomes, "FBNet")]:
        factor = len(BUDGETS) / len(ANEW)
        name = f"FBNet, {len(BUDGETS)} trainings ({len(ANEW)} measured, {len(anew)} of {len(outcomes)} seeds)"
        seconds = [factor * row["seconds"] for row in anew]
        rows.append([name, _millions([factor * row["images"] for row in anew]), "", spread(seconds, 0)])
    columns = ["method", "images trained on, M", "images judged by, M", "seconds of processor"]
    return ResultTable(f"What answers to {len(BUDGETS)} budgets cost, mean ± standard error", columns, rows)


def _millions(images: Sequence[float]) -> str:
    return f"{np.mean(images) / 1e6:.2f}"


def as_judges(outcomes: Sequence[Outcome]) -> ResultTable:
    """How well the supernets order a sample of the networks."""
    rows = []
    for sampling in SUPERNETS:
        found = [o["supernets"][sampling] for o in outcomes if sampling in o["supernets"]]
        count = "" if len(found) == len(outcomes) else f" ({len(found)} of {len(outcomes)} seeds)"
        for score, said in (("loss", "loss"), ("top1", "top-1")) if found else ():
            kinds = [[row[kind][score] for row in found] for kind in ("kendall", "top_kendall")]
            rows.append([f"{sampling} paths, {said}{count}", *map(spread, kinds)])
    floor = outcomes[0]["supernets"]["uniform"]
    rows.append(["multiply-adds", *(f"{floor[kind]['macs']:.2f}" for kind in ("kendall", "top_kendall"))])
    title = f"Kendall's tau with test top-1, on {floor['networks']} random networks, mean ± standard error"
    return ResultTable(title, ["supernet", "tau", "tau among the truly best tenth"], rows)


def picture(outcomes: Sequence[Outcome]) -> alt.Chart:
    """Fig. 5: scores of the supernet of uniform paths against true accuracy, the generator's answers marked."""
    points = []
    for number, outcome in enumerate(outcomes, 1):
        found = outcome["cloud"]
        for kind, truth, loss in (("network", "truth", "loss"), ("answer of the generator", "answers", "answers_loss")):
            pairs = zip(found[truth], found[loss], strict=True)
            points += [
                {"supernet": f"supernet {number}", "kind": kind, "test": t, "loss": value}
                for t, value in pairs
                if t >= SHOWN
            ]
    kinds = ["network", "answer of the generator"]
    colour = alt.Scale(domain=kinds, range=["#9db4c8", "#c8501e"])
    chart = alt.Chart(inline(points), width=230, height=230).mark_circle(opacity=0.8)
    encoded: alt.Chart = chart.encode(
        x=alt.X("test:Q", title="true test top-1, %", scale=alt.Scale(zero=False)),
        y=alt.Y("loss:Q", title="loss with the supernet's weights", scale=alt.Scale(zero=False, reverse=True)),
        color=alt.Color("kind:N", title=None, scale=colour, legend=alt.Legend(orient="top")),
        size=alt.Size("kind:N", legend=None, scale=alt.Scale(domain=kinds, range=[14, 60])),
        column=alt.Column("supernet:N", title=None),
    )
    return encoded


EXPERIMENT = Experiment(
    name="sgnas-table-3",
    title="SGNAS, Table 3 and Fig. 5: NAS-Bench-201",
    measure=measure,
    present=present,
    missing=missing,
)
