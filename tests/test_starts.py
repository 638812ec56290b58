"""A training from new weights that ends below what the supernet's weights give as they are says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from anybudget.recipe import load_recipe
from anybudget.runs.run import Run

NOTICE = "with the supernet's as they are"
LEARNS = ["supernet.epochs=20", "supernet.learning_rate=0.2", "retrain.epochs=10", "retrain.learning_rate=0.1"]


def test_what_the_supernets_weights_do_better_is_said(
    recipe_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = Run.create(load_recipe(recipe_file, [*LEARNS, "retrain.learning_rate=1e-9"]), tmp_path / "run")
    run.train_supernet()
    architecture = run.space.sample(np.random.default_rng(0))
    result = run.retrain(architecture)
    (message,) = [record.getMessage() for record in caplog.records if NOTICE in record.getMessage()]
    scored = run.new_evaluator().scores([architecture])[0].top1_percent
    assert message.startswith(f"retrain {architecture.short_id}: {result['validation_top1_percent']:.2f}%")
    assert f"{scored:.2f}% {NOTICE}: train on from these (--inherit, or retrain.inherit = true)" in message

    caplog.clear()
    run.retrain(architecture, inherit=True)
    assert NOTICE not in caplog.text


@pytest.mark.parametrize(
    "settings", [["supernet.learning_rate=1e-9"], ["retrain.data=train+validation", "retrain.learning_rate=1e-9"]]
)
def test_nothing_is_said_where_new_weights_do_better_or_validation_images_are_trained_on(
    settings: list[str], recipe_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = Run.create(load_recipe(recipe_file, [*LEARNS, *settings]), tmp_path / "run")
    run.train_supernet()
    run.retrain(run.space.sample(np.random.default_rng(0)))
    assert NOTICE not in caplog.text


def test_networks_of_a_folder_without_a_supernet_are_retrained(recipe_file: Path, tmp_path: Path) -> None:
    run = Run.create(load_recipe(recipe_file), tmp_path / "run")
    assert run.retrain(run.space.sample(np.random.default_rng(0)))["inherited"] is False
