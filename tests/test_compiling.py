"""Networks that are compiled where a trial says so: the trial, the choice that is kept, and exact resuming."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from anybudget.data import DataSplits
from anybudget.errors import ConfigError
from anybudget.nets import build_network
from anybudget.nets.blocks import channels_last
from anybudget.recipe import load_recipe
from anybudget.runs.compiling import COMPILED
from anybudget.runs.run import Run
from anybudget.testing.interruption import differing_files
from anybudget.training import compiling
from anybudget.training.compiling import CompileTrial
from anybudget.training.loop import TrainingContext
from anybudget.training.retrain import train_network
from anybudget.training.settings import Schedule
from stopping import stop_after
from test_samplers import SPACE

SCHEDULE = Schedule(epochs=2, batch_size=16, learning_rate=0.05, compile="try")


def network() -> nn.Module:
    torch.manual_seed(0)
    return channels_last(build_network(SPACE.block_specs(SPACE.sample(np.random.default_rng(3)))))


def trained(data: DataSplits, schedule: Schedule, choice: bool | None = None) -> list[Tensor]:
    """The weights of a network; a choice of None makes the trial."""
    found = network()
    context = TrainingContext() if choice is None else TrainingContext(choose_compiled=lambda _name, _trial: choice)
    train_network(found, data, schedule, context=context)
    return [value.detach() for value in found.state_dict().values()]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """`torch.compile` without its compiler: what dynamo traces is run as it is."""
    compiled: Callable[..., Any] = torch.compile
    monkeypatch.setattr(torch, "compile", lambda model, dynamic: compiled(model, dynamic=dynamic, backend="eager"))
    monkeypatch.setattr(compiling, "LEAST_SECONDS", 0.0)


@pytest.fixture
def other(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """`torch.compile` that gives slightly other results, always pays, and counts how often it is asked."""
    asked: list[int] = []

    def compiled(model: nn.Module, dynamic: bool) -> Callable[[Tensor], Tensor]:
        asked.append(int(dynamic))
        return lambda images: 1.01 * model(images)

    monkeypatch.setattr(torch, "compile", compiled)
    monkeypatch.setattr(compiling, "LEAST_SECONDS", 0.0)
    monkeypatch.setattr(CompileTrial, "pays", True)
    return asked


def test_it_pays_where_compiling_is_won_back() -> None:
    assert CompileTrial(1000, 0.100, 0.060, 39.9).pays
    assert not CompileTrial(1000, 0.100, 0.060, 40.1).pays
    assert not CompileTrial(1000, 0.100, why="no compiler").pays
    assert str(CompileTrial(1000, 0.1, 0.06, 39.9)) == (
        "a step takes 60 ms compiled and 100 ms as it is, compiling 39.9 s, and there are 1,000 steps"
    )


def test_a_short_training_is_not_tried(data: DataSplits, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "anybudget"):
        found = trained(data, SCHEDULE)
    assert "retrain: not compiled: all 10 steps take" in caplog.text
    plain = trained(data, SCHEDULE.model_copy(update={"compile": "never"}))
    assert all(map(torch.equal, found, plain))


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("changes", [{}, {"dropout": 0.3}, {"accumulate": 3}], ids=str)
def test_a_compiled_training_computes_the_same(data: DataSplits, changes: dict[str, Any]) -> None:
    schedule = SCHEDULE.model_copy(update=changes)
    compiled, plain = (trained(data, schedule, choice) for choice in (True, False))
    for one, another in zip(compiled, plain, strict=True):
        torch.testing.assert_close(one, another, rtol=1e-3, atol=1e-4)


def test_networks_are_traced_as_one_graph() -> None:
    images = torch.rand(4, *SPACE.input_shape)
    explained = torch._dynamo.explain(network().train())(images)
    assert explained.graph_break_count == 0


def test_what_a_trial_finds_is_said_and_leaves_no_trace(
    data: DataSplits, other: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "anybudget"):
        found = trained(data, SCHEDULE)
    assert "retrain: compiled: a step takes" in caplog.text
    assert other == [0]
    assert all(map(torch.equal, found, trained(data, SCHEDULE, choice=True)))
    assert not all(map(torch.equal, found, trained(data, SCHEDULE, choice=False)))


def test_a_compiler_that_fails_is_said(
    data: DataSplits, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_model: nn.Module, **_given: bool) -> Callable[[Tensor], Tensor]:
        raise torch._dynamo.exc.BackendCompilerFailed(print, RuntimeError("no C++ compiler"), None)

    monkeypatch.setattr(torch, "compile", broken)
    monkeypatch.setattr(compiling, "LEAST_SECONDS", 0.0)
    with caplog.at_level(logging.INFO, "anybudget"):
        found = trained(data, SCHEDULE)
    assert "retrain: not compiled: torch.compile fails (" in caplog.text
    assert all(map(torch.equal, found, trained(data, SCHEDULE, choice=False)))
    with pytest.raises(ConfigError, match=r"no C\+\+ compiler.*its training was begun so"):
        trained(data, SCHEDULE, choice=True)


def test_a_compiled_training_resumes_compiled(
    recipe_file: Path, tmp_path: Path, other: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = load_recipe(recipe_file, ["checkpoint_seconds=0", "retrain.epochs=2", "retrain.compile=try"])
    architecture = recipe.build_space().sample(np.random.default_rng(0))
    Run.create(recipe, tmp_path / "whole").retrain(architecture)
    kept = json.loads((tmp_path / "whole" / COMPILED).read_text())
    assert (kept["training"], kept["compiled"]) == (f"retrain {architecture.short_id}", True)
    assert len(other) == 1
    Run.create(recipe, tmp_path / "broken")
    stop_after(3, lambda: Run.open(tmp_path / "broken").retrain(architecture))
    monkeypatch.setattr(CompileTrial, "pays", False)  # asked again, it would say otherwise
    (tmp_path / "broken" / COMPILED).unlink()
    Run.open(tmp_path / "broken").retrain(architecture)
    assert not differing_files(tmp_path / "whole", tmp_path / "broken")
    # A training that begins again takes what the run folder says of it; what is damaged there says nothing.
    (tmp_path / "again").mkdir()
    again = Run.create(recipe, tmp_path / "again")
    (tmp_path / "again" / COMPILED).write_text('{"training"\n[]\n' + json.dumps(kept) + '\n{"training": "x"')
    again.retrain(architecture)
    assert not differing_files(tmp_path / "whole", tmp_path / "again")


def test_a_supernet_is_not_compiled(recipe_file: Path) -> None:
    with pytest.raises(ConfigError, match=r"supernet\.compile: a supernet runs another path in every step"):
        load_recipe(recipe_file, ["supernet.compile=try"])
    assert "compile" not in SCHEDULE.model_copy(update={"compile": "never"}).model_dump()


@pytest.mark.slow
def test_the_real_compiler_computes_the_same(data: DataSplits) -> None:
    compiled, plain = (trained(data, SCHEDULE, choice) for choice in (True, False))
    for one, another in zip(compiled, plain, strict=True):
        torch.testing.assert_close(one, another, rtol=1e-3, atol=1e-4)
    assert all(map(torch.equal, compiled, trained(data, SCHEDULE, choice=True)))
