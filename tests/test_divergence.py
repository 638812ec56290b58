"""Losses and weights that become no numbers: where training stops, and how it is rolled back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from anybudget.errors import TrainingError
from anybudget.storage.checkpoint import read
from anybudget.testing.interruption import differing_files
from anybudget.training import loss
from anybudget.training.loop import EpochLoop
from conftest import open_run


class Poison:
    """Makes the loss of some steps of training no number."""

    def __init__(self, *steps: int) -> None:
        self.steps, self.count, self.real = steps, 0, loss.F.cross_entropy

    def __call__(self, *arguments: Any, **options: Any) -> torch.Tensor:
        self.count += 1
        loss = self.real(*arguments, **options)
        return loss * float("nan") if self.count in self.steps else loss


def test_a_loss_that_is_no_number_stops_with_path_and_step(
    recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = open_run(recipe_file, tmp_path / "run")
    monkeypatch.setattr(loss.F, "cross_entropy", Poison(8))
    with pytest.raises(
        TrainingError, match=r"the loss became nan in epoch 2, step 3, on path \[\d+, \d+\]; lower learn"
    ):
        run.train_supernet()
    monkeypatch.undo()
    state = read(run.folder.path / "checkpoints" / "supernet.checkpoint")
    assert state["loop"]["step"] == 2  # the last good one
    assert all(torch.isfinite(weights).all() for weights in state["model"].values())
    run.train_supernet()
    whole = open_run(recipe_file, tmp_path / "whole")
    whole.train_supernet()
    assert not differing_files(whole.folder.path, run.folder.path)


def test_weights_that_are_no_numbers_are_never_saved(
    recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = open_run(recipe_file, tmp_path / "run")
    real = EpochLoop.scale_rate
    steps = iter(range(1, 100))

    def overshoot(self: EpochLoop, optimiser: torch.optim.Optimizer, schedule: Any) -> None:
        real(self, optimiser, schedule)
        if next(steps) == 4:
            optimiser.param_groups[0]["lr"] = float("inf")

    monkeypatch.setattr(EpochLoop, "scale_rate", overshoot)
    with pytest.raises(TrainingError, match="weights are not finite after epoch 1, step 4"):
        run.train_supernet()
    state = read(run.folder.path / "checkpoints" / "supernet.checkpoint")
    assert state["loop"]["step"] == 3


def test_rollback_goes_on_from_the_epoch_with_half_the_rate(
    recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run = open_run(recipe_file, tmp_path / "run", "supernet.rollbacks=2")
    monkeypatch.setattr(loss.F, "cross_entropy", Poison(8, 13))
    run.train_supernet()
    assert "rolled back to the start of epoch 2 with 0.5 times the learning rate (rollback 1 of 2)" in caplog.text
    assert "with 0.25 times the learning rate (rollback 2 of 2)" in caplog.text
    plain = open_run(recipe_file, tmp_path / "plain")
    monkeypatch.undo()
    plain.train_supernet()
    rates = [
        float((folder / "supernet.csv").read_text().splitlines()[1].split(",")[3])
        for folder in (run.folder.path, plain.folder.path)
    ]
    assert rates[0] == rates[1]  # the first epoch was not touched
    weights = [(folder / "supernet.safetensors").read_bytes() for folder in (run.folder.path, plain.folder.path)]
    assert weights[0] != weights[1]
    again = open_run(recipe_file, tmp_path / "again", "supernet.rollbacks=2")
    monkeypatch.setattr(loss.F, "cross_entropy", Poison(8, 13, 17, 18, 19))
    with pytest.raises(TrainingError, match="the loss became nan in epoch 2"):
        again.train_supernet()
