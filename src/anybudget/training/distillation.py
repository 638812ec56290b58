"""Knowledge distillation: a `Teacher`, whose answers a network is trained to give besides the labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn import functional as F

from anybudget.data import DataSource
from anybudget.errors import ConfigError
from anybudget.runtime.optional import timm
from anybudget.training.distillation_settings import TeacherSettings


@dataclass(frozen=True, eq=False)
class Teacher:
    """A frozen network whose answers count in the loss of another one.

    Args:
        network: normalised images `[B, C, H, W]`, as the other is trained on, to logits `[B, classes]`; in evaluation
            mode.
        weight: the share of the loss that asks for its answers.
        temperature: what both logits are divided by.

    Source: Hinton et al. 2015, §2: the term of soft answers is multiplied by the square of the temperature.
    """

    network: nn.Module
    weight: float
    temperature: float

    def blended(self, loss: Tensor, logits: Tensor, images: Tensor) -> Tensor:
        """The loss of the labels and the divergence from the teacher's answers to these images, in nats."""
        with torch.no_grad():
            soft = (self.network(images).float() / self.temperature).log_softmax(1)
        own = (logits.float() / self.temperature).log_softmax(1)
        apart = F.kl_div(own, soft, reduction="batchmean", log_target=True) * self.temperature**2
        return loss * (1 - self.weight) + apart * self.weight


def timm_teacher(settings: TeacherSettings, data: DataSource) -> nn.Module:
    """A model of timm with weights from a file, for images as they are normalised here.

    Raises:
        ConfigError: timm is missing, or does not know the model; or the file cannot be read, or has other weights or
            classes.
    """
    create, problem = timm("models", _asked(settings)).create_model, ""
    try:
        model: nn.Module = create(settings.model, num_classes=data.classes, checkpoint_path=settings.weights)
    except OSError as error:
        problem = f"cannot be read: {error.strerror or 'no such file'}"
    except (UnpicklingError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        problem = f"does not hold the weights of {settings.model} for {data.classes} classes: {_first_line(error)}"
    if problem:
        raise ConfigError(f"retrain.teacher.weights: {settings.weights} {problem}")
    return _Adapted(model, data)


def check_teacher(settings: TeacherSettings) -> None:
    """Check, before any training, that a model of timm can be made, and that its file is there.

    Raises:
        ConfigError: it cannot, or is not.
    """
    if not settings.weights:
        return
    if not timm("models", _asked(settings)).is_model(settings.model):
        raise ConfigError(f"{_asked(settings)}: timm has no such model; timm.list_models() says which it has")
    if not Path(settings.weights).is_file():
        raise ConfigError(f"retrain.teacher.weights: {settings.weights} is no file; give one with weights of the model")


class _Adapted(nn.Module):
    """A model of timm, given images as they are normalised here: of its own size, channels, mean and deviation."""

    own_mean: Tensor
    own_std: Tensor
    asked_mean: Tensor
    asked_std: Tensor

    def __init__(self, model: nn.Module, data: DataSource) -> None:
        super().__init__()
        self.model = model.eval().requires_grad_(False)
        form = getattr(model, "pretrained_cfg", {}) or {}
        self._channels: int
        self._channels, *size = form.get("input_size") or (3, *data.input_shape[1:])
        self._size = (int(size[0]), int(size[1]))
        for name, mean, std in (
            ("own", data.mean, [deviation or 1.0 for deviation in data.std]),
            ("asked", form.get("mean") or (0.0,), form.get("std") or (1.0,)),
        ):
            self.register_buffer(f"{name}_mean", _by_channel(mean), persistent=False)
            self.register_buffer(f"{name}_std", _by_channel(std), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Images `[B, C, H, W]`, normalised as the data say, to logits `[B, classes]`."""
        pixels = images * self.own_std + self.own_mean
        if pixels.shape[1] != self._channels:
            pixels = pixels.mean(1, keepdim=True).expand(-1, self._channels, -1, -1)
        if tuple(pixels.shape[2:]) != self._size:
            pixels = F.interpolate(pixels, self._size, mode="bilinear", antialias=True, align_corners=False)
        logits: Tensor = self.model((pixels - self.asked_mean) / self.asked_std)
        return logits


def _by_channel(values: Sequence[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32).view(-1, 1, 1)


def _asked(settings: TeacherSettings) -> str:
    return f"retrain.teacher.model = {settings.model!r}"


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
