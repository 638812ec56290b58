"""Long work is killed at random moments and resumed: what it leaves is what it leaves when nothing happens."""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from anybudget.budgets import BudgetSet
from anybudget.evaluation import evaluator as evaluation
from anybudget.recipe import load_recipe
from anybudget.recipe.trainings import Inherit
from anybudget.runs.run import Run
from anybudget.search import STRATEGIES
from anybudget.testing import check_resume
from anybudget.testing.interruption import differing_files
from anybudget.training import SAMPLERS
from conftest import RECIPE, slow_but, write_images
from stopping import stop_after

EVERY_STEP = ["checkpoint_seconds=0"]
LONGER = ["supernet.epochs=2", "generator.epochs=4", "retrain.epochs=4", "search.generator.candidates=12"]
GREEDY = ["supernet.greedy.score_images=12", "supernet.greedy.pool_size=20", "supernet.greedy.window=3"]
STEADY = [
    "supernet.sampler=greedy",
    "supernet.epochs=4",
    "supernet.greedy={score_images=12,pool_size=2,window=2,stop_share=1.0}",
]
SHORT_SEARCHES = [
    "search.evolution.population=8",
    "search.evolution.generations=4",
    "search.nsga2.population=8",
    "search.nsga2.generations=4",
    "search.linear.samples=20",
    "search.refined.priors=2",
    "search.refined.candidates=6",
    "search.direct.epochs=6",
    "search.direct.batch_size=16",
    "search.direct.candidates=12",
    "search.refined.rounds=2",
    *(f"search.{name}={{epochs=6,batch_size=16,candidates=12}}" for name in ("darts", "gdas", "fbnet", "setn")),
]
BUDGETS = [BudgetSet.parse(text) for text in ("macs<=30k", "macs<=60k, params<=1500")]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("resume")
    path = folder / "tiny.toml"
    path.write_text(RECIPE.format(source=write_images(folder / "images.npz", per_class=80)))
    return path


def begin(recipe: Path, folder: Path, *overrides: str) -> Run:
    return Run.create(load_recipe(recipe, [*EVERY_STEP, *LONGER, *SHORT_SEARCHES, *overrides]), folder)


@pytest.fixture(scope="module")
def trained(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a supernet and a generator, with a pool."""
    run = begin(recipe, tmp_path_factory.mktemp("trained") / "run", "supernet.sampler=greedy", *GREEDY)
    run.train_supernet()
    run.train_generator()
    return run.folder.path


@pytest.mark.parametrize(
    "trained_by",
    slow_but([("greedy", "1")], [*((name, "1") for name in SAMPLERS), ("fair", "round"), ("greedy", "round")]),
    ids="-".join,
)
def test_supernet_training(trained_by: tuple[str, str], recipe: Path, tmp_path: Path) -> None:
    sampler, paths = trained_by
    settings = [f"supernet.sampler={sampler}", f"supernet.paths_per_step={paths}", *GREEDY]
    settings += ["supernet.epochs=1"] if paths == "round" else ["supernet.snapshots=1", "supernet.greedy.rescore=0.6"]
    run = begin(recipe, tmp_path / "begin", *settings)
    assert check_resume(run.folder.path, lambda path: Run.open(path).train_supernet(), tmp_path)


def test_supernet_training_that_ends_early(recipe: Path, tmp_path: Path) -> None:
    """A pool that any change leaves steady enough ends training within an epoch."""
    begin(recipe, tmp_path / "begin", *STEADY)
    shutil.copytree(tmp_path / "begin", tmp_path / "whole")
    run = Run.open(tmp_path / "whole")
    run.train_supernet()
    ended = (tmp_path / "whole" / "supernet.csv").read_text().splitlines()
    assert len(ended) - 1 < run.recipe.supernet.epochs
    # Stopped right after the step with which it ended.
    steps = int(json.loads((tmp_path / "whole" / "supernet.json").read_text())["images_trained"]) // 16
    stop_after(steps - 1, Run.open(tmp_path / "begin").train_supernet)
    Run.open(tmp_path / "begin").train_supernet()
    assert not differing_files(tmp_path / "whole", tmp_path / "begin")


@pytest.mark.slow
def test_supernet_training_that_ends_early_is_killed(recipe: Path, tmp_path: Path) -> None:
    run = begin(recipe, tmp_path / "begin", *STEADY)
    assert check_resume(run.folder.path, lambda path: Run.open(path).train_supernet(), tmp_path, kills=2)


def test_generator_training(trained: Path, tmp_path: Path) -> None:
    assert check_resume(trained, lambda path: Run.open(path).train_generator(), tmp_path)


@pytest.mark.parametrize("inherit", slow_but(["try"], [False, True, "try"]))
def test_retraining(inherit: Inherit, trained: Path, tmp_path: Path) -> None:
    architecture = Run.open(trained).space.sample(np.random.default_rng(0))
    assert check_resume(trained, lambda path: Run.open(path).retrain(architecture, inherit=inherit), tmp_path)


@pytest.mark.parametrize("name", slow_but(["evolution"], STRATEGIES))
def test_searching(name: str, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "GROUP", 3)
    assert check_resume(trained, lambda path: Run.open(path).search_with(name, BUDGETS), tmp_path)


@pytest.mark.slow
def test_comparing(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "GROUP", 3)
    assert check_resume(trained, lambda path: Run.open(path).compare(["random", "linear"], BUDGETS), tmp_path)


@pytest.mark.parametrize("stop", slow_but([signal.SIGKILL], [signal.SIGKILL, signal.SIGTERM, signal.SIGINT]))
def test_a_whole_run(stop: signal.Signals, recipe: Path, tmp_path: Path) -> None:
    run = begin(recipe, tmp_path / "begin", "checkpoint_seconds=1e9" if stop != signal.SIGKILL else "seed=0")
    work: Callable[[Path], None] = lambda path: Run.open(path).run_all(lambda _line: None)  # noqa: E731
    assert check_resume(run.folder.path, work, tmp_path, kills=3, stop=stop)


def test_what_a_kill_has_left_of_a_report_is_cleared_by_the_next(recipe: Path, tmp_path: Path) -> None:
    """All stages are finished by then, so that nothing but the report is done."""
    run = begin(recipe, tmp_path / "run")
    run.run_all(lambda _line: None)
    left = run.folder.path / ".report.html.abc.unfinished"
    left.touch()
    Run.open(run.folder.path).run_all(lambda _line: None)
    assert not left.exists()


def test_moments_of_kills_are_halved_where_all_came_too_late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the machine was busy when the whole work was timed: here it seems six times as long as it is."""
    begin = tmp_path / "begin"
    begin.mkdir()

    def work(path: Path) -> None:
        time.sleep(0.4)
        (path / "done.txt").write_text("done")

    clock = iter((0.0, 2.4))
    slow = SimpleNamespace(perf_counter=lambda: next(clock), sleep=time.sleep)
    monkeypatch.setattr("anybudget.testing.interruption.time", slow)
    assert check_resume(begin, work, tmp_path / "kills", kills=1, seed=1)
