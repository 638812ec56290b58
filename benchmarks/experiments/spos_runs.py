"""What SPOS's experiments share: small copies of its spaces, and runs, searches and trainings of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from anybudget.architecture import Architecture
from anybudget.costs.counts import macs
from anybudget.decoding.reachability import parse_budgets
from anybudget.recipe import load_recipe
from anybudget.runs.run import Run
from anybudget.runs.trainings import Training, train_each
from anybudget.spaces import ShuffleNetSettings, ShuffleNetSpace
from experiments.base import ROOT, spread
from experiments.keeping import few_images, kept, processor_seconds

RECIPES = ROOT / "recipes"
BLOCKS = RECIPES / "demo-shufflenet.toml"
BITS = RECIPES / "demo-bits.toml"

LIMIT = 223_000
"""Multiply-adds: half of the way from the least to the most of `demo-shufflenet`."""
BUDGET = f"macs<={LIMIT}"

MOBILE = [
    "space.stages=[{width=8,repeats=3,stride=2},{width=16,repeats=3,stride=2},{width=24,repeats=3,stride=2}]",
    "space.first_width=0",
]
FBNET = ["space.name='fbnet'", *MOBILE]
PROXYLESS = [
    "space.name='mbconv'",
    *MOBILE,
    "space.operations=['k3_e3','k3_e6','k5_e3','k5_e6','k7_e3','k7_e6','skip']",
]
"""The operations of FBNet's space, and those of ProxylessNAS's, in nine layers."""

_QUICK = [
    *("supernet.epochs=1", "supernet.batch_size=16", "retrain.epochs=1", "retrain.batch_size=16"),
    *("search.calibration_images=16", "search.random.count=4"),
    *("search.evolution.population=4", "search.evolution.generations=2"),
]


def opened(name: str, seed: int, folder: Path, quick: bool, overrides: Sequence[str] = (), path: Path = BLOCKS) -> Run:
    """The run of a seed: its recipe is that at `path`, with `overrides`."""
    recipe = load_recipe(path, [f"seed={seed}", *overrides, *(_QUICK if quick else ())])
    run = Run.create(
        recipe, folder / f"spos-{name}-{seed}", data=few_images(1, recipe.space.input_size) if quick else None
    )
    run.workers = 1
    return run


def trained(name: str, seed: int, folder: Path, quick: bool, overrides: Sequence[str] = (), path: Path = BLOCKS) -> Run:
    """The same, with its supernet; what is trained already is kept."""
    run = opened(name, seed, folder, quick, overrides, path)
    if not run.folder.finished("supernet"):
        kept(run, "supernet", lambda: {"processor_seconds": processor_seconds(run.train_supernet)})
    return run


def searched(run: Run, strategy: str, budget: str) -> dict[str, Any]:
    """A strategy's answer for a budget, and all scores in the order of the search."""

    def work() -> dict[str, Any]:
        found: dict[str, Any] = {}
        asked = [parse_budgets(budget, run.costs)]
        seconds = processor_seconds(lambda: found.update(run.compare([strategy], asked, race=False)))
        (answers,) = found["strategies"]
        (answer,) = answers["candidates"]
        scores = [round(score["top1_percent"], 2) for score in answers["evaluated"]]
        return {"answer": answer, "scores": scores, "processor_seconds": seconds}

    name = f"{strategy}-{budget}".replace("<=", "-").replace("%", "-percent").replace(", ", "-")
    return dict(kept(run, name, work))


def network(found: Mapping[str, Any]) -> Architecture:
    """The architecture of an answer."""
    return Architecture.from_dict(found["answer"]["architecture"])


def drawn(run: Run, budget: str, count: int = 1) -> list[Architecture]:
    """Random networks of a budget, among those that use as much of it as the recipe asks of all."""
    feasible = run.strategy("random").feasible(parse_budgets(budget, run.costs))
    return feasible.sample(count, np.random.default_rng([run.recipe.seed, 1]))


def row(run: Run, networks: Sequence[Architecture], *, scored: bool = True, cost: str = "macs") -> dict[str, Any]:
    """Of networks: their mean cost, and their top-1 in percent, each trained alone once, and by the supernet."""
    trainings = train_each(run.context, [Training(architecture, run.recipe.seed) for architecture in networks])
    scores = run.evaluator.scores(networks) if scored else []
    return {
        "cost": sum(run.costs[cost].cost(architecture) for architecture in networks) / len(networks),
        "supernet": [round(score.top1_percent, 2) for score in scores],
        "trained": [round(training.test_figure("top1_percent"), 2) for training in trainings],
    }


def alone(operation: str, seed: int, folder: Path, quick: bool) -> dict[str, Any]:
    """A network of one block everywhere, its stages as wide, in proportion, as `LIMIT` allows."""
    settings = load_recipe(BLOCKS).space
    assert isinstance(settings, ShuffleNetSettings)
    for percent in range(300, 10, -1):
        widths = [2 * max(1, round(stage.width * percent / 200)) for stage in settings.stages]
        cost, overrides = _one_block(settings, operation, widths)
        if cost <= LIMIT:
            same = opened(f"{operation}-alone", seed, folder, quick, overrides)
            return row(same, [Architecture(same.space.name, (0,) * len(same.space.decisions))], scored=False)
    raise ValueError(f"no width of {operation} has {LIMIT:,} multiply-adds or fewer")


def _one_block(settings: ShuffleNetSettings, operation: str, widths: Sequence[int]) -> tuple[float, list[str]]:
    """The multiply-adds of such a network, and the overrides that make its space."""
    stages = [stage.model_copy(update={"width": width}) for stage, width in zip(settings.stages, widths, strict=True)]
    space = ShuffleNetSpace(settings.model_copy(update={"stages": tuple(stages), "operations": (operation,)}))
    blocks = space.block_specs(Architecture(space.name, (0,) * len(space.decisions)))
    written = ",".join(f"{{width={s.width},repeats={s.repeats},stride={s.stride}}}" for s in stages)
    return sum(map(macs, blocks)), [f"space.operations=['{operation}']", f"space.stages=[{written}]"]


Rows = Mapping[str, Mapping[str, Any]]


def figures(outcomes: Sequence[Rows], name: str) -> list[str]:
    """Cost, supernet score and trained top-1 of a row: means of each seed, and over seeds their mean and error."""
    rows = [outcome[name] for outcome in outcomes]
    scores = [float(np.mean(one["supernet"])) for one in rows if one["supernet"]]
    trained = [float(np.mean(one["trained"])) for one in rows]
    costs = float(np.mean([one["cost"] for one in rows]))
    return [f"{costs / 1e3:,.0f}k", spread(scores) if scores else "", spread(trained)]


def gains(outcomes: Sequence[Rows], better: str, worse: str) -> str:
    """By how many points of trained top-1 one row is better than another in the same seed."""
    found = [float(np.mean(outcome[better]["trained"]) - np.mean(outcome[worse]["trained"])) for outcome in outcomes]
    return spread(found)
