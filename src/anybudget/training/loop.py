"""Owns the epoch loop that supernet training and retraining share: SGD, cosine schedule, divergence checks."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from anybudget.data import Augmentation, DataSplits, iterate_batches
from anybudget.errors import TrainingError
from anybudget.progress import Progress

Log = Callable[[dict[str, float]], None]
"""Receives one row of metrics per epoch."""


def no_log(_row: dict[str, float]) -> None:
    """Keep no metrics."""


# A loss this many times that of guessing is not noise: the weights have left the region where they can recover.
DIVERGED = 5.0


@dataclass(frozen=True, slots=True)
class Schedule:
    """Stochastic gradient descent with momentum and a cosine learning rate from `learning_rate` to 0."""

    epochs: int
    batch_size: int
    learning_rate: float
    momentum: float = 0.9
    weight_decay: float = 4e-5
    nesterov: bool = False
    warmup_epochs: float = 0.0
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
    parameters: Iterable[nn.Parameter],
    backward: Backward,
    data: DataSplits,
    schedule: Schedule,
    *,
    name: str,
    seed: int,
    device: torch.device,
    progress: Progress,
    log: Log,
    finished: Callable[[], bool] = lambda: False,
) -> None:
    """Train `parameters` on the training split; `log` gets one row of metrics per epoch.

    Training ends before the last epoch when `finished` says so after a step.

    Raises:
        TrainingError: the loss is not finite, or stays far above that of guessing.
    """
    optimiser = torch.optim.SGD(
        parameters,
        lr=schedule.learning_rate,
        momentum=schedule.momentum,
        weight_decay=schedule.weight_decay,
        nesterov=schedule.nesterov,
    )
    steps_per_epoch = max(1, len(data.train) // schedule.batch_size)
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimiser, cosine_factor(schedule.epochs * steps_per_epoch, round(schedule.warmup_epochs * steps_per_epoch))
    )
    generator = torch.Generator().manual_seed(seed)
    ceiling = DIVERGED * math.log(data.classes)
    recent: deque[float] = deque(maxlen=20)
    with progress.task(name, schedule.epochs * steps_per_epoch) as task:
        for epoch in range(1, schedule.epochs + 1):
            started = time.perf_counter()
            results: list[StepResult] = []
            for images, labels in iterate_batches(
                data.train,
                schedule.batch_size,
                generator=generator,
                augment=schedule.augmentation,
                normalise=data.normalise,
                device=device,
            ):
                optimiser.zero_grad(set_to_none=True)
                result = backward(images.contiguous(memory_format=torch.channels_last), labels)
                results.append(result)
                recent.append(result.loss)
                _check(recent, ceiling, f"epoch {epoch}, step {len(results)}", name)
                optimiser.step()
                scheduler.step()
                task.advance(1, f"epoch {epoch}/{schedule.epochs} loss {result.loss:.3f}")
                if finished():
                    break
            log(_row(epoch, results, float(scheduler.get_last_lr()[0]), time.perf_counter() - started))
            if finished():
                return


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


def merge(results: Sequence[StepResult]) -> StepResult:
    """Mean loss and total counts of several forwards."""
    return StepResult(
        sum(result.loss for result in results) / len(results),
        sum(result.correct for result in results),
        sum(result.images for result in results),
    )


def _row(epoch: int, results: Sequence[StepResult], learning_rate: float, seconds: float) -> dict[str, float]:
    total = merge(results)
    return {
        "epoch": epoch,
        "loss": total.loss,
        "train_top1_percent": 100.0 * total.correct / total.images,
        "learning_rate": learning_rate,
        "seconds": seconds,
    }


def _check(recent: deque[float], ceiling: float, where: str, name: str) -> None:
    if not math.isfinite(recent[-1]):
        raise TrainingError(
            f"{name}: the loss became {recent[-1]} in {where}; lower learning_rate (try a third) or add warmup_epochs, "
            "and check the images for constant or corrupt ones"
        )
    if len(recent) == recent.maxlen and min(recent) > ceiling:
        raise TrainingError(
            f"{name}: the loss diverges, above {min(recent):.1f} for {len(recent)} steps up to {where}, where guessing "
            f"gives {ceiling / DIVERGED:.1f}; lower learning_rate (try a third) or add warmup_epochs"
        )
