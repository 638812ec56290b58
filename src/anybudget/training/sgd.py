"""Stochastic gradient descent as supernet training and retraining share it, and when it has failed."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anybudget.data import Augmentation, DataSource, TrainingBatches
from anybudget.errors import TrainingError
from anybudget.runtime.distributed import Processes
from anybudget.storage.checkpoint import Stateful
from anybudget.training.annealing import Annealing
from anybudget.training.averaging import WeightAverage
from anybudget.training.batches import Batches
from anybudget.training.loop import EpochLoop, Figures, Row, TrainingContext
from anybudget.training.settings import Schedule

# A loss this many times that of guessing is not noise: the weights have left the region where they can recover.
DIVERGED = 5.0
# How many steps in a row it takes to say so.
PATIENCE = 20


@dataclass(frozen=True, slots=True)
class StepResult:
    """What one step reports: its mean loss and how many of the `images` it trained on it got right."""

    loss: float
    correct: float
    images: int


class GradientStep(ABC):
    """How the gradients of one step come to be, and what has a state besides: what each kind of training defines.

    Args:
        model: its parameters are trained, all its state is saved.
    """

    alike = True
    """Whether all processes train the same parameters in a step."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    @abstractmethod
    def backward(self, images: Tensor, labels: Tensor, step: int) -> StepResult:
        """Forward and backward on images `[B, C, H, W]` and labels `[B]`; leaves gradients on the parameters.

        `step` counts from 0, through all epochs.
        """

    def prepare(self, model: nn.Module, step: int) -> None:  # noqa: B027 - most change nothing
        """Change weights before a step otherwise than by its gradients.

        Args:
            model: the model, or the average of its weights, which has to change alike.
            step: counts from 0, through all epochs.
        """

    @property
    def parts(self) -> Mapping[str, Stateful]:
        """What has a state besides the model and the optimiser, by name."""
        return {}

    @property
    def finished(self) -> bool:
        """Whether training is to end before the last epoch; asked after each step."""
        return False

    @property
    def trained(self) -> str:
        """What the last step trained, such as its path, for the message when it fails; empty if there is no more."""
        return ""


@dataclass(frozen=True)
class Course:
    """What a training goes through: the batches of its epochs, and what the learning rate is multiplied by in a step.

    Steps count from 0, through all epochs. `classes` is how many the labels have.
    """

    batches: Batches
    epochs: int
    factor: Callable[[int], float]
    classes: int

    @classmethod
    def of(cls, data: DataSource, schedule: Schedule, seed: int) -> Course:
        """The training split, epoch by epoch, with the learning rate of the schedule.

        Args:
            data: the training split is trained on.
            schedule: says how long.
            seed: draws the order of images and the augmentation.
        """
        batches = training_batches(data, schedule, seed)
        return cls(batches, schedule.epochs, Annealing.of(schedule, batches.per_epoch).cosine, data.classes)


def training_batches(data: DataSource, schedule: Schedule, seed: int) -> TrainingBatches:
    """The training split in batches and with the augmentation of a schedule."""
    return TrainingBatches(data, data.train, schedule.batch_size, seed, _augmentation(schedule))


def run_epochs(
    gradients: GradientStep, data: DataSource, schedule: Schedule, context: TrainingContext, *, name: str, seed: int
) -> None:
    """Train a model on the training split as a schedule says; see `run_course`, and `Course.of` for the seed."""
    run_course(gradients, Course.of(data, schedule, seed), schedule, context, name=name)


def run_course(
    gradients: GradientStep, course: Course, schedule: Schedule, context: TrainingContext, *, name: str
) -> None:
    """Train a model by stochastic gradient descent; see `EpochLoop`.

    Gradients are clipped after they have been averaged over the processes. The model ends with the average of its
    weights where the schedule asks for one.

    Args:
        gradients: has the model, and leaves the gradients of a step on its parameters.
        course: which batches come, and how the learning rate goes.
        schedule: the optimiser and its highest learning rate.
        context: who watches.
        name: in progress and errors.

    Raises:
        ConfigError: a batch cannot be cut into equal shares, or into parts of 2 images or more.
        TrainingError: the loss is not finite, or stays far above that of guessing.
        Stopped: training was asked to stop, and has been saved.
    """
    processes, batches = context.processes, course.batches
    processes.check_batch(batches.size, schedule.accumulate)
    parameters = list(gradients.model.parameters())
    plain = torch.optim.SGD(
        parameters,
        lr=schedule.learning_rate,
        momentum=schedule.momentum,
        weight_decay=schedule.weight_decay,
        nesterov=schedule.nesterov,
    )
    scheduler = torch.optim.lr_scheduler.LambdaLR(plain, course.factor)
    watch = _Watch(name, DIVERGED * math.log(course.classes))
    loop = EpochLoop(batches, context, name=name, epochs=course.epochs)
    optimiser = processes.optimiser(plain)
    combine = processes.average_gradients if gradients.alike else processes.average_used_gradients
    average = WeightAverage(gradients.model, schedule.ema) if schedule.ema else None

    def step(images: Tensor, labels: Tensor) -> Figures:
        plain.zero_grad(set_to_none=True)
        for weights in [gradients.model] if average is None else [gradients.model, average.module]:
            gradients.prepare(weights, scheduler.last_epoch)
        result = gradients.backward(images, labels, scheduler.last_epoch)
        loss, correct, count = processes.mean([result.loss, result.correct, result.images])
        watch.check(loss, f"{loop.where}{gradients.trained}")
        combine(parameters)
        if schedule.clip_norm:
            processes.clip_gradients(gradients.model, optimiser, schedule.clip_norm)
        loop.scale_rate(plain, scheduler)
        optimiser.step()
        scheduler.step()
        if average is not None:
            average.update_parameters(gradients.model)
        return Figures(loss, {"loss": loss, "correct": correct, "images": count})

    def row(epoch: int, sums: Mapping[str, float]) -> Row:
        return {
            "epoch": epoch,
            "loss": sums["loss"] / sums["steps"],
            "train_top1_percent": 100.0 * sums["correct"] / sums["images"],
            "learning_rate": loop.rate * float(scheduler.get_last_lr()[0]),
        }

    parts: dict[str, Stateful] = {"optimiser": plain, "schedule": scheduler, "watch": watch, **gradients.parts}
    if average is not None:
        parts["average"] = average
    loop.run(gradients.model, parts, step, row, lambda: gradients.finished)
    if average is not None:
        average.give_to(gradients.model)


def _augmentation(schedule: Schedule) -> Augmentation | None:
    changes = schedule.crop_padding or schedule.flip
    return Augmentation(schedule.crop_padding, schedule.flip) if changes else None


class _Watch:
    """Raises an error where a loss is not finite or diverges."""

    def __init__(self, name: str, ceiling: float) -> None:
        self._name, self._ceiling = name, ceiling
        self._recent: deque[float] = deque(maxlen=PATIENCE)

    def check(self, loss: float, where: str) -> None:
        """Look at the loss of one more step."""
        self._recent.append(loss)
        if not math.isfinite(loss):
            raise TrainingError(
                f"{self._name}: the loss became {loss} in {where}; lower learning_rate (try a third) or add "
                "warmup_epochs, check the images for constant or corrupt ones, or set rollbacks to go on by itself "
                "with a lower rate; what was saved before is kept"
            )
        if len(self._recent) == PATIENCE and min(self._recent) > self._ceiling:
            raise TrainingError(
                f"{self._name}: the loss diverges, above {min(self._recent):.1f} for {PATIENCE} steps up to {where}, "
                f"where guessing gives {self._ceiling / DIVERGED:.1f}; lower learning_rate (try a third) or add "
                "warmup_epochs"
            )

    def state_dict(self) -> dict[str, Any]:
        """The last losses."""
        return {"recent": list(self._recent)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore such a state."""
        self._recent.clear()
        self._recent.extend(state["recent"])


def step_result(loss: Tensor, logits: Tensor, labels: Tensor) -> StepResult:
    """Loss and correct answers of one forward as plain numbers."""
    correct = (logits.detach().argmax(1) == labels).sum()
    return StepResult(float(loss.detach()), float(correct), len(labels))


def train_on(
    images: Tensor,
    labels: Tensor,
    forward: Callable[[Tensor], Tensor],
    processes: Processes,
    accumulate: int = 1,
    *,
    weight: float = 1.0,
    label_smoothing: float = 0.0,
) -> StepResult:
    """Forward and backward on a batch, in `accumulate` parts one after the other, to need less memory.

    Parts differ by one image at most. Gradients are added up to those of `weight` times the mean loss over the batch;
    norms of the batch see a part at a time. With `label_smoothing` these are of the smoothed loss, and what is reported
    is the plain one, which can be compared with that of guessing and of validation images.
    """
    results = []
    for part, answers in zip(images.tensor_split(accumulate), labels.tensor_split(accumulate), strict=True):
        with processes.precision():
            logits = forward(part)
            loss = F.cross_entropy(logits, answers, label_smoothing=label_smoothing)
        share = weight * len(part) / len(images)
        processes.backward(loss if share == 1 else loss * share)
        if label_smoothing and loss.isfinite():
            loss = F.cross_entropy(logits.detach(), answers)
        results.append(step_result(loss, logits, answers))
    return merge(results)


def merge(results: Sequence[StepResult]) -> StepResult:
    """Mean loss over all images and total counts of several forwards."""
    images = sum(result.images for result in results)
    return StepResult(
        sum(result.loss * result.images for result in results) / images,
        sum(result.correct for result in results),
        images,
    )
