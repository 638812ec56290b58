"""Owns the training of one stand-alone network, from scratch or from inherited weights."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from anybudget.data import DataSplits
from anybudget.progress import Progress, SilentProgress
from anybudget.training.loop import Log, Schedule, StepResult, no_log, run_epochs, step_result


def train_network(
    network: nn.Module,
    data: DataSplits,
    schedule: Schedule,
    *,
    name: str = "retrain",
    seed: int = 0,
    progress: Progress | None = None,
    log: Log = no_log,
) -> None:
    """Train `network` on the training split and leave it in evaluation mode.

    Raises:
        TrainingError: the loss is not finite or diverges.
    """
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 0.1  # recalibration leaves a cumulative average, which would never forget the first steps
    network.train()

    def backward(images: Tensor, labels: Tensor) -> StepResult:
        logits = network(images)
        loss = F.cross_entropy(logits, labels)
        loss.backward()
        return step_result(loss, logits, labels)

    run_epochs(
        network.parameters(),
        backward,
        data,
        schedule,
        name=name,
        seed=seed,
        device=next(network.parameters()).device,
        progress=progress or SilentProgress(),
        log=log,
    )
    network.eval()
