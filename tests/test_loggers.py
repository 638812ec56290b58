"""Rows of metrics that go to loggers: all of them, after a kill again, and what is missing is named before any work."""

import csv
import sys
import types
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from anybudget.errors import ConfigError
from anybudget.recipe import load_recipe, reproducibility_settings
from anybudget.runs import loggers
from anybudget.runs.loggers import LoggerKind
from anybudget.runs.run import Run
from stopping import stop_after


class Recorder:
    """A logger that keeps what it is told."""

    opened: ClassVar[list[dict[str, Any]]] = []

    def __init__(self, **arguments: Any) -> None:
        self.rows: list[tuple[int, dict[str, float]]] = []
        self.opened.append({**arguments, "rows": self.rows})

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        self.rows.append((step, metrics))

    def save(self) -> None:
        assert self.rows

    def finalize(self, status: str) -> None:
        self.opened[-1]["status"] = status


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    module = types.ModuleType("recorder")
    module.Recorder = Recorder  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "recorder", module)
    kind = LoggerKind("recorder", "Recorder", "recorder", "recorder", lambda folder, name: {"at": (folder, name)})
    monkeypatch.setattr(loggers, "KINDS", {**loggers.KINDS, "wandb": kind})
    monkeypatch.setattr(Recorder, "opened", [])
    return Recorder.opened


def test_every_row_of_every_training_is_logged_and_again_after_a_kill(
    recorded: list[dict[str, Any]], recipe_file: Path, tmp_path: Path
) -> None:
    run = Run.create(load_recipe(recipe_file, ["logger=['wandb']", "checkpoint_seconds=0"]), tmp_path / "run")
    stop_after(6, run.train_supernet)
    run = Run.open(tmp_path / "run")
    run.train_supernet()
    run.train_generator()
    architecture = run.space.sample(np.random.default_rng(0))
    run.retrain(architecture)
    words = [each["at"] for each in recorded]
    retrained = f"retrain-{architecture.short_id}"
    assert words == [(run.folder.path, name) for name in ("supernet", "supernet", "generator", retrained)]
    assert [each["status"] for each in recorded] == ["failed", "success", "success", "success"]
    files = ["supernet.csv", "generator.csv", f"retrain/{architecture.short_id}/retrain.csv"]
    for each, name in zip(recorded[1:], files, strict=True):
        rows = list(csv.DictReader((run.folder.path / name).open()))
        assert [step for step, _ in each["rows"]] == list(range(1, len(rows) + 1))
        for row, (_, metrics) in zip(rows, each["rows"], strict=True):
            assert {key: float(value) for key, value in row.items() if key != "epoch"} == pytest.approx(metrics)


def test_without_a_logger_none_is_opened(recorded: list[dict[str, Any]], recipe_file: Path, tmp_path: Path) -> None:
    Run.create(load_recipe(recipe_file), tmp_path / "run").train_supernet()
    assert not recorded


def test_what_is_missing_is_named_before_any_work(
    recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, library, package in (
        ("tensorboard", "tensorboardX", "tensorboardX"),
        ("wandb", "wandb", "wandb pytorch-lightning"),
        ("mlflow", "mlflow", "mlflow pytorch-lightning"),
    ):
        monkeypatch.setitem(sys.modules, library, None)
        run = Run.create(load_recipe(recipe_file, [f"logger=['{name}']"]), tmp_path / name)
        with pytest.raises(ConfigError, match=rf"logger = \['{name}'\] needs {library}, .*pip install '{package}'"):
            run.run_all(lambda _line: None)


def test_a_logger_changes_no_result(recipe_file: Path) -> None:
    plain, logged = (load_recipe(recipe_file, keys) for keys in ((), ["logger=['tensorboard']"]))
    assert reproducibility_settings(plain) == reproducibility_settings(logged)


@pytest.mark.timm
def test_tensorboard_has_the_rows(recipe_file: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX", reason="needs tensorboardX; pip install 'anybudget[train]'")
    run = Run.create(load_recipe(recipe_file, ["logger=['tensorboard']"]), tmp_path / "run")
    run.train_supernet()
    (file,) = (tmp_path / "run" / "logs" / "supernet").glob("events*")
    written = file.read_bytes()
    assert b"learning_rate" in written
    assert written.count(b"train_top1_percent") == run.recipe.supernet.epochs
