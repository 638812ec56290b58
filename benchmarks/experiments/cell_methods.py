"""How SGNAS's Table 3 and Fig. 5 are shown: the methods, the budgets, published figures, tables and the picture."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import numpy as np

from experiments.base import Outcome, Presented, ResultTable, inline, spread

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

ANEW = (BUDGETS[3], BUDGETS[-1])
"""The budgets for which FBNet is trained."""

FROM = BUDGETS[3]
"""The first budget that a 3x3 convolution fits in; below, the best network is far from the best of all."""

TRUE_EVALUATIONS = 40
"""Of random search on true accuracies at a budget: as many as the generator has candidates."""

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


def present(outcomes: Sequence[Outcome]) -> Presented:
    tables = [at_the_largest(outcomes), over_all(outcomes), costs(outcomes), as_judges(outcomes)]
    return Presented(tables, {"": picture(outcomes)})


def _deviation(values: Sequence[float]) -> str:
    """Mean and standard deviation, as the paper has them."""
    mean = f"{np.mean(values):.2f}"
    return f"{mean} ± {np.std(values, ddof=1):.2f}" if len(values) > 1 else mean


def at_the_largest(outcomes: Sequence[Outcome]) -> ResultTable:
    """Validation and test accuracy at the largest budget, on all data sets of the table, beside the published."""
    truth, rows = outcomes[0]["truth"], []
    others = [kind for kind in truth["best"] if kind not in ("validation", "test")]
    kinds = ["validation", "test", *others]
    for method in METHODS:
        found = [[outcome["methods"][method][kind][-1] for outcome in outcomes] for kind in kinds]
        rows.append([method, *map(_deviation, found), PUBLISHED.get(method, "")])
    drawn = {kind: f"{truth['random'][kind][-1]:.2f}" for kind in kinds}
    drawn["test"] += f" ± {truth['random_deviation']:.2f}"
    rows.append([f"random search on {TRUE_EVALUATIONS} true accuracies", *drawn.values(), ""])
    for name, row in (("most multiply-adds", truth["largest"]), ("best of all networks", truth["best"])):
        rows.append([name, *(f"{row[kind][-1]:.2f}" for kind in kinds), PUBLISHED.get(name, "")])
    title = f"Top-1 in percent at {BUDGETS[-1]}M multiply-adds, mean ± standard deviation over {len(outcomes)} seeds"
    return ResultTable(title, ["method", *kinds, "published test"], rows)


def over_all(outcomes: Sequence[Outcome]) -> ResultTable:
    """Regret over the budgets: the mean and the worst, and the mean from the budget on that a deep network meets."""
    truth, rows = outcomes[0]["truth"], []
    found = {method: [outcome["methods"][method]["test"] for outcome in outcomes] for method in METHODS}
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
            supernets = [{"images": 0, "seconds": 0.0} if own else o["supernets"][sampling] for o in outcomes]
            found = [outcome["methods"][method] for outcome in outcomes]
            images, seconds = (
                [row[key] + net[key] for row, net in zip(found, supernets, strict=True)]
                for key in ("images", "seconds")
            )
            judged_by = _millions([row["judged_images"] for row in found])
            rows.append([method, _millions(images), judged_by, spread(seconds, 0)])
    anew, factor = [outcome["methods"]["FBNet"] for outcome in outcomes], len(BUDGETS) / len(ANEW)
    name = f"FBNet, {len(BUDGETS)} trainings ({len(ANEW)} measured)"
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
        found = [outcome["supernets"][sampling] for outcome in outcomes]
        for score, said in (("loss", "loss"), ("top1", "top-1")):
            kinds = [[row[kind][score] for row in found] for kind in ("kendall", "top_kendall")]
            rows.append([f"{sampling} paths, {said}", *map(spread, kinds)])
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
