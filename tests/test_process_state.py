"""A library call leaves what is global to the process as it found it, whatever it sets while it works."""

from __future__ import annotations

import logging
import os
import random
import signal
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from anybudget.budgets import BudgetSet
from anybudget.errors import ConfigError
from anybudget.recipe import load_recipe
from anybudget.runs.run import Run
from anybudget.runtime.process_state import computing_threads, deterministic, seeded


def process_state() -> dict[str, Any]:
    """What is global to the process, as values that can be compared."""
    root, own = logging.getLogger(), logging.getLogger("anybudget")
    return {
        "torch": torch.get_rng_state().tolist(),
        "numpy": repr(np.random.get_state()),
        "python": random.getstate(),
        "threads": torch.get_num_threads(),
        "dtype": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "matmul": torch.get_float32_matmul_precision(),
        "gradients": torch.is_grad_enabled(),
        "autocast": torch.is_autocast_enabled("cpu"),
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
        "logging": [(logger.level, logger.propagate, list(logger.handlers)) for logger in (root, own)],
        "warnings": list(warnings.filters),
        "folder": Path.cwd(),
        "environment": dict(os.environ),
    }


@pytest.fixture
def caller() -> Iterator[None]:
    """A caller with random numbers and threads of its own; the recipe asks for one thread."""
    import lightning_fabric  # noqa: F401 - what importing it does once is no call of ours

    torch.set_num_threads(2)
    torch.manual_seed(1234)
    torch.rand(5)
    yield
    torch.set_num_threads(1)


BUDGETS = [BudgetSet.parse("macs<=60k")]

CALLS: dict[str, Callable[[Run], object]] = {
    "open": lambda run: Run.open(run.folder.path),
    "supernet": lambda run: run.supernet,
    "generator": lambda run: run.generator,
    "evaluator": lambda run: run.evaluator.score(run.space.sample(np.random.default_rng(0))),
    "generate": lambda run: run.generate(BUDGETS),
    "direct": lambda run: run.search_with("direct", BUDGETS),
    "evolution": lambda run: run.search_with("evolution", BUDGETS),
    "rank": lambda run: run.rank(3, [8]),
    "retrain": lambda run: run.retrain(run.space.sample(np.random.default_rng(0)), epochs=1),
    "train_supernet": lambda run: run.train_supernet(),
    "train_generator": lambda run: run.train_generator(),
}


@pytest.mark.usefixtures("caller")
@pytest.mark.parametrize("name", CALLS)
def test_a_call_leaves_the_process_as_it_was(name: str, workshop: Path) -> None:
    run = Run.open(workshop / "run")
    before = process_state()
    CALLS[name](run)
    after = process_state()
    assert {key for key, value in before.items() if after[key] != value} == set()


@pytest.mark.usefixtures("caller")
def test_a_call_that_fails_leaves_the_process_as_it_was(workshop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run.open(workshop / "run")
    monkeypatch.setattr("anybudget.runs.trainings.train_network", lambda *_args, **_named: 1 / 0)
    before = process_state()
    with pytest.raises(ZeroDivisionError):
        run.retrain(run.space.sample(np.random.default_rng(0)))
    assert process_state() == before


@pytest.mark.usefixtures("caller")
def test_work_has_the_seed_and_the_threads_of_the_recipe(workshop: Path) -> None:
    run = Run.create(load_recipe(workshop / "tiny.toml", ["seed=3", "threads=1"]), workshop / "other")
    with run.context.work("something"):
        assert torch.get_num_threads() == 1
        assert torch.initial_seed() == 3


def test_what_the_caller_draws_does_not_change_results(workshop: Path) -> None:
    architecture = Run.open(workshop / "run").space.sample(np.random.default_rng(0))
    results = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        run = Run.open(workshop / "run")
        results.append({k: v for k, v in run.retrain(architecture, epochs=1).items() if k != "seconds"})
    assert results[0] == results[1]


def test_both_can_be_nested() -> None:
    torch.manual_seed(0)
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    with computing_threads(2), seeded(1):
        first = torch.rand(3)
        with computing_threads(0), seeded(1):
            assert torch.get_num_threads() == 2
            assert torch.equal(torch.rand(3), first)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("wanted", [True, False])
def test_deterministic_algorithms_are_asked_for_within_a_block(wanted: bool) -> None:
    torch.use_deterministic_algorithms(False)  # what it imports, once, is no setting
    before = process_state()
    with deterministic(wanted):
        assert torch.are_deterministic_algorithms_enabled() == wanted
        assert "CUBLAS_WORKSPACE_CONFIG" in os.environ or not wanted
    assert process_state() == before


def test_an_operation_without_a_deterministic_algorithm_is_named() -> None:
    said = r"deterministic = true: put_ does not have .*deterministic = false"
    with pytest.raises(ConfigError, match=said), deterministic(True):
        raise RuntimeError("put_ does not have a deterministic implementation, but you set ...\nmore")
    with pytest.raises(RuntimeError, match="another"), deterministic(True):
        raise RuntimeError("another")


def test_a_run_computes_as_its_recipe_asks(recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deterministic algorithms change nothing in a run on the CPU, and a run may be resumed with them."""
    seen: list[bool] = []
    step = torch.optim.SGD.step

    def watched(*arguments: Any, **named: Any) -> Any:
        seen.append(torch.are_deterministic_algorithms_enabled())
        return step(*arguments, **named)

    monkeypatch.setattr(torch.optim.SGD, "step", watched)
    weights = []
    for keys in ([], ["deterministic=true"]):
        run = Run.create(load_recipe(recipe_file, keys), tmp_path / str(len(keys)))
        run.train_supernet()
        weights.append(run.supernet.state_dict())
        assert set(seen) == {bool(keys)}
        seen.clear()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
