"""Runs whose trainings, races and judging are shared out among workers leave the same files as those that are not."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from anybudget.architecture import Architecture
from anybudget.budgets import BudgetSet
from anybudget.errors import ConfigError
from anybudget.evaluation.evaluator import PerImage
from anybudget.recipe import load_recipe
from anybudget.runs import trainings as module
from anybudget.runs import workers as run_workers
from anybudget.runs.run import Run
from anybudget.runs.trainings import Training, train_each
from anybudget.runs.workers import choose_workers
from anybudget.runtime.signals import Stopped
from anybudget.runtime.workers import Workers
from anybudget.testing import check_resume
from anybudget.testing.interruption import differing_files
from anybudget.training.retrain import train_network
from anybudget.worth.health import HealthSettings
from conftest import call, slow_but

BUDGETS = [BudgetSet.parse(text) for text in ("macs<=30k", "macs<=60k, params<=1500")]
SETTINGS = [
    "search.race.candidates=4",
    "search.race.epochs_per_round=0.4",
    "search.random.count=8",
    "retrain.picks=[1,2]",
]


@pytest.fixture(scope="module")
def begun(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a supernet, a generator and answers, that saves itself after every step."""
    path = tmp_path_factory.mktemp("workers") / "run"
    recipe = load_recipe(prepared / "tiny.toml", [*SETTINGS, f"data.source={prepared / 'images.npz'}"])
    run = Run.create(recipe.model_copy(update={"checkpoint_seconds": 0.0}), path)
    run.train_supernet()
    run.train_generator()
    run.search()
    return path


class Bar:
    """Progress that adds up its steps."""

    def __init__(self) -> None:
        self.done = self.total = 0

    @contextmanager
    def task(self, name: str, total: int) -> Iterator[Bar]:
        del name
        self.total += total
        yield self

    def advance(self, steps: int = 1, figure: str = "") -> None:
        del figure
        self.done += steps


def with_workers(begun: Path, folder: Path, count: int) -> Run:
    run = Run.open(shutil.copytree(begun, folder / f"{count} workers"))
    run.workers = count
    return run


def networks(run: Run, count: int) -> list[Architecture]:
    rng = np.random.default_rng(0)
    return list(dict.fromkeys(run.space.simplified(run.space.sample(rng)) for _ in range(count)))


def trainings(run: Run) -> list[Training]:
    return [Training(architecture, seed) for architecture in networks(run, 2) for seed in (0, 1)]


WORK: dict[str, Callable[[Run], object]] = {
    "train_each": lambda run: train_each(run.context, trainings(run)),
    "retrain": lambda run: run.retrain_picks(),
    "race": lambda run: run.search_with("random", BUDGETS, race=True),
    "random baseline": lambda run: run.random_baseline(),
    "health": lambda run: run.health(HealthSettings(3, 1, 1)),
}


@pytest.mark.parametrize("name", slow_but(["train_each", "race", "random baseline"], WORK))
def test_any_number_of_workers_leaves_the_same_files(begun: Path, tmp_path: Path, name: str) -> None:
    runs = [with_workers(begun, tmp_path, count) for count in (1, 3)]
    for run in runs:
        WORK[name](run)
        noted = json.loads((run.folder.path / "workers.json").read_text())
        assert noted == {"workers": run.workers, "threads": 1, "cores": 1}
    assert not differing_files(*(run.folder.path for run in runs))
    assert not (runs[1].folder.path / "checkpoints").exists()


@pytest.mark.parametrize("name", slow_but(["train_each"], ["train_each", "race"]))
def test_kills_and_other_numbers_of_workers_change_nothing(begun: Path, tmp_path: Path, name: str) -> None:
    """Each time with another number, and the lock of a process whose workers are just ending is waited for."""

    def work(path: Path) -> None:
        run = Run.open(path)
        run.workers = 2 + len(list(path.parent.glob("tried *"))) % 3
        (path.parent / f"tried {time.monotonic_ns()}").touch()
        WORK[name](run)

    assert check_resume(begun, work, tmp_path, kills=3)


def test_the_training_of_a_dead_worker_goes_on_from_its_checkpoint(
    begun: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    whole, broken = with_workers(begun, tmp_path, 1), with_workers(begun, tmp_path, 2)
    train_each(whole.context, trainings(whole))
    mark, seen = tmp_path / "died", tmp_path / "seen"

    def dying(network: nn.Module, *arguments: Any, **named: Any) -> None:
        if mark.exists() and not seen.exists():
            seen.write_text(str(len(list((broken.folder.path / "checkpoints").iterdir()))))
        train_network(network, *arguments, **named)
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(module, "train_network", dying)
    broken.context.progress = bar = Bar()
    train_each(broken.context, trainings(broken))
    assert "has died of SIGKILL; train " in caplog.text
    assert int(seen.read_text()) > 0
    assert bar.done == bar.total > 0
    assert not differing_files(whole.folder.path, broken.folder.path)


def test_a_stop_is_heard_by_workers_which_save_themselves(begun: Path, tmp_path: Path) -> None:
    whole, broken = with_workers(begun, tmp_path, 1), with_workers(begun, tmp_path, 2)
    train_each(whole.context, trainings(whole))
    sys.stdout.flush()
    pid = os.fork()
    if not pid:
        code = 1
        try:
            train_each(broken.context, [Training(t.architecture, t.seed, epochs=500) for t in trainings(broken)])
        except Stopped as stop:
            code = stop.exit_code
        finally:
            os._exit(code)
    folder = broken.folder.path / "checkpoints"
    for _ in range(2000):
        if len(list(folder.glob("*.checkpoint"))) == 2:
            break
        time.sleep(0.02)
    os.kill(pid, signal.SIGTERM)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 143
    assert len(list(folder.glob("*.checkpoint"))) == 2
    broken.workers = 3
    train_each(broken.context, trainings(broken))
    shutil.rmtree(folder)  # of the long ones, which nobody asks for any more
    assert not differing_files(whole.folder.path, broken.folder.path)


def test_judging_is_the_same_and_counts_alike(begun: Path, tmp_path: Path) -> None:
    evaluators = [with_workers(begun, tmp_path, count).new_evaluator() for count in (1, 3)]
    run = Run.open(begun)
    asked = networks(run, 12)
    bars = Bar(), Bar()
    for evaluator, bar in zip(evaluators, bars, strict=True):
        evaluator.scores(asked, bar)
        evaluator.scores(asked[:5], bar)
    one, several = evaluators
    assert list(one.scored.items()) == list(several.scored.items())
    found: list[PerImage] = [
        evaluator.per_image([*asked, asked[0]], bar) for evaluator, bar in zip(evaluators, bars, strict=True)
    ]
    for here, there in zip(*found, strict=True):
        np.testing.assert_array_equal(here, there)
    assert bars[0].done == bars[1].done == 2 * len(asked) + 1
    for figure in ("evaluations", "images", "macs"):
        assert getattr(one.spent, figure) == getattr(several.spent, figure) > 0
    assert several.spent.seconds > 0
    nothing = one.per_image([])
    assert [len(values) for values in nothing] == [0, 0, 0]


def test_how_many_workers_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    monkeypatch.setattr(run_workers, "usable_cores", lambda: 4)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert choose_workers(None, 1, cpu, 1) == Workers(4, 1)
    assert choose_workers(2, 1, cpu, 1) == Workers(2, 1)
    assert choose_workers(None, 3, cpu, 1) == Workers(1, 3)
    for device, processes in ((gpu, 1), (cpu, 2)):
        assert choose_workers(None, 1, device, processes) == choose_workers(1, 1, device, processes) == Workers(1, 0)
    with pytest.raises(ConfigError, match="--workers 2: the device is cuda, and workers compute on the CPU"):
        choose_workers(2, 1, gpu, 1)
    with pytest.raises(ConfigError, match="--workers 2: several processes train together"):
        choose_workers(2, 1, cpu, 2)
    with pytest.raises(ConfigError, match="--workers 2: a worker computes with one thread, not 3"):
        choose_workers(2, 3, cpu, 1)
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert choose_workers(None, 1, cpu, 1) == Workers(1, 0)


@pytest.mark.usefixtures("workshop")
def test_commands_take_workers(capsys: pytest.CaptureFixture[str]) -> None:
    answers = []
    for count in (1, 2):
        code, out, err = call(capsys, "search", "run", "--strategy", "random", "--json", "--workers", count)
        assert code == 0, err
        answers.append([{key: value for key, value in row.items() if key != "seconds"} for row in json.loads(out)])
        assert json.loads(Path("run/workers.json").read_text())["workers"] == count
    assert answers[0] == answers[1]
    Path("answers.json").write_text(out)
    code, _, err = call(capsys, "retrain", "run", "answers.json", "--workers", 2)
    assert code == 0, err
    code, out, err = call(capsys, "search", "run", "--workers", "0")
    assert (code, out) == (2, "")
