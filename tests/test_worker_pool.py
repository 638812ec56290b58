"""How work is shared out among workers, and what a pool does when they die, fail or do not come."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from math import ceil
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray.exceptions import ActorDiedError, RayTaskError

from anybudget.architecture import Architecture
from anybudget.errors import ConfigError, RunError
from anybudget.evaluation.engines import worker_pool
from anybudget.evaluation.engines.worker_pool import DEATHS, Worker, WorkerPool, installed_versions
from anybudget.evaluation.metrics import Metrics
from anybudget.evaluation.parts import Part, share_out


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
