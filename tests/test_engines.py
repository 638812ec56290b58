"""Ray's workers give the scores of this process, whoever dies on the way; mistakes are said, not waited for."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import ceil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import ray
import torch
from hypothesis import given
from hypothesis import strategies as st
from ray.exceptions import ActorDiedError, RayTaskError

from anybudget.architecture import Architecture
from anybudget.budgets import BudgetSet
from anybudget.costs import build_costs
from anybudget.data import DataSplits, load_splits
from anybudget.errors import ConfigError, RunError
from anybudget.evaluation import engines
from anybudget.evaluation import evaluator as evaluation
from anybudget.evaluation.engines import cluster, engine_factory, worker_pool
from anybudget.evaluation.engines.ray import RayEngine, RayFactory
from anybudget.evaluation.engines.snapshot import EvaluatorSnapshot
from anybudget.evaluation.engines.worker_pool import DEATHS, Part, Worker, WorkerPool, installed_versions, share_out
from anybudget.evaluation.evaluator import Evaluator, SubnetEvaluator
from anybudget.evaluation.metrics import Metrics
from anybudget.evaluation.settings import EvaluatorSettings
from anybudget.nets import Supernet, build_supernet
from anybudget.nets.blocks import channels_last
from anybudget.recipe import load_recipe
from anybudget.runs.run import Run
from anybudget.runtime.signals import Stopped, StopRequest
from anybudget.search.base import SearchContext
from anybudget.search.evolution import EvolutionSettings, EvolutionStrategy
from anybudget.spaces import UnifiedSpace
from anybudget.storage.journal import Journal
from anybudget.testing import randomise_norms
from conftest import RECIPE, call, tiny_macro, write_images

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


# With workers.


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


# Without workers.


@given(st.lists(st.integers(1, 64), min_size=1, max_size=8), st.integers(1, 80))
def test_groups_are_shared_out_evenly(sizes: list[int], workers: int) -> None:
    groups = [[Architecture("space", (group, index)) for index in range(size)] for group, size in enumerate(sizes)]
    parts = share_out(groups, workers)
    assert [a for part in parts for a in part] == [a for group in groups for a in group]
    lengths = [len(part) for part in parts]
    assert 0 < min(lengths) <= max(lengths) <= max(sizes)
    if len(sizes) == 1:
        assert max(lengths) == ceil(sizes[0] / workers)
        assert max(lengths) - min(lengths) <= 1
    # Nobody has more to do than by whole groups, or than a fair share of all rounds.
    rounds = ceil(sum(sizes) / (workers * max(sizes)))
    assert max(lengths) <= ceil(sum(sizes) / (workers * rounds))


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


class Actor:
    """What stands for a worker's handle: answers at once, by this function; an answer is a value or an error."""

    def __init__(self, work: Callable[[Part], Any]) -> None:
        self.scores = SimpleNamespace(remote=lambda part, _: self._answer(work, part))
        self.pid = SimpleNamespace(remote=lambda: Answer(value=1, error=None))

    @staticmethod
    def _answer(work: Callable[[Part], Any], part: Part) -> Answer:
        try:
            return Answer(value=(0, 1, work(part)), error=None)
        except Exception as error:
            return Answer(value=None, error=error)


class Answer(SimpleNamespace):
    """What stands for the reference to an answer."""

    __hash__ = object.__hash__


@pytest.fixture
def ready_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray as far as a pool needs it, for `Actor`."""

    def get(answer: Answer) -> Any:
        if answer.error is not None:
            raise answer.error
        return answer.value

    def wait(answers: list[Any], **_: Any) -> tuple[list[Any], list[Any]]:
        return answers[:1], answers[1:]

    monkeypatch.setattr(worker_pool, "ray", SimpleNamespace(get=get, wait=wait))


def answers(architectures: Sequence[Architecture]) -> dict[Architecture, Metrics]:
    return {a: Metrics(0.0, {"top1_percent": float(a.choices[0])}) for a in architectures}


PARTS = [Architecture("space", (index,)) for index in range(6)]


def parts() -> list[Part]:
    return share_out([PARTS], 3)


@pytest.mark.usefixtures("ready_made")
def test_work_that_kills_every_worker_is_given_up() -> None:
    """Ray has had it done again as often as it may: the message names the work, and what came before is kept."""

    def bad(architectures: Part) -> dict[Architecture, Metrics]:
        if PARTS[2] in architectures:
            raise ActorDiedError
        return answers(architectures)

    found: dict[Architecture, Metrics] = {}
    evaluated = WorkerPool([Actor(bad), Actor(bad)], None).evaluate(parts())
    with pytest.raises(RunError, match=rf"{PARTS[2].short_id} to {PARTS[3].short_id}.*--engine local"):
        found.update(answer for scores in evaluated for answer in scores.items())
    assert found == answers(PARTS[:2])


def test_ray_is_told_how_often_work_is_done_again(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def options(**given: Any) -> Any:
        asked.update(given)
        return SimpleNamespace(remote=lambda *_: Actor(answers))

    monkeypatch.setattr(worker_pool, "ray", SimpleNamespace(remote=lambda _: SimpleNamespace(options=options)))
    assert len(WorkerPool.start("snapshot", 3, num_cpus=2).actors) == 3
    assert asked["max_task_retries"] == DEATHS - 1
    assert asked["max_restarts"] > 0  # those that die idle are there again when work comes
    assert asked["num_cpus"] == 2


@pytest.mark.usefixtures("ready_made")
def test_workers_that_cannot_start_end_the_search() -> None:
    def dies(_: Part) -> Any:
        raise ActorDiedError

    with pytest.raises(RunError, match=r"none can be started.*Is anybudget installed.*--engine local"):
        list(WorkerPool([Actor(dies)] * 2, None).evaluate(parts()))


def test_other_versions_are_refused() -> None:
    strange = Worker(0, {**installed_versions(), "torch": "0.4.1"})
    with pytest.raises(ConfigError, match=r"other versions are installed there: .* torch .* \(here 0\.4\.1\)"):
        strange.scores(PARTS, [])
    assert Worker(0, installed_versions()).pid() == os.getpid()


@pytest.mark.usefixtures("ready_made")
def test_the_evaluators_own_errors_come_through() -> None:
    def fails(_: Part) -> Any:
        raise RayTaskError("scores", "a long traceback", RunError("what is wrong"))

    with pytest.raises(RunError, match=r"^what is wrong$"):
        list(WorkerPool([Actor(fails)], None).evaluate(parts()))


@pytest.mark.usefixtures("ready_made")
def test_the_user_is_told_when_no_worker_comes(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    calls = iter(range(100))

    def wait(answers: list[Any], *, timeout: float, **_: Any) -> tuple[list[Any], list[Any]]:
        come = timeout > 0 and next(calls) > 3
        return (answers[:1], answers[1:]) if come else ([], answers)

    monkeypatch.setattr(worker_pool.ray, "wait", wait)
    monkeypatch.setattr(worker_pool, "PATIENCE", 0.0)
    assert sum(map(len, WorkerPool([Actor(answers)], None).evaluate(parts()))) == len(PARTS)
    assert caplog.text.count("no worker has started") == 1


def test_a_run_has_one_engine_for_each_supernet(evaluator: SubnetEvaluator, monkeypatch: pytest.MonkeyPatch) -> None:
    run = SimpleNamespace(supernet=evaluator.supernet, new_evaluator=lambda: SimpleNamespace(evaluator=evaluator))
    factory = RayFactory()
    first = factory(run)
    assert factory(run) is first
    closed: list[object] = []
    monkeypatch.setattr(first, "close", lambda: closed.append(first))
    run.supernet = object()
    assert factory(run) is not first
    assert closed == [first]
    assert first.pids == []  # nothing is started before there is something to evaluate


# Mistakes.


@pytest.mark.parametrize(
    ("name", "address", "workers", "message"),
    [
        ("slurm", None, None, "unknown engine 'slurm'; known are local, ray"),
        ("local", "auto", None, "--address: the engine local"),
        ("local", None, 2, "--workers: the engine local"),
        ("ray", "10.0.0.5", None, "write HOST:PORT"),
        ("ray", "10.0.0.5:port", None, "write HOST:PORT"),
        ("ray", "10.0.0.5:70000", None, "write HOST:PORT"),
        ("ray", "ray://10.0.0.5:10001", None, "write HOST:PORT"),
        ("ray", "127.0.0.1:1", None, "--address 127.0.0.1:1: nothing answers there"),
        ("ray", "nowhere.invalid:6379", None, "nothing answers there"),
    ],
)
def test_wrong_options(name: str, address: str | None, workers: int | None, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        engine_factory(name, address=address, workers=workers)
    assert message in str(error.value)


def test_ray_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"pip install 'anybudget\[ray\]'"):
        engine_factory("ray")
    assert engine_factory("local") is None
    assert set(engines.ENGINES) == {"local", "ray"}


def test_no_workers(evaluator: SubnetEvaluator) -> None:
    with pytest.raises(ConfigError, match="--workers 0"):
        RayEngine(lambda: evaluator, workers=0)


def test_something_else_than_ray_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "JOIN", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(ConfigError, match=f"--address {address}: no Ray cluster .* within 1 s"):
            cluster.join(address)


def test_no_cluster_is_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        cluster, "TRIAL", "import sys; sys.exit('a reason\\nCould not find any running Ray instance.\\n')"
    )
    with pytest.raises(
        ConfigError, match=r"^--address auto: Could not find any running Ray instance\.; give the address"
    ):
        cluster.join("auto")


@pytest.mark.parametrize("command", ["run tiny.toml", "search run", "generate run", "compare run"])
def test_commands_say_mistakes_first(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, message in (
        (["--engine", "slurm"], "unknown engine 'slurm'"),
        (["--workers", "2"], "add --engine ray"),
        (["--engine", "ray", "--address", "127.0.0.1:1"], "nothing answers there"),
    ):
        name, target = command.split()
        code, out, err = call(capsys, name, tmp_path / target, *arguments)
        assert (code, out) == (2, "")
        assert message in err
    assert not list(tmp_path.iterdir())
