"""A training that ends no better than guessing says so, whatever was trained."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from anybudget.recipe import load_recipe
from anybudget.runs.run import Run
from anybudget.training.guessing import no_better_than_guessing

NOTICE = "training has ended no better than guessing"


def test_what_counts_as_no_better() -> None:
    even = torch.arange(1000) % 10
    assert no_better_than_guessing(even, 1.0, 60.0) is None
    assert no_better_than_guessing(even, 2.2, 14.0) is None
    assert no_better_than_guessing(even, 1.0) is None
    chance = f"loss 2.300 (guessing: {math.log(10):.3f}), top-1 10.9% (always the largest class: 10.0%)"
    assert no_better_than_guessing(even, 2.3, 10.9) == chance
    assert no_better_than_guessing(even, 2.3) == "loss 2.300 (guessing: 2.303)"
    assert no_better_than_guessing(even, 2.0, 11.5) is not None  # within two standard errors
    uneven = (torch.arange(1000) < 900).long()
    assert no_better_than_guessing(uneven, 0.5, 95.0) is not None  # below log 2, above the entropy of 9 to 1
    assert no_better_than_guessing(uneven, 0.2, 90.5) is not None
    assert no_better_than_guessing(uneven, 0.2, 96.0) is None


def test_every_training_that_learns_nothing_is_noticed(
    recipe_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A learning rate at which nothing happens."""
    settings = [f"{section}.learning_rate=1e-9" for section in ("supernet", "generator", "retrain")]
    run = Run.create(load_recipe(recipe_file, settings), tmp_path / "run")
    architecture = run.space.sample(np.random.default_rng(0))
    for name, train in (
        ("supernet", run.train_supernet),
        ("generator", run.train_generator),
        (f"retrain {architecture.short_id}", lambda: run.retrain(architecture)),
    ):
        caplog.clear()
        train()
        (message,) = [record.getMessage() for record in caplog.records if NOTICE in record.getMessage()]
        assert message.startswith(f"{name}: {NOTICE}, with loss 1.")
        assert "(guessing: 1.099)" in message
        assert ("top-1" in message) == (name != "generator")
        assert "try a lower or higher learning_rate" in message


def test_a_training_that_learns_is_not(recipe_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = ["supernet.epochs=20", "supernet.learning_rate=0.2", "retrain.epochs=10", "retrain.learning_rate=0.1"]
    run = Run.create(load_recipe(recipe_file, settings), tmp_path / "run")
    run.train_supernet()
    run.retrain(run.space.sample(np.random.default_rng(0)))
    assert NOTICE not in caplog.text
