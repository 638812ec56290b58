"""The number of threads: timed on real steps without a trace, kept in the run, and left to the caller who sets it."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from anybudget.errors import RunError
from anybudget.recipe import load_recipe
from anybudget.runs import doctor
from anybudget.runs import environment as environments
from anybudget.runs import threads as run_threads
from anybudget.runs.run import Run
from anybudget.runs.threads import RunThreads
from anybudget.runtime import threads
from anybudget.runtime.process_state import computing_threads
from anybudget.runtime.threads import ThreadTimes, candidates, fastest_threads, probed_threads, set_by_caller
from conftest import RECIPE, write_images

SHORT = ("supernet.epochs=1", "generator.epochs=1", "retrain.epochs=1", "search.random_baseline=2")


@pytest.fixture
def nobody_says(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two cores, and no number of threads set by the caller."""
    monkeypatch.setattr(run_threads, "set_by_caller", lambda: None)
    monkeypatch.setattr(run_threads, "usable_cores", lambda: 2)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def found(count: int, seen: list[int]) -> Callable[..., ThreadTimes]:
    """What stands for `fastest_threads`: does the work with both numbers of threads, and takes `count`."""

    def fastest(work: Callable[[], float], counts: Sequence[int], seconds: float = 0.0) -> ThreadTimes:
        del seconds
        times = fastest_threads(work, counts, 0.2)
        assert torch.get_num_threads() == 2
        assert set(times.seconds) <= {2, 1}
        seen.append(count)
        return ThreadTimes({1: 0.1, 2: 0.2}, count)

    return fastest


def made(folder: Path, name: str, *changes: str) -> Run:
    """A run of the tiny recipe."""
    recipe = folder / "tiny.toml"
    recipe.write_text(RECIPE.format(source=write_images(folder / "images.npz")))
    return Run.create(load_recipe(recipe, [*SHORT, *changes]), folder / name)


def contents(run: Run) -> dict[str, bytes]:
    """Everything that a run has trained, times apart."""
    files = sorted(path for path in run.folder.path.rglob("*") if path.suffix == ".safetensors")
    rows = list(run.folder.path.rglob("*.csv"))
    timeless = {
        str(path.relative_to(run.folder.path)): "\n".join(
            line.rsplit(",", 2)[0] for line in path.read_text().splitlines()
        ).encode()
        for path in rows
    }
    return timeless | {str(path.relative_to(run.folder.path)): path.read_bytes() for path in files}


@pytest.mark.usefixtures("nobody_says")
def test_a_run_that_is_timed_is_the_one_with_that_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Greedy training, which has the most state, to the last bit."""
    seen: list[int] = []
    monkeypatch.setattr(run_threads, "fastest_threads", found(1, seen))
    timed = made(tmp_path, "timed", "threads=0", "supernet.sampler=greedy")
    said = made(tmp_path, "said", "threads=1", "supernet.sampler=greedy")
    for run in (timed, said):
        run.train_supernet()
        run.train_generator()
        assert torch.get_num_threads() == 2
    assert seen == [1]  # the generator takes what the supernet found
    assert contents(timed) == contents(said)
    assert json.loads((tmp_path / "timed" / "threads.json").read_text()) == {
        "threads": 1,
        "milliseconds": {"1": 100.0, "2": 200.0},
        "cores": 2,
    }
    assert not (tmp_path / "said" / "threads.json").exists()


@pytest.mark.usefixtures("nobody_says")
def test_the_number_is_kept_and_used_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads_of = RunThreads(made(tmp_path, "run", "threads=0").folder, 0)
    monkeypatch.setattr(run_threads, "fastest_threads", lambda *_: ThreadTimes({1: 0.2, 2: 0.1, 4: 0.1}, 1))
    assert (threads_of.kept(), threads_of.count()) == (None, 0)
    with computing_threads(2):
        threads_of.choose(lambda: 0.0)
        assert torch.get_num_threads() == 1
    assert (threads_of.kept(), threads_of.count()) == (1, 1)
    monkeypatch.setattr(run_threads, "fastest_threads", lambda *_: 1 / 0)
    threads_of.choose(lambda: 0.0)  # decided already


@pytest.mark.usefixtures("nobody_says")
def test_any_training_can_be_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run whose supernet was trained with a number that was said: the next training is timed, and leaves no trace."""
    seen: list[int] = []
    monkeypatch.setattr(run_threads, "fastest_threads", found(1, seen))
    said = made(tmp_path, "said", "threads=1")
    said.train_supernet()
    assert seen == []
    shutil.copytree(tmp_path / "said", tmp_path / "timed")
    timed = made(tmp_path, "timed", "threads=0")
    timed.train_generator()
    said.train_generator()
    assert seen == [1]
    assert contents(timed) == contents(said)


@pytest.mark.usefixtures("nobody_says")
def test_networks_alone_are_trained_with_one_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless somebody says another number, whatever number is kept for the supernet; and nothing is timed."""
    monkeypatch.setattr(run_threads, "fastest_threads", lambda *_: 1 / 0)
    open_, said = made(tmp_path, "open", "threads=0"), made(tmp_path, "said", "threads=1")
    open_.folder.write_json("threads.json", {"threads": 2})
    architecture = open_.space.simplified(open_.space.sample(np.random.default_rng(0)))
    for run in (open_, said):
        run.retrain(architecture)
    assert contents(open_) == contents(said)
    assert json.loads((tmp_path / "open" / "workers.json").read_text())["threads"] == 1
    assert made(tmp_path, "two", "threads=2").context.workers.threads == 2


@pytest.mark.usefixtures("nobody_says")
def test_another_number_is_taken_with_a_notice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run = made(tmp_path, "run", "threads=0")
    run.folder.write_json("threads.json", {"threads": 1})
    with run.context.work("nothing"):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2
    assert "threads" not in caplog.text
    monkeypatch.setattr(run_threads, "set_by_caller", lambda: "OMP_NUM_THREADS")
    with run.context.work("nothing"):
        assert torch.get_num_threads() == 2
    assert "computes with threads = 2, as OMP_NUM_THREADS says, and was begun with 1; results may" in caplog.text
    caplog.set_level(logging.WARNING)
    said = made(tmp_path, "run", "threads=2")
    with said.context.work("nothing"):
        assert torch.get_num_threads() == 2
    assert "computes with threads = 2, as the recipe says, and was begun with 1" in caplog.text


@pytest.mark.usefixtures("nobody_says")
@pytest.mark.parametrize("content", ["3", '{"threads": 0}', '{"threads": true}', '{"threads": 1e999}', "{}", "{"])
def test_a_damaged_number_is_said(tmp_path: Path, content: str) -> None:
    run = made(tmp_path, "run", "threads=0")
    (tmp_path / "run" / "threads.json").write_text(content)
    with (
        pytest.raises(RunError, match=r"threads\.json.*: .*or delete it to compute with as many threads"),
        run.context.work("x"),
    ):
        raise AssertionError
    (check,) = [check for check in doctor.examine_run(tmp_path / "run") if check.check == "threads"]
    assert check.state == "problem"


def work_of(seconds: dict[int, float], calls: list[int]) -> Callable[[], float]:
    """Work that says to take so long with each number of threads."""

    def work() -> float:
        calls.append(torch.get_num_threads())
        return seconds[torch.get_num_threads()]

    return work


@pytest.mark.parametrize(
    ("seconds", "best", "tried"),
    [
        ({1: 0.037, 2: 0.058}, 1, {1, 2}),
        ({1: 0.2, 2: 0.1}, 2, {1, 2}),
        ({1: 0.101, 2: 0.1}, 1, {1, 2}),  # alike: the fewest
        ({1: 9.0, 2: 0.8, 4: 0.4, 8: 0.2}, 8, {8, 4, 2}),  # two are hopeless: one is not tried
        ({1: 0.4, 2: 0.3, 4: 0.35, 8: 0.5}, 2, {8, 4, 2, 1}),
    ],
)
def test_the_fastest_number_is_taken(seconds: dict[int, float], best: int, tried: set[int]) -> None:
    calls: list[int] = []
    times = fastest_threads(work_of(seconds, calls), sorted(seconds, reverse=True), seconds=60)
    assert (times.count, set(calls)) == (best, tried)
    assert calls[: len(tried)] == sorted(tried, reverse=True)
    alternating = [a != b for a, b in pairwise(calls)]
    assert len([n for n in tried if seconds[n] <= 1.5 * min(seconds.values())]) == 1 or all(alternating)
    assert torch.get_num_threads() == 1


def test_one_slow_time_of_many_decides_nothing() -> None:
    count = iter(range(1000))

    def work() -> float:
        return 9.0 if next(count) in (3, 6) else {1: 0.1, 2: 0.2}[torch.get_num_threads()]

    assert fastest_threads(work, [2, 1], seconds=60).count == 1


def test_comparing_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(threads.time, "perf_counter", lambda: clock[0])

    def work() -> float:
        clock[0] += 0.3
        return 0.3

    fastest_threads(work, [2, 1], seconds=2.0)
    assert clock[0] <= 2.0
    clock[0] = 0.0
    fastest_threads(work, [2, 1], seconds=0.1)  # each once, whatever it takes
    assert clock[0] == pytest.approx(0.6)


def test_who_has_set_the_number(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in threads.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 12345)
    assert set_by_caller() == "torch.set_num_threads"
    monkeypatch.setattr(torch, "get_num_threads", threads.usable_cores)
    assert set_by_caller() is None
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert set_by_caller() == "OMP_NUM_THREADS"


def test_cores_that_may_be_used(tmp_path: Path) -> None:
    assert candidates(1) == [1]
    assert candidates(6) == [4, 2, 1]
    assert candidates(64) == [64, 32, 16, 8, 4, 2, 1]
    assert threads.usable_cores() >= 1
    assert threads._quota(tmp_path) > 1e6
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert threads._quota(tmp_path) > 1e6
    (tmp_path / "cpu.max").write_text("250000 100000\n")
    assert threads._quota(tmp_path) == 2.5
    (tmp_path / "old" / "cpu").mkdir(parents=True)
    (tmp_path / "old" / "cpu" / "cpu.cfs_quota_us").write_text("150000\n")
    (tmp_path / "old" / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert threads._quota(tmp_path / "old") == 1.5
    (tmp_path / "old" / "cpu" / "cpu.cfs_quota_us").write_text("-1\n")
    assert threads._quota(tmp_path / "old") > 1e6


def test_the_doctor_says_what_auto_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    state = torch.get_rng_state()
    probed = probed_threads(0.05)
    assert torch.equal(torch.get_rng_state(), state)
    assert probed.count in candidates(threads.usable_cores())
    monkeypatch.setattr(environments, "set_by_caller", lambda: None)
    monkeypatch.setattr(environments, "usable_cores", lambda: 2)
    monkeypatch.setattr(environments, "probed_threads", lambda: ThreadTimes({1: 0.001, 2: 0.0021}, 1))
    environment: dict[str, Any] = environments.environment(Path.cwd())
    said = dict(environments.facts(environment))["threads that auto takes"]
    assert said == "1: a step of a small network takes 1.0 ms with 1, 2.1 ms with 2; real ones are timed anew"
    monkeypatch.setattr(environments, "set_by_caller", lambda: "OMP_NUM_THREADS")
    assert environments.environment(Path.cwd())["auto_threads"]["why"] == "OMP_NUM_THREADS says so"
