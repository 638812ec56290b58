"""What the experiments of GreedyNAS share: the supernets of a seed, searches under one budget, and trained networks.

All of it is kept in the folder of the experiments, one run for each supernet, and made where it is first asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from anybudget.architecture import Architecture
from anybudget.budgets import BudgetSet
from anybudget.data import DataSplits, load_splits
from anybudget.decoding.feasible import FeasibleSampler
from anybudget.recipe import load_recipe
from anybudget.runs.run import Run
from anybudget.runs.stages.retrain import retrained
from anybudget.search.base import Strategy
from anybudget.search.nsga2 import NSGA2Settings, NSGA2Strategy
from anybudget.search.random import RandomSettings, RandomStrategy
from experiments.base import ROOT
from experiments.keeping import kept

MBCONV = BudgetSet.parse("macs<=700k")
POOLED = BudgetSet.parse("macs<=1.1M")
"""What is asked for where the candidate pool matters: that of a greedy supernet has no network of 700k."""
SHUFFLENET = BudgetSet.parse("macs<=550k")
DRAWN = 3
"""Random networks of about the cost of the budget that are trained, too."""
PATHS, COUNTS = 30, [100, 200, 500, 1000]
"""How many random networks are ordered, and on how many of the validation images besides all."""

DEMO = [
    "data.cluttered-fashion.patches=2",  # with the demo's 8 supernets of minutes learn little
    "data.validation_fraction=0.08",
    "search.calibration_images=256",
    "retrain.epochs=6",
]
GREEDY = [
    "supernet.sampler=greedy",
    "supernet.epochs=12",
    "supernet.greedy.score_images=64",
    "supernet.greedy.pool_size=100",
    "supernet.greedy.window=0",
]
STOP = ["supernet.greedy.window=20"]
KINDS: dict[str, list[str]] = {
    "uniform": ["supernet.sampler=uniform", "supernet.epochs=18", "supernet.snapshots=3"],
    "greedy": [*GREEDY, "supernet.snapshots=2"],
    "greedy-stop": [*GREEDY, *STOP],
    "filter-stop": [*GREEDY, *STOP, "supernet.greedy.pool_probability=0.0"],
    "pool-stop": [*GREEDY, *STOP, "supernet.epochs=15", "supernet.greedy.sampled=5", "supernet.greedy.kept=5"],
    "greedy-rescored": [*GREEDY, "supernet.greedy.rescore=0.5"],
    "shufflenet-greedy": [*GREEDY, "supernet.epochs=10"],
    "shufflenet-stop": [*GREEDY, *STOP, "supernet.epochs=10"],
}
"""The supernets; those of mbconv have as many epochs as cost about what 18 of `uniform` do, if none stops."""

SEARCHES: dict[tuple[str, BudgetSet], tuple[str, ...]] = {
    ("uniform", MBCONV): ("random", "nsga2"),
    ("greedy", MBCONV): ("random", "nsga2-from-pool"),
    ("uniform", POOLED): ("nsga2",),
    ("greedy", POOLED): ("random", "nsga2", "nsga2-from-pool"),
    ("greedy-stop", POOLED): ("nsga2", "nsga2-from-pool"),
    ("filter-stop", POOLED): ("nsga2",),
    ("pool-stop", POOLED): ("nsga2", "nsga2-from-pool"),
    ("greedy-rescored", POOLED): ("nsga2-from-pool",),
    ("shufflenet-greedy", SHUFFLENET): ("nsga2-from-pool",),
    ("shufflenet-stop", SHUFFLENET): ("nsga2-from-pool",),
}
"""What searches each supernet for a budget, in one comparison; all evaluate 60 networks."""

QUICK = ["supernet.epochs=3", "retrain.epochs=1", "search.calibration_images=16", "supernet.greedy.score_images=20"]


class FromPool(NSGA2Strategy):
    """NSGA-II that starts from the candidate pool, under a name of its own, beside the one that does not."""

    name = "nsga2-from-pool"


def run_of(folder: Path, kind: str, seed: int, quick: bool) -> Run:
    """The run of a supernet, without it."""
    small = kind.startswith("shufflenet")
    recipe = ROOT / "recipes" / ("small/shufflenet.toml" if small else "demo.toml")
    settings = [f"seed={seed}", *([] if small else DEMO), *KINDS.get(kind, []), *(QUICK if quick else [])]
    name = kind if small else f"mbconv-{kind}"
    run = Run.create(load_recipe(recipe, settings), folder / f"{name}-{seed}", data=_few(recipe) if quick else None)
    run.workers = 1
    return run


def supernet(folder: Path, kind: str, seed: int, quick: bool) -> Run:
    """The run of a supernet, trained."""
    run = run_of(folder, kind, seed, quick)
    if not run.folder.finished("supernet"):
        run.train_supernet()
    return run


def searched(folder: Path, kind: str, budget: BudgetSet, seed: int, quick: bool) -> dict[str, dict[str, Any]]:
    """What each of the searches of a supernet has found and evaluated, by name: the strategies of `compare.json`."""
    run = supernet(folder, kind, seed, quick)

    def compare() -> dict[str, Any]:
        return run.compare([_strategy(run, name, quick) for name in SEARCHES[kind, budget]], [budget], race=False)

    found = kept(run, f"compare-{next(iter(budget)).limit:.0f}", compare)
    return {strategy["name"]: strategy for strategy in found["strategies"]}


def answer(folder: Path, kind: str, budget: BudgetSet, search: str, seed: int, quick: bool) -> dict[str, Any]:
    """What a search found: the supernet's top-1 of it, and test top-1 once it is trained, in percent, and its MACs."""
    (candidate,) = searched(folder, kind, budget, seed, quick)[search]["candidates"]
    trained_in = "shufflenet-trained" if kind.startswith("shufflenet") else "trained"
    return {
        "supernet_top1_percent": candidate["supernet_top1_percent"],
        "trained_top1_percent": trained(run_of(folder, trained_in, seed, quick), [_architecture(candidate)])[0],
        "macs": candidate["costs"]["macs"],
    }


def drawn(folder: Path, seed: int, quick: bool) -> list[float]:
    """Test top-1 of random networks that use at least 90% of 700k, trained."""
    run = run_of(folder, "trained", seed, quick)
    return trained(run, _random(run, seed))


def truth(folder: Path, seed: int, quick: bool) -> dict[Architecture, float]:
    """Test top-1 of the networks of Tables 1 and 4, and of random ones, each trained alone."""
    run = run_of(folder, "trained", seed, quick)
    answered = [
        _architecture(found["candidates"][0])
        for kind, budget in SEARCHES
        if budget == MBCONV or kind in ("uniform", "filter-stop", "pool-stop", "greedy-stop")
        for found in searched(folder, kind, budget, seed, quick).values()
    ]
    networks = list(dict.fromkeys([*answered, *_random(run, seed)]))
    return dict(zip(networks, trained(run, networks), strict=True))


def _architecture(candidate: dict[str, Any]) -> Architecture:
    return Architecture.from_dict(candidate["architecture"], "compare.json")


def _random(run: Run, seed: int) -> list[Architecture]:
    sampler = FeasibleSampler(run.space, run.costs, MBCONV, floor=0.9 * next(iter(MBCONV)).limit)
    return sampler.sample(DRAWN, np.random.default_rng(seed))


def ranking(folder: Path, kind: str, seed: int, quick: bool) -> dict[str, Any]:
    """How a supernet and its snapshots order random networks, beside an untrained one: `rank.json`."""
    run = supernet(folder, kind, seed, quick)
    if not (run.folder.path / "rank.json").exists():
        paths, counts = (4, [20]) if quick else (PATHS, COUNTS)
        run.rank(paths, counts, snapshots=True)
    return run.folder.read_json("rank.json")


def trained(run: Run, architectures: Sequence[Architecture]) -> list[float]:
    """Test top-1 of networks, each trained alone, and once."""
    known = retrained(run.context)
    run.retrain_each([architecture for architecture in architectures if architecture not in known])
    known = retrained(run.context)
    return [known[architecture] for architecture in architectures]


def spent(run: Run) -> dict[str, float]:
    """What the training of a supernet cost, and after how many epochs it ended."""
    epochs = len((run.folder.path / "supernet.csv").read_text().splitlines()) - 1
    return {**run.folder.read_json("supernet.json"), "epochs": epochs}


def _strategy(run: Run, name: str, quick: bool) -> Strategy:
    population, generations = (4, 2) if quick else (12, 5)
    if name == "random":
        return run.strategy(RandomStrategy, RandomSettings(count=population * generations))
    from_pool = name == FromPool.name
    settings = NSGA2Settings(population=population, generations=generations, from_pool=from_pool)
    return run.strategy(FromPool if from_pool else NSGA2Strategy, settings)


def _few(recipe: Path) -> DataSplits:
    """Few images of the recipe's data."""
    data = load_splits(load_recipe(recipe).data.source, seed=0)

    train, validation, test = (
        split.subset(torch.arange(count))
        for split, count in ((data.train, 400), (data.validation, 120), (data.test(), 100))
    )
    return DataSplits(train, validation, data.class_names, data.mean, data.std, test, data.preparation)
