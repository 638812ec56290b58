"""What an open run keeps in memory: never older than the files of the run folder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from anybudget.budgets import BudgetSet
from anybudget.errors import ConfigError, RunError
from anybudget.recipe import load_recipe
from anybudget.runs.run import Run
from anybudget.storage.journal import Journal


def test_a_stage_that_runs_again_is_read_again(recipe_file: Path, tmp_path: Path) -> None:
    run = Run.create(load_recipe(recipe_file), tmp_path / "run")
    architecture = run.space.sample(np.random.default_rng(0))
    budget = BudgetSet.parse("macs<=60k")
    run.train_supernet()
    run.train_generator()
    before = run.supernet, run.generator, run.evaluator
    run.evaluator.score(architecture)
    run.recipe = load_recipe(recipe_file, ["supernet.learning_rate=0.3", "generator.learning_rate=0.1"])
    run.train_supernet()
    run.train_generator()
    assert not {id(part) for part in before} & {id(part) for part in (run.supernet, run.generator, run.evaluator)}
    afresh = Run.open(run.folder.path)
    assert run.evaluator.score(architecture) == afresh.evaluator.score(architecture)
    assert run.evaluator.score(architecture) != before[2].score(architecture)
    for ours, theirs in zip(run.generator.parameters(), afresh.generator.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    ours, theirs = (each.strategy("generator").search([budget])[0] for each in (run, afresh))
    assert ours.architecture == theirs.architecture


def test_a_stage_that_fails_at_its_end_is_read_again_too(
    recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run.create(load_recipe(recipe_file), tmp_path / "run")
    run.train_supernet()
    assert run.evaluator
    run.recipe = load_recipe(recipe_file, ["supernet.learning_rate=0.3"])

    def fail(*_arguments: object) -> None:
        raise ConfigError("the weights are written, the stage is not finished")

    monkeypatch.setattr(type(run.folder), "finish", fail)
    with pytest.raises(ConfigError, match="the stage is not finished"):
        run.train_supernet()
    with pytest.raises(RunError, match="the supernet stage has not finished"):  # rather than the old weights
        _ = run.evaluator


def test_scores_of_an_older_way_to_calibrate_are_not_mixed_in(tmp_path: Path) -> None:
    path, settings = tmp_path / "search.jsonl", {"stage": "search"}
    Journal(path, settings).add([((0, 1), {"top1_percent": 50.0, "loss": 1.0, "seconds": 0.1})])
    assert Journal(path, settings).entries
    header, *lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([json.dumps(json.loads(header) | {"version": 1}) + "\n", *lines]))
    with pytest.raises(RunError, match="no journal of this version; delete it to start this search anew"):
        Journal(path, settings)
