"""The training of a detector, through the loop that all trainings go through."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from anybudget.errors import TrainingError
from anybudget.training.annealing import Annealing, fall_of
from anybudget.training.loop import EpochLoop, Figures, Row, TrainingContext
from anybudget.training.optimisers import OptimiserState, build_optimiser
from anybudget.transfer.detector import split_targets, train_mode
from anybudget.transfer.images import BoxBatches
from anybudget.transfer.settings import DetectSettings

NAME = "detect"
LOSSES = {"classification": "class_loss", "bbox_regression": "box_loss"}
"""torchvision's names of the losses, and those of the metrics."""


def train_detector(
    detector: nn.Module, batches: BoxBatches, settings: DetectSettings, context: TrainingContext, *, fixed_norms: bool
) -> None:
    """Train a detector and leave it in evaluation mode; resumed to the last bit where there is a checkpoint.

    Args:
        detector: see `build_detector`.
        batches: what it is trained on.
        settings: how long, and by which rule.
        context: who watches.
        fixed_norms: whether the network's batch norms keep their statistics.

    Raises:
        ConfigError: the optimiser is unknown, or needs timm, which is not installed.
        TrainingError: the loss is not finite, and no rollback is left.
        Stopped: training was asked to stop, and has been saved.
    """
    processes = context.processes
    train_mode(detector, fixed_norms=fixed_norms)
    plain = build_optimiser(detector, settings)
    steps = settings.epochs * batches.per_epoch
    length = Annealing(steps, round(settings.warmup_epochs * batches.per_epoch))
    schedule = torch.optim.lr_scheduler.LambdaLR(plain, fall_of(settings, length, batches.per_epoch))
    optimiser = processes.optimiser(plain)
    loop = EpochLoop(batches, context, name=NAME, epochs=settings.epochs)

    def step(images: Tensor, boxes: Tensor) -> Figures:
        plain.zero_grad(set_to_none=True)
        with processes.precision():
            losses: dict[str, Tensor] = detector(list(images), split_targets(boxes))
        total = torch.stack(list(losses.values())).sum()
        figures = {LOSSES[name]: float(loss.detach()) for name, loss in losses.items()}
        loss = float(total.detach())
        if not math.isfinite(loss):
            raise TrainingError(
                f"{NAME}: the loss became {loss} in {loop.where}; lower detect.learning_rate (try a third), raise "
                "detect.warmup_epochs, or set detect.rollbacks; what was saved before is kept"
            )
        processes.backward(total)
        if settings.clip_norm:
            processes.clip_gradients(detector, optimiser, settings.clip_norm)
        loop.scale_rate(plain, schedule)
        optimiser.step()
        schedule.step()
        return Figures(loss, {"loss": loss, **figures})

    def row(epoch: int, sums: Mapping[str, float]) -> Row:
        means = {name: sums[name] / sums["steps"] for name in ("loss", *LOSSES.values())}
        return {"epoch": epoch, **means, "learning_rate": loop.rate * float(schedule.get_last_lr()[0])}

    loop.run(detector, {"optimiser": OptimiserState(plain), "schedule": schedule}, step, row, loss=None)
    detector.eval()
