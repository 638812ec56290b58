"""Where rows of metrics go besides CSV files: TensorBoard, Weights & Biases, MLflow, through Lightning's loggers."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anybudget.errors import ConfigError
from anybudget.runtime.optional import optional
from anybudget.training.loop import Log, OpenLoggers, Row

FOLDER = "logs"
"""Where in a run folder TensorBoard's files are, in a folder for each training."""

PROJECT = "anybudget"
"""The project of Weights & Biases, and the experiment of MLflow."""


@dataclass(frozen=True, slots=True)
class LoggerKind:
    """A logger that recipes can name: where its class is, what it needs, and how one is opened for a training."""

    module: str
    name: str
    needs: str
    install: str
    arguments: Callable[[Path, str], dict[str, Any]]
    """Those of its class, from the run folder and the name of the training."""

    def load(self, key: str) -> Any:
        """The class.

        Raises:
            ConfigError: a library is not installed; names the package to install.
        """
        for needed in (self.needs, self.module):
            optional(needed, f"logger = [{key!r}]", self.install)
        return getattr(optional(self.module, f"logger = [{key!r}]", self.install), self.name)


def _identity(folder: Path, training: str) -> str:
    """The same for a training that is resumed."""
    return hashlib.sha256(f"{folder.resolve()} {training}".encode()).hexdigest()[:16]


KINDS: Mapping[str, LoggerKind] = {
    "tensorboard": LoggerKind(
        "lightning_fabric.loggers",
        "TensorBoardLogger",
        "tensorboardX",
        "tensorboardX",
        lambda folder, training: {"root_dir": folder / FOLDER, "name": training, "version": ""},
    ),
    "wandb": LoggerKind(
        "pytorch_lightning.loggers",
        "WandbLogger",
        "wandb",
        "wandb pytorch-lightning",
        lambda folder, training: {
            "project": PROJECT,
            "name": f"{folder.name} {training}",
            "id": _identity(folder, training),
            "resume": "allow",
            "save_dir": str(folder),
        },
    ),
    "mlflow": LoggerKind(
        "pytorch_lightning.loggers",
        "MLFlowLogger",
        "mlflow",
        "mlflow pytorch-lightning",
        lambda folder, training: {"experiment_name": PROJECT, "run_name": f"{folder.name} {training}"},
    ),
}


def check_loggers(names: Sequence[str]) -> None:
    """Check that all loggers can be had, before any training.

    Raises:
        ConfigError: a library is not installed; names the package to install.
    """
    for name in names:
        KINDS[name].load(name)


def opened(names: Sequence[str], folder: Path) -> OpenLoggers:
    """What opens loggers for a training by its name, and gives what takes its rows; nothing is kept without `names`."""

    @contextmanager
    def of(training: str) -> Iterator[Log]:
        word = "-".join(re.findall(r"[\w.]+", training))
        if names:  # rows that were logged before come again when a training is resumed
            shutil.rmtree(folder / FOLDER / word, ignore_errors=True)
        loggers = [_open(name, folder, word) for name in names]

        def log(row: Row) -> None:
            figures = {key: value for key, value in row.items() if key != "epoch"}
            for logger in loggers:
                logger.log_metrics(figures, step=int(row["epoch"]))
                logger.save()

        status = "failed"
        try:
            yield log
            status = "success"
        finally:
            for logger in loggers:
                logger.finalize(status)

    return of


def _open(name: str, folder: Path, training: str) -> Any:
    kind = KINDS[name]
    try:
        return kind.load(name)(**kind.arguments(folder, training))
    except (ImportError, OSError, ValueError) as error:
        raise ConfigError(f"logger = [{name!r}]: cannot be opened: {error}") from None
