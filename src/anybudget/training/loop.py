"""Owns the loop that every training goes through: epochs of batches that can be stopped, killed and gone on with."""

from __future__ import annotations

import copy
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import LRScheduler

from anybudget.checkpoints import Checkpoint, Stateful, TorchRandom
from anybudget.data import Augmentation, DataSplits, EpochPosition, ImageSet, iterate_batches
from anybudget.errors import TrainingError
from anybudget.processes import Processes
from anybudget.progress import Progress, SilentProgress

logger = logging.getLogger(__name__)

Row = dict[str, float]
Log = Callable[[Row], None]
"""Receives one row of metrics per epoch."""


def no_log(_row: Row) -> None:
    """Keep no metrics."""


# A loss this many times that of guessing is not noise: the weights have left the region where they can recover.
DIVERGED = 5.0
# How many steps in a row it takes to say so.
PATIENCE = 20
ROLLBACK_RATE = 0.5
"""What the learning rate is multiplied by after a rollback."""


@dataclass(frozen=True, slots=True)
class Supervision:
    """What watches over a training: where it saves itself, which processes share it, who hears of it.

    `rollbacks` is how often a loss that is not finite may send training back to the start of its epoch with half the
    learning rate; 0 stops at the first.
    """

    checkpoint: Checkpoint = field(default_factory=Checkpoint)
    processes: Processes = field(default_factory=Processes)
    progress: Progress = field(default_factory=SilentProgress)
    log: Log = no_log
    rollbacks: int = 0


@dataclass(frozen=True, slots=True)
class Figures:
    """What a step adds to its epoch: named `sums`, and the `loss` that is watched."""

    loss: float
    sums: Mapping[str, float]


Step = Callable[[Tensor, Tensor], Figures]
"""Trains on this process's part of a batch, images `[B, C, H, W]` and labels `[B]`; raises what stops training."""


class EpochLoop:
    """Epochs of shuffled batches, saved between steps and gone on with to the last bit.

    All that decides what comes next is in `parts` and in the loop's own position. After an interruption, training goes
    on within the epoch, with the same order of images and the same random numbers.

    Args:
        images: what is trained on.
        data: has the normalisation.
        generator: draws the order of images and the augmentation; the loop saves its state.
        name: in progress and errors.
    """

    def __init__(
        self,
        images: ImageSet,
        data: DataSplits,
        generator: torch.Generator,
        supervision: Supervision,
        *,
        name: str,
        epochs: int,
        batch_size: int,
        augmentation: Augmentation | None = None,
    ) -> None:
        self.images, self.data, self.generator, self.supervision = images, data, generator, supervision
        self.name, self.epochs, self.batch_size, self.augmentation = name, epochs, batch_size, augmentation
        self.steps_per_epoch = max(1, len(images) // batch_size)
        self.epoch = 1
        self.rate = 1.0
        """What the learning rate is multiplied by, after rollbacks."""
        self._position = EpochPosition()
        self._rows: list[Row] = []
        self._sums: dict[str, float] = {}
        self._seconds = 0.0
        self._rolled_back = 0
        self._epoch_start: dict[str, Any] | None = None
        self._parts: dict[str, Stateful] = {
            "batches": TorchRandom(generator),
            "torch": TorchRandom(),
            "processes": supervision.processes,
        }

    @property
    def where(self) -> str:
        """Epoch and step, for messages."""
        return f"epoch {self.epoch}, step {self._position.batches}"

    def scale_rate(self, optimiser: torch.optim.Optimizer, schedule: LRScheduler) -> None:
        """Set the learning rate that the schedule has come to, times what rollbacks have left of it."""
        for group, rate in zip(optimiser.param_groups, schedule.get_last_lr(), strict=True):
            group["lr"] = self.rate * rate

    def run(
        self,
        model: nn.Module,
        parts: Mapping[str, Stateful],
        step: Step,
        row: Callable[[int, Mapping[str, float]], Row],
        finished: Callable[[], bool] = lambda: False,
    ) -> None:
        """Train to the end, from the checkpoint where there is one.

        Args:
            model: what is trained.
            parts: what else has a state, by name: optimiser, schedule, samplers, sources of randomness.
            step: trains on one batch.
            row: the metrics of an epoch, from its number and the sums of its steps (`steps` is among them).
            finished: asked after each step whether to end before the last epoch.

        Raises:
            TrainingError: the loss is not finite, and no rollback is left.
            Stopped: training was asked to stop, and has been saved.
        """
        checkpoint = self.supervision.checkpoint
        self.supervision.processes.check_batch(min(self.batch_size, len(self.images)))
        self._model = model
        self._parts |= {"model": model, **parts}
        saved = checkpoint.load()
        if saved is not None:
            self._load(saved)
            logger.info("%s: goes on from %s", self.name, self.where)
        for done in self._rows:
            self.supervision.log(done)
        with self.supervision.progress.task(self.name, self.epochs * self.steps_per_epoch) as task:
            task.advance((self.epoch - 1) * self.steps_per_epoch + self._position.batches)
            # One that has ended early within an epoch still has that epoch's metrics to give.
            while self.epoch <= self.epochs and (self._position.batches or not finished()):
                if self.supervision.rollbacks and not self._position.batches:
                    self._epoch_start = copy.deepcopy(self._state())
                try:
                    self._epoch(step, task, finished)
                except TrainingError as error:
                    task.advance(-self._position.batches)
                    self._roll_back(error)
                    continue
                self._rows.append({**row(self.epoch, self._sums), "seconds": self._seconds})
                self.supervision.log(self._rows[-1])
                self._sums, self._seconds, self._position = {}, 0.0, EpochPosition()
                self.epoch += 1
            # What follows may be interrupted, too, and then begins with a finished training.
            self._save()

    def _epoch(self, step: Step, task: Any, finished: Callable[[], bool]) -> None:
        """The rest of an epoch."""
        if finished():
            return
        checkpoint, processes = self.supervision.checkpoint, self.supervision.processes
        started = time.perf_counter()
        for images, labels in iterate_batches(
            self.images,
            self.batch_size,
            generator=self.generator,
            augment=self.augmentation,
            normalise=self.data.normalise,
            device=processes.device,
            position=self._position,
        ):
            part, answers = processes.share(images, labels)
            figures = step(part.contiguous(memory_format=torch.channels_last), answers)
            for key, value in {**figures.sums, "steps": 1}.items():
                self._sums[key] = self._sums.get(key, 0.0) + value
            task.advance(1, f"epoch {self.epoch}/{self.epochs} loss {figures.loss:.3f}")
            # One of several processes may have been asked to stop alone, or look at the clock a step earlier.
            due, stop = processes.mean([checkpoint.due(), checkpoint.stopping])
            if due > 0 or stop > 0:
                self._seconds += time.perf_counter() - started
                started = time.perf_counter()
                self._save()
            if stop > 0:
                checkpoint.stop()
            if finished():
                break
        self._seconds += time.perf_counter() - started

    def _save(self) -> None:
        if not all(bool(torch.isfinite(parameter).all()) for parameter in self._model.parameters()):
            raise TrainingError(
                f"{self.name}: weights are not finite after {self.where}, though the loss was; lower learning_rate or "
                "set rollbacks; the last checkpoint is kept"
            )
        state = self._state()
        if self.supervision.processes.main:
            self.supervision.checkpoint.save(state | {"epoch_start": self._epoch_start})

    def _state(self) -> dict[str, Any]:
        own = {
            "epoch": self.epoch,
            "rate": self.rate,
            "position": self._position.state_dict(),
            "rows": self._rows,
            "sums": self._sums,
            "seconds": self._seconds,
            "rolled_back": self._rolled_back,
        }
        return {"loop": own, **{name: part.state_dict() for name, part in self._parts.items()}}

    def _load(self, state: Mapping[str, Any]) -> None:
        own = state["loop"]
        self.epoch, self.rate, self._rolled_back = own["epoch"], own["rate"], own["rolled_back"]
        self._rows, self._sums, self._seconds = list(own["rows"]), dict(own["sums"]), own["seconds"]
        self._position.load_state_dict(own["position"])
        for name, part in self._parts.items():
            part.load_state_dict(state[name])
        self._epoch_start = state.get("epoch_start", self._epoch_start)

    def _roll_back(self, error: TrainingError) -> None:
        """Back to the start of the epoch with half the learning rate.

        Raises:
            TrainingError: this has been done as often as it may be, or may not be done at all.
        """
        if self._epoch_start is None or self._rolled_back >= self.supervision.rollbacks:
            raise error
        rate, count = self.rate * ROLLBACK_RATE, self._rolled_back + 1
        self._load(copy.deepcopy(self._epoch_start))
        self.rate, self._rolled_back = rate, count
        logger.warning(
            "%s; rolled back to the start of epoch %d with %g times the learning rate (rollback %d of %d)",
            error,
            self.epoch,
            self.rate,
            count,
            self.supervision.rollbacks,
        )


@dataclass(frozen=True, slots=True)
class Schedule:
    """Stochastic gradient descent with momentum and a cosine learning rate from `learning_rate` to 0.

    Every batch is forwarded in `accumulate` parts, see `train_on`.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    momentum: float = 0.9
    weight_decay: float = 4e-5
    nesterov: bool = False
    warmup_epochs: float = 0.0
    accumulate: int = 1
    augmentation: Augmentation | None = None


@dataclass(frozen=True, slots=True)
class StepResult:
    """What one step reports: its mean loss and how many of the `images` it trained on it got right."""

    loss: float
    correct: float
    images: int


Backward = Callable[[Tensor, Tensor], StepResult]
"""Runs forward and backward of one step on a batch of images and labels, leaving gradients on the parameters."""


def run_epochs(
    model: nn.Module,
    backward: Backward,
    data: DataSplits,
    schedule: Schedule,
    supervision: Supervision,
    *,
    name: str,
    seed: int,
    parts: Mapping[str, Stateful] | None = None,
    alike: bool = True,
    finished: Callable[[], bool] = lambda: False,
    trained_on: Callable[[], str] = lambda: "",
) -> None:
    """Train `model` on the training split by stochastic gradient descent; see `EpochLoop`.

    Args:
        model: its parameters are trained, all its state is saved.
        backward: leaves the gradients of one step on the parameters.
        data: the training split is trained on.
        schedule: how long, and with what.
        supervision: who watches.
        name: in progress and errors.
        seed: draws the order of images and the augmentation.
        parts: what else has a state.
        alike: whether all processes train the same parameters in a step.
        finished: asked after each step whether to end before the last epoch.
        trained_on: what the last step trained, such as its path, for the message when it fails.

    Raises:
        TrainingError: the loss is not finite, or stays far above that of guessing.
        Stopped: training was asked to stop, and has been saved.
    """
    processes = supervision.processes
    parameters = list(model.parameters())
    plain = torch.optim.SGD(
        parameters,
        lr=schedule.learning_rate,
        momentum=schedule.momentum,
        weight_decay=schedule.weight_decay,
        nesterov=schedule.nesterov,
    )
    steps = max(1, len(data.train) // schedule.batch_size)
    factor = cosine_factor(schedule.epochs * steps, round(schedule.warmup_epochs * steps))
    scheduler = torch.optim.lr_scheduler.LambdaLR(plain, factor)
    watch = _Watch(name, DIVERGED * math.log(data.classes))
    loop = EpochLoop(
        data.train,
        data,
        torch.Generator().manual_seed(seed),
        supervision,
        name=name,
        epochs=schedule.epochs,
        batch_size=schedule.batch_size,
        augmentation=schedule.augmentation,
    )
    optimiser = processes.optimiser(plain)
    average = processes.average_gradients if alike else processes.average_used_gradients

    def step(images: Tensor, labels: Tensor) -> Figures:
        plain.zero_grad(set_to_none=True)
        result = backward(images, labels)
        loss, correct, count = processes.mean([result.loss, result.correct, result.images])
        watch.check(loss, f"{loop.where}{trained_on()}")
        average(parameters)
        loop.scale_rate(plain, scheduler)
        optimiser.step()
        scheduler.step()
        return Figures(loss, {"loss": loss, "correct": correct, "images": count})

    def row(epoch: int, sums: Mapping[str, float]) -> Row:
        return {
            "epoch": epoch,
            "loss": sums["loss"] / sums["steps"],
            "train_top1_percent": 100.0 * sums["correct"] / sums["images"],
            "learning_rate": loop.rate * float(scheduler.get_last_lr()[0]),
        }

    loop.run(model, {"optimiser": plain, "schedule": scheduler, "watch": watch, **(parts or {})}, step, row, finished)


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
        """Go on from such a state."""
        self._recent.clear()
        self._recent.extend(state["recent"])


def cosine_factor(steps: int, warmup: int = 0) -> Callable[[int], float]:
    """Learning-rate factor by step: linear from 0 over `warmup` steps, then half a cosine down to 0."""

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1, steps - warmup))))

    return factor


def step_result(loss: Tensor, logits: Tensor, labels: Tensor) -> StepResult:
    """Loss and correct answers of one forward as plain numbers."""
    correct = (logits.detach().argmax(1) == labels).sum()
    return StepResult(float(loss.detach()), float(correct), len(labels))


def train_on(
    images: Tensor, labels: Tensor, forward: Callable[[Tensor], Tensor], processes: Processes, accumulate: int = 1
) -> StepResult:
    """Forward and backward on a batch, in `accumulate` parts one after the other, to need less memory.

    Gradients are added up to those of the mean loss over the batch; norms of the batch see a part at a time.
    """
    results = []
    for part, answers in zip(images.chunk(accumulate), labels.chunk(accumulate), strict=True):
        with processes.precision():
            logits = forward(part)
            loss = F.cross_entropy(logits, answers)
        processes.backward(loss if accumulate == 1 else loss * (len(part) / len(images)))
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
