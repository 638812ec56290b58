"""Gradient descent as supernet training and retraining share it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from anybudget.data import Augmentation, DataSource, TrainingBatches
from anybudget.data.image_transforms import image_augmentation
from anybudget.data.mixing import Mixing, RandomErasing
from anybudget.data.protocol import Split
from anybudget.nets.dropping import Dropping
from anybudget.runtime.distributed import Processes
from anybudget.storage.checkpoint import Stateful
from anybudget.training.annealing import rate_factor
from anybudget.training.averaging import WeightAverage
from anybudget.training.batches import Batches
from anybudget.training.distillation import Teacher
from anybudget.training.divergence import LossWatch
from anybudget.training.loop import EpochLoop, Figures, Row, TrainingContext
from anybudget.training.loss import TrainingLoss
from anybudget.training.optimisers import OptimiserState, build_optimiser
from anybudget.training.settings import Schedule


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

    def begin(self, trial: Callable[[], Callable[[], float]], steps: int) -> None:  # noqa: B027 - most choose nothing
        """Choose how steps are computed, before the first one of a training that is not resumed.

        Args:
            trial: gives a step that can be done without a trace, which returns its seconds.
            steps: how many there are to come.
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

    Steps count from 0, through all epochs. `classes` is how many the labels have; `seed` draws what is dropped.
    """

    batches: Batches
    epochs: int
    factor: Callable[[int], float]
    classes: int
    seed: int = 0

    @classmethod
    def of(cls, data: DataSource, schedule: Schedule, seed: int) -> Course:
        """The training split, epoch by epoch, with the learning rate of the schedule.

        Args:
            data: the training split is trained on.
            schedule: says how long.
            seed: draws the order of images, the augmentation and what is dropped.
        """
        batches = training_batches(data, schedule, seed)
        return cls(batches, schedule.epochs, rate_factor(schedule, batches.per_epoch), data.classes, seed)


def training_batches(data: DataSource, schedule: Schedule, seed: int, split: Split | None = None) -> TrainingBatches:
    """The training split, or another, in batches and with the augmentation of a schedule."""
    changes = schedule.crop_padding or schedule.flip
    return TrainingBatches(
        data,
        data.train if split is None else split,
        schedule.batch_size,
        seed,
        Augmentation(schedule.crop_padding, schedule.flip) if changes else None,
        image_augmentation(schedule, data),
        RandomErasing(schedule.random_erasing) if schedule.random_erasing else None,
        Mixing.of(schedule, data.classes),
        schedule.class_balance,
    )


def run_epochs(
    gradients: GradientStep, data: DataSource, schedule: Schedule, context: TrainingContext, *, name: str, seed: int
) -> None:
    """Train a model on the training split as a schedule says; see `run_course`, and `Course.of` for the seed."""
    run_course(gradients, Course.of(data, schedule, seed), schedule, context, name=name)


def run_course(
    gradients: GradientStep, course: Course, schedule: Schedule, context: TrainingContext, *, name: str
) -> None:
    """Train a model by gradient descent; see `EpochLoop`.

    Gradients are clipped after they have been averaged over the processes. The model ends with the average of its
    weights where the schedule asks for one.

    Args:
        gradients: has the model, and leaves the gradients of a step on its parameters.
        course: which batches come, and how the learning rate goes.
        schedule: the optimiser and its highest learning rate.
        context: who watches.
        name: in progress and errors.

    Raises:
        ConfigError: a batch cannot be cut into equal shares, or into parts of 2 images or more; or the optimiser is
            unknown, or needs timm, which is not installed.
        TrainingError: the loss is not finite, or stays far above that of guessing.
        Stopped: training was asked to stop, and has been saved.
    """
    processes, batches = context.processes, course.batches
    processes.check_batch(batches.size, schedule.accumulate)
    descent = _Descent(gradients, course, schedule, processes)
    watch = LossWatch(name, course.classes)
    loop = EpochLoop(batches, context, name=name, epochs=course.epochs)
    dropping = Dropping(
        gradients.model, schedule.dropout, schedule.drop_path, course.seed, apart=schedule.compile != "never"
    )

    def step(images: Tensor, labels: Tensor) -> Figures:
        descent.prepare()
        dropping.begin(descent.step, processes.share(torch.arange(len(images) * processes.count)))
        result = gradients.backward(images, labels, descent.step)
        loss, correct, count = processes.mean([result.loss, result.correct, result.images])
        watch.check(loss, f"{loop.where}{gradients.trained}")
        descent.update(loop)
        return Figures(loss, {"loss": loss, "correct": correct, "images": count})

    def row(epoch: int, sums: Mapping[str, float]) -> Row:
        return {
            "epoch": epoch,
            "loss": sums["loss"] / sums["steps"],
            "train_top1_percent": 100.0 * sums["correct"] / sums["images"],
            "learning_rate": loop.rate * float(descent.schedule.get_last_lr()[0]),
        }

    parts: dict[str, Stateful] = {**descent.parts, "watch": watch, **gradients.parts}
    loop.begins = gradients.begin
    loop.ended = lambda epoch: context.keep(epoch, descent.result)
    with dropping:
        loop.run(gradients.model, parts, step, row, lambda: gradients.finished)
    descent.finish()


class _Descent:
    """The updates of the weights of a training, and what these keep from step to step."""

    def __init__(self, gradients: GradientStep, course: Course, schedule: Schedule, processes: Processes) -> None:
        self._gradients, self._processes, self._clip_norm = gradients, processes, schedule.clip_norm
        self._parameters = list(gradients.model.parameters())
        self._plain = build_optimiser(gradients.model, schedule)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self._plain, course.factor)
        self._optimiser = processes.optimiser(self._plain)
        self._average = WeightAverage(gradients.model, schedule.ema) if schedule.ema else None

    @property
    def step(self) -> int:
        """The present step, from 0 through all epochs."""
        return self.schedule.last_epoch

    @property
    def parts(self) -> dict[str, Stateful]:
        """What has a state."""
        found: dict[str, Stateful] = {"optimiser": OptimiserState(self._plain), "schedule": self.schedule}
        return found if self._average is None else {**found, "average": self._average}

    def prepare(self) -> None:
        """Make ready for the gradients of a step."""
        self._plain.zero_grad(set_to_none=True)
        self._gradients.prepare(self._gradients.model, self.step)
        if self._average is not None:
            self._gradients.prepare(self._average.module, self.step)

    def update(self, loop: EpochLoop) -> None:
        """Take the step that the gradients say, and go on to the next."""
        processes, model = self._processes, self._gradients.model
        combine = processes.average_gradients if self._gradients.alike else processes.average_used_gradients
        combine(self._parameters)
        if self._clip_norm:
            processes.clip_gradients(model, self._optimiser, self._clip_norm)
        loop.scale_rate(self._plain, self.schedule)
        self._optimiser.step()
        self.schedule.step()
        if self._average is not None:
            self._average.update_parameters(model)

    @property
    def result(self) -> nn.Module:
        """The model with the weights that `finish` would leave it."""
        return self._gradients.model if self._average is None else self._average.module

    def finish(self) -> None:
        """Leave the model with the weights that training has come to."""
        if self._average is not None:
            self._average.give_to(self._gradients.model)


def step_result(loss: Tensor, logits: Tensor, labels: Tensor) -> StepResult:
    """Loss and correct answers of one forward as plain numbers; of mixed labels [B, C] the largest share counts."""
    answers = labels if labels.ndim == 1 else labels.argmax(1)
    correct = (logits.detach().argmax(1) == answers).sum()
    return StepResult(float(loss.detach()), float(correct), len(labels))


def train_on(
    images: Tensor,
    labels: Tensor,
    forward: Callable[[Tensor], Tensor],
    processes: Processes,
    accumulate: int = 1,
    *,
    weight: float = 1.0,
    lowered: TrainingLoss | None = None,
    teacher: Teacher | None = None,
) -> StepResult:
    """Forward and backward on a batch, in `accumulate` parts one after the other, to need less memory.

    Parts differ by one image at most. Gradients are added up to those of `weight` times the mean loss over the batch,
    plain cross-entropy if none is given; norms of the batch see a part at a time. Where it smooths labels, or there is
    a teacher, what is reported is the loss of plain labels alone, which can be compared with that of guessing and of
    validation images.
    """
    lowered, results = lowered or TrainingLoss(), []
    for part, answers in zip(images.tensor_split(accumulate), labels.tensor_split(accumulate), strict=True):
        with processes.precision():
            logits = forward(part)
            own = lowered(logits, answers)
            loss = own if teacher is None else teacher.blended(own, logits, part)
        share = weight * len(part) / len(images)
        processes.backward(loss if share == 1 else loss * share)
        results.append(step_result(lowered.reported(own, logits, answers), logits, answers))
    return merge(results)


def merge(results: Sequence[StepResult]) -> StepResult:
    """Mean loss over all images and total counts of several forwards."""
    images = sum(result.images for result in results)
    return StepResult(
        sum(result.loss * result.images for result in results) / images,
        sum(result.correct for result in results),
        images,
    )
