"""Ray's workers give the scores of this process, whoever dies on the way, from a snapshot of the evaluator."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import ray
import torch

from anybudget.architecture import Architecture
from anybudget.budgets import BudgetSet
from anybudget.costs import build_costs
from anybudget.data import DataSplits, load_splits
from anybudget.errors import ConfigError
from anybudget.evaluation import evaluator as evaluation
from anybudget.evaluation.engines import cluster
from anybudget.evaluation.engines.ray import RayEngine, RayFactory
from anybudget.evaluation.engines.snapshot import EvaluatorSnapshot
from anybudget.evaluation.evaluator import Evaluator, SubnetEvaluator
from anybudget.evaluation.metrics import Metrics
from anybudget.evaluation.settings import EvaluatorSettings
from anybudget.nets import Supernet, build_supernet
from anybudget.nets.blocks import channels_last
from anybudget.recipe import load_recipe
from anybudget.runs.run import Run
from anybudget.runtime.signals import Stopped, StopRequest
from anybudget.runtime.workers import Workers
from anybudget.search.base import SearchContext
from anybudget.search.evolution import EvolutionSettings, EvolutionStrategy
from anybudget.spaces import UnifiedSpace
from anybudget.storage.journal import Journal
from anybudget.testing import randomise_norms
from conftest import RECIPE, call, write_images
from tiny_spaces import tiny_macro

CALIBRATION = 32


@pytest.fixture(scope="module")
def splits(tmp_path_factory: pytest.TempPathFactory) -> DataSplits:
    path = write_images(tmp_path_factory.mktemp("engines") / "images.npz")
    return load_splits(str(path), seed=0, validation_fraction=0.3)


@pytest.fixture(scope="module")
def net() -> Supernet:
    torch.manual_seed(0)
    net = channels_last(build_supernet(UnifiedSpace(tiny_macro())))
    randomise_norms(net, torch.Generator().manual_seed(1))
    return net.eval()


@pytest.fixture(scope="module")
def evaluator(net: Supernet, splits: DataSplits) -> SubnetEvaluator:
    return SubnetEvaluator(net, splits, EvaluatorSettings(calibration_images=CALIBRATION, batch_size=16))


@pytest.fixture(scope="module")
def engine(evaluator: SubnetEvaluator) -> Iterator[RayEngine]:
    """An engine of two workers on a cluster that is there already."""
    cluster.start(cores=2, store=0)
    with RayEngine(lambda: evaluator, workers=2) as engine:
        yield engine
    assert ray.is_initialized()
    ray.shutdown()


def sample(net: Supernet, count: int) -> list[Architecture]:
    rng = np.random.default_rng(0)
    found: dict[Architecture, None] = {}
    while len(found) < count:
        found[net.space.sample(rng)] = None
    return list(found)


def in_groups(architectures: Sequence[Architecture], *sizes: int) -> list[Sequence[Architecture]]:
    groups, first = [], 0
    for size in sizes:
        groups.append(architectures[first : first + size])
        first += size
    assert first == len(architectures)
    return groups


def gone(pid: int) -> bool:
    """Whether a process ends within some seconds."""
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


def test_scores_are_those_of_this_process(engine: RayEngine, evaluator: SubnetEvaluator, net: Supernet) -> None:
    groups = in_groups(sample(net, 40), 1, 12, 9, 1, 14, 3)
    here = {a: score for group in groups for a, score in evaluator.scores(group).items()}
    random.Random(0).shuffle(groups)
    found = [answer for scores in engine(groups) for answer in scores.items()]
    assert len(found) == len(here)
    assert dict(found) == here
    first = engine.pids
    assert len(set(first)) == 2
    assert os.getpid() not in first
    assert list(engine([])) == []
    assert dict(answer for scores in engine(groups[:1]) for answer in scores.items()).items() <= here.items()
    assert engine.pids == first


def test_a_worker_that_is_killed_loses_nothing(
    engine: RayEngine,
    evaluator: SubnetEvaluator,
    net: Supernet,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    architectures = sample(net, 60)
    groups = in_groups(architectures, *[5] * 12)
    found = []
    killed = 0
    for number, scores in enumerate(engine(groups)):
        found += scores.items()
        if number == 1:  # both are at work, or will be given work
            killed = engine.pids[0]
            os.kill(killed, signal.SIGKILL)
    assert len(found) == len(architectures)
    assert dict(found) == evaluator.scores(architectures)
    assert f"process {killed}" in caplog.text
    assert killed not in engine.pids
    assert capfd.readouterr().out == ""


def test_evolution_finds_the_same(engine: RayEngine, net: Supernet, splits: DataSplits) -> None:
    def search(**elsewhere: Any) -> tuple[Any, Evaluator]:
        evaluator = Evaluator(
            net, splits, EvaluatorSettings(calibration_images=CALIBRATION, batch_size=16), **elsewhere
        )
        strategy = EvolutionStrategy(
            SearchContext(evaluator, build_costs(net.space), seed=1),
            EvolutionSettings(population=6, generations=4, parents=3),
        )
        (candidate,) = strategy.search([BudgetSet.parse("macs<=60k")])
        return (candidate.architecture, candidate.supernet_top1_percent), evaluator

    expected, here = search()
    found, elsewhere = search(engine=engine)
    assert found == expected
    assert elsewhere.scored == here.scored
    assert elsewhere.spent.evaluations == here.spent.evaluations
    assert (elsewhere.spent.images, elsewhere.spent.macs) == (here.spent.images, here.spent.macs)


@pytest.mark.slow
def test_a_search_that_is_stopped_resumes_from_its_journal(
    engine: RayEngine,
    evaluator: SubnetEvaluator,
    net: Supernet,
    splits: DataSplits,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(evaluation, "GROUP", 5)
    architectures = sample(net, 40)

    def journalled(request: StopRequest) -> Evaluator:
        journal = Journal(tmp_path / "journal", {"seed": 0}, request=request)
        return Evaluator(
            net,
            splits,
            EvaluatorSettings(calibration_images=CALIBRATION, batch_size=16),
            journal=journal,
            engine=engine,
        )

    asked = StopRequest()
    asked.signal = signal.SIGINT
    assert not list(engine([]))
    pids = engine.pids
    with pytest.raises(Stopped):
        journalled(asked).scores(architectures)
    assert engine.pids == []
    assert all(map(gone, pids))
    kept = len((tmp_path / "journal").read_text().splitlines()) - 1
    assert 0 < kept < len(architectures)
    resumed = journalled(StopRequest())
    asked_for: list[int] = []

    def counting(groups: Sequence[Sequence[Architecture]]) -> Iterator[Mapping[Architecture, Metrics]]:
        asked_for.extend(map(len, groups))
        return engine(groups)

    resumed._engine = counting
    expected = evaluator.scores(architectures)
    assert resumed.scores(architectures) == [expected[a] for a in architectures]
    assert sum(asked_for) == len(architectures) - kept
    assert resumed.spent.evaluations == len(architectures)
    assert len((tmp_path / "journal").read_text().splitlines()) == 1 + len(architectures)


@pytest.mark.slow
def test_the_command_starts_and_ends_its_own_workers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On a recipe's space, whose settings are of a class made on the fly."""
    (tmp_path / "tiny.toml").write_text(RECIPE.format(source=write_images(tmp_path / "images.npz")))
    short = ["supernet.epochs=1", "search.evolution.population=6", "search.evolution.generations=3"]
    Run.create(load_recipe(tmp_path / "tiny.toml", short), tmp_path / "run").train_supernet()
    words = ["search", str(tmp_path / "run"), "--strategy", "evolution", "--json"]
    code, here, err = call(capsys, *words)
    assert code == 0, err
    command = [sys.executable, "-m", "anybudget", *words, "--engine", "ray", "--workers", "1"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert ran.returncode == 0, ran.stderr

    def untimed(text: str) -> list[dict[str, Any]]:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in json.loads(text)]

    assert untimed(ran.stdout) == untimed(here)
    assert "ray" not in ran.stderr.lower(), ran.stderr


def test_a_snapshot_holds_what_scores_depend_on_and_no_more(evaluator: SubnetEvaluator, net: Supernet) -> None:
    architectures = sample(net, 6)
    torch.set_num_threads(2)
    try:
        snapshot, expected = EvaluatorSnapshot.pack(evaluator), evaluator.scores(architectures)
        torch.set_num_threads(1)
        unpacked = snapshot.unpack()
        assert torch.get_num_threads() == 2
        assert unpacked.scores(architectures) == expected
    finally:
        torch.set_num_threads(1)
    assert len(unpacked.data.test()) == 0
    assert len(unpacked.data.train) == CALIBRATION
    images = CALIBRATION + len(evaluator.data.validation)
    assert snapshot.size == images * (64 + 8) + sum(t.nbytes for t in net.state_dict().values())


def test_a_run_has_one_engine_for_each_supernet(evaluator: SubnetEvaluator, monkeypatch: pytest.MonkeyPatch) -> None:
    made = SimpleNamespace(evaluator=evaluator)
    run = SimpleNamespace(supernet=evaluator.supernet, new_evaluator=lambda: made, workers=Workers())
    factory = RayFactory()
    first = factory(run)
    assert factory(run) is first
    closed: list[object] = []
    monkeypatch.setattr(first, "close", lambda: closed.append(first))
    run.supernet = object()
    assert factory(run) is not first
    assert closed == [first]
    assert first.pids == []  # nothing is started before there is something to evaluate


def test_no_workers(evaluator: SubnetEvaluator) -> None:
    with pytest.raises(ConfigError, match="--workers 0"):
        RayEngine(lambda: evaluator, workers=0)
