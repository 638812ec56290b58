"""What networks of a run are trained on and by whom, as `[retrain]` says: its images, and its teacher."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from torch import nn

from anybudget.architecture import Architecture
from anybudget.data import DataSource
from anybudget.data.joined import TrainedOnValidation
from anybudget.decoding.reachability import extreme_choices
from anybudget.errors import ConfigError
from anybudget.runs.context import RunContext
from anybudget.training.distillation import Teacher, timm_teacher
from anybudget.training.distillation_settings import SUPERNET


def trained_on(run: RunContext) -> DataSource:
    """The data that networks are trained on alone: the run's, or with its validation images as training images."""
    return TrainedOnValidation(run.data) if run.recipe.retrain.data == "train+validation" else run.data


def teacher_of(run: RunContext) -> Teacher | None:
    """The teacher of networks that are trained alone; None if they have none.

    Raises:
        ConfigError: it cannot be made; see `timm_teacher`.
        RunError: it is the supernet's, and there is no supernet.
    """
    settings = run.recipe.retrain.teacher
    if not settings.model:
        return None
    if settings.model == SUPERNET:
        network: nn.Module = run.new_evaluator().network(largest(run))
    else:
        network = timm_teacher(settings, run.data).to(run.device)
    return Teacher(network.eval().requires_grad_(False), settings.weight, settings.temperature)


def teacher_origin(run: RunContext) -> dict[str, Any]:
    """What tells the teacher's weights from others, as a setting of trainings; empty if there is no teacher.

    Raises:
        ConfigError: its file cannot be read.
        RunError: it is the supernet's, and there is no supernet.
    """
    settings = run.recipe.retrain.teacher
    if not settings.model:
        return {}
    if settings.model == SUPERNET:
        return {"teacher": run.origin()["supernet"]}
    try:
        with Path(settings.weights).open("rb") as file:
            return {"teacher": hashlib.file_digest(file, "sha256").hexdigest()}
    except OSError as error:
        raise ConfigError(f"retrain.teacher.weights: {settings.weights} cannot be read: {error.strerror}") from None


def largest(run: RunContext) -> Architecture:
    """The network of a run's space that has the most multiply-adds."""
    _, choices = extreme_choices(run.costs["macs"].terms)
    return run.space.simplified(Architecture(run.space.name, choices))
