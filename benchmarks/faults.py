"""What kills, mistakes and lost workers cost: nothing. Stages killed at random moments, bad inputs, dead workers.

Every stage of a tiny run is killed (SIGKILL) at random moments and resumed, and all that it leaves is compared
with an uninterrupted one's, to the last bit. Then the tests of bad inputs are run and counted, and workers that
evaluate candidates are killed.
Run: python benchmarks/faults.py [--kills 10]
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from anybudget.architecture import Architecture
from anybudget.budgets import BudgetSet
from anybudget.evaluation import evaluator as evaluation
from anybudget.evaluation.engines.ray import RayEngine
from anybudget.evaluation.metrics import Metrics
from anybudget.recipe import load_recipe
from anybudget.runs.run import Run
from anybudget.search import STRATEGIES
from anybudget.testing import check_resume
from anybudget.training import SAMPLERS
from fashion import ROOT
from measure import machine

SETTINGS = [
    "threads=1",
    "device=cpu",
    "checkpoint_seconds=0",
    "data.validation_fraction=0.3",
    "space.input_size=8",
    "space.stages=[{width = 4, repeats = 1, stride = 1}, {width = 6, repeats = 2, stride = 2}]",
    "space.stem_width=4",
    "space.first_width=4",
    "space.classes=3",
    "supernet.epochs=6",
    "supernet.batch_size=16",
    "supernet.greedy.score_images=12",
    "supernet.greedy.pool_size=20",
    "supernet.greedy.window=3",
    "generator.epochs=8",
    "generator.batch_size=16",
    "retrain.epochs=8",
    "retrain.batch_size=16",
    "search.calibration_images=32",
    "search.generator.priors=2",
    "search.generator.candidates=12",
    "search.random_baseline=10",
    'search.budgets=["macs<=30k", "macs<=60k"]',
    "retrain.picks=[1]",
    "search.evolution.population=8",
    "search.evolution.generations=6",
    "search.nsga2.population=8",
    "search.nsga2.generations=6",
    "search.linear.samples=30",
    "search.refined.priors=2",
    "search.refined.candidates=6",
    "search.direct.epochs=8",
    "search.direct.batch_size=16",
    "search.direct.candidates=12",
    "search.refined.rounds=3",
    *(f"search.{name}={{epochs=6,batch_size=16,candidates=12}}" for name in ("darts", "gdas", "fbnet", "setn")),
]
BUDGETS = [BudgetSet.parse(text) for text in ("macs<=30k", "macs<=60k, params<=1500")]


def write_images(path: Path) -> Path:
    """Noise with a bright row at one of three heights, which is the class."""
    rng = np.random.default_rng(0)
    labels = np.arange(300) % 3
    images = rng.integers(0, 90, (300, 8, 8)).astype(np.uint8)
    images[np.arange(300), 1 + 2 * labels] += 120
    np.savez(path, x=images, y=labels)
    return path


def begin(folder: Path, *overrides: str) -> Run:
    source = write_images(folder.parent / "images.npz")
    recipe = load_recipe(ROOT / "recipes" / "fashion.toml", [*SETTINGS, f"data.source={source}", *overrides])
    return Run.create(recipe, folder)


def silently(_line: str) -> None:
    """What a run says of stages that are finished is of no interest here."""


def searched(name: str, path: Path) -> object:
    return Run.open(path).search_with(name, BUDGETS)


def stages(scratch: Path) -> dict[str, tuple[Path, Callable[[Path], object]]]:
    """By name: a run folder as it is before the work, and the work."""
    trained = begin(scratch / "trained", "supernet.sampler=greedy")
    trained.train_supernet()
    trained.train_generator()
    architecture = trained.space.sample(np.random.default_rng(0))
    found: dict[str, tuple[Path, Callable[[Path], object]]] = {}
    for sampler in SAMPLERS:
        fresh = begin(scratch / f"begin-{sampler}", f"supernet.sampler={sampler}").folder.path
        found[f"supernet, {sampler}"] = fresh, lambda path: Run.open(path).train_supernet()
    path = trained.folder.path
    found["generator"] = path, lambda path: Run.open(path).train_generator()
    for name in STRATEGIES:
        found[f"search, {name}"] = path, partial(searched, name)
    found["compare"] = path, lambda path: Run.open(path).compare(["random", "linear", "evolution"], BUDGETS)
    found["retrain"] = path, lambda path: Run.open(path).retrain(architecture)
    found["the whole run"] = (
        begin(scratch / "begin").folder.path,
        lambda path: Run.open(path).run_all(lambda _line: None),
    )
    return found


def killed_stages(kills: int, scratch: Path, table: Table) -> None:
    evaluation.GROUP = 3  # so that a search of this size is more than one group
    for name, (path, work) in stages(scratch).items():
        try:
            killed, verdict = check_resume(path, work, scratch, kills=kills), "yes"
        except AssertionError as error:
            killed, verdict = kills, f"NO: {error}"
        table.add_row(name, str(killed), verdict)


def bad_inputs() -> tuple[int, int]:
    """How many the tests try, and how many end with one clear error."""
    files = [str(path) for path in sorted((ROOT / "tests").glob("test_bad_*.py"))]
    command = [sys.executable, "-m", "pytest", "-v", "--no-header", "-p", "no:cacheprovider", *files]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout
    counts = {word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|xfailed|errors?)", said)}
    return sum(counts.values()), counts.get("passed", 0)


def lost_workers(kills: int, scratch: Path) -> tuple[int, int, int]:
    """How many workers were killed while evaluating, networks evaluated, and how many scores are missing or other."""
    evaluation.GROUP = 4
    run = Run.open(scratch / "trained")
    rng = np.random.default_rng(0)
    networks = list({run.space.sample(rng): None for _ in range(200)})
    groups = [networks[first : first + 4] for first in range(0, len(networks), 4)]
    evaluator = run.new_evaluator().subnet_evaluator
    here = {network: score for group in groups for network, score in evaluator.scores(group).items()}
    found: dict[Architecture, Metrics] = {}
    killed = 0
    with RayEngine(lambda: evaluator, workers=2) as engine:
        for number, scores in enumerate(engine(groups)):
            found |= scores
            if number % 6 == 3 and killed < kills and engine.pids:
                os.kill(engine.pids[-1], signal.SIGKILL)
                killed += 1
    return killed, len(networks), sum(found.get(network) != score for network, score in here.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=10)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    console = Console(width=110)
    table = Table("stage", "killed", "identical?", title=f"killed and resumed ({machine()})", title_justify="left")
    with tempfile.TemporaryDirectory() as scratch:
        killed_stages(arguments.kills, Path(scratch), table)
        console.print(table)
        killed, networks, lost = lost_workers(6, Path(scratch))
    console.print(f"workers killed while they evaluated {networks} networks: {killed}; results lost or other: {lost}")
    tried, clear = bad_inputs()
    console.print(f"bad inputs: {tried} tests, {clear} end with exit code 2, one message, nothing written or lost")


if __name__ == "__main__":
    main()
