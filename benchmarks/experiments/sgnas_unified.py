"""What the experiments on SGNAS's unified space share: a small space of it, and runs whose supernet is trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from anybudget.architecture import Architecture
from anybudget.budgets import BudgetSet
from anybudget.decoding.reachability import parse_budgets
from anybudget.evaluation.metrics import Metrics
from anybudget.recipe import load_recipe
from anybudget.runs.run import Run
from anybudget.runs.trainings import Training, train_each
from experiments.base import ROOT
from experiments.keeping import few_images, kept, processor_seconds

RECIPE = ROOT / "recipes" / "demo-unified.toml"

SUPERNETS = {
    "neither": ["space.forced_sampling=false", "space.shadow_norms=false"],
    "forced sampling": ["space.shadow_norms=false"],
    "shadow norms": ["space.forced_sampling=false"],
    "both": [],
}
"""The four supernets of Fig. 6a; the other experiments have the last."""

TEN = tuple(f"macs<={share}%" for share in (10, 18, 26, 34, 42, 50, 58, 66, 74, 82))
"""N = 10 budgets, in percent of what the space reaches."""

_QUICK = [
    *("supernet.epochs=1", "supernet.batch_size=16", "generator.epochs=1", "retrain.epochs=1"),
    *("search.calibration_images=16", "search.generator.priors=1", "search.generator.candidates=2"),
    *("search.random.count=4", "search.evolution.population=4", "search.evolution.generations=2"),
]


def trained(seed: int, folder: Path, quick: bool, supernet: str = "both") -> Run:
    """The run of a seed and supernet, with its generator; what is trained already is kept."""
    recipe = load_recipe(RECIPE, [f"seed={seed}", *SUPERNETS[supernet], *(_QUICK if quick else ())])
    name = f"unified-{supernet.replace(' ', '-')}-{seed}"
    run = Run.create(recipe, folder / name, data=few_images(1, 48) if quick else None)
    run.workers = 1
    if not run.folder.finished("supernet"):
        run.train_supernet()
    if not run.folder.finished("generator"):
        kept(run, "generator", lambda: {"processor_seconds": processor_seconds(run.train_generator)})
    return run


def asked(run: Run, *budgets: str) -> list[BudgetSet]:
    """Budgets on the costs of a run, also in percent."""
    return [parse_budgets(text, run.costs) for text in budgets]


def points(run: Run, networks: Sequence[Architecture], scores: Sequence[Metrics]) -> list[list[float]]:
    """Multiply-adds and validation top-1 in percent of scored networks."""
    return [
        [run.costs["macs"].cost(network), round(score.top1_percent, 2)]
        for network, score in zip(networks, scores, strict=True)
    ]


def trained_top1(run: Run, networks: Sequence[Architecture]) -> list[float]:
    """Test top-1 in percent of networks trained alone."""
    wanted = [Training(network, run.recipe.seed) for network in networks]
    return [result.test_figure("top1_percent") for result in train_each(run.context, wanted)]
