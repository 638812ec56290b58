"""Owns supernet training: paths from a sampler, one step for several, norm statistics at the end."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from anybudget.data import DataSplits, iterate_batches
from anybudget.nets import Supernet
from anybudget.progress import Progress, SilentProgress
from anybudget.spaces import Spelling
from anybudget.training.loop import Log, Schedule, StepResult, merge, no_log, run_epochs, step_result
from anybudget.training.samplers import PathSampler


def train_supernet(
    supernet: Supernet,
    sampler: PathSampler,
    data: DataSplits,
    schedule: Schedule,
    *,
    paths_per_step: int = 1,
    seed: int = 0,
    progress: Progress | None = None,
    log: Log = no_log,
) -> None:
    """Train the shared weights on the training split, then gather the norms' running statistics.

    Each step draws one batch and runs `paths_per_step` paths on it; their gradients are added up before the one
    update, as FairNAS does. A round of the sampler may span several steps.

    Raises:
        TrainingError: the loss is not finite or diverges.
    """
    device = next(supernet.parameters()).device
    paths = _endless(sampler, np.random.default_rng(seed))
    supernet.train()

    def backward(images: Tensor, labels: Tensor) -> StepResult:
        results = []
        for _ in range(paths_per_step):
            logits = supernet(images, next(paths))
            loss = F.cross_entropy(logits, labels)
            loss.backward()
            results.append(step_result(loss, logits, labels))
        return merge(results)

    run_epochs(
        supernet.parameters(),
        backward,
        data,
        schedule,
        name="supernet",
        seed=seed,
        device=device,
        progress=progress or SilentProgress(),
        log=log,
    )
    record_statistics(supernet, data, seed=seed, batch_size=schedule.batch_size)


def record_statistics(supernet: Supernet, data: DataSplits, *, seed: int, batch_size: int, rounds: int = 4) -> None:
    """Replace the running statistics of all norms by averages over `rounds` fair rounds on training images.

    Fair rounds whatever the sampler was: every operation's norms need statistics, and equally many batches.

    The frozen supernet that the generator trains against normalises by these. A single architecture is never judged
    by them: `Evaluator` recalibrates its norms.
    """
    supernet.reset_statistics()
    rng = np.random.default_rng(seed)
    batches = _batches(data, batch_size, seed, next(supernet.parameters()).device)
    for _ in range(rounds):
        for path in supernet.space.fair_round(rng):
            supernet.record_statistics(next(batches), path)
    supernet.eval()


def _endless(sampler: PathSampler, rng: np.random.Generator) -> Iterator[Spelling]:
    while True:
        yield from sampler.paths(rng)


def _batches(data: DataSplits, batch_size: int, seed: int, device: torch.device) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    while True:
        for images, _ in iterate_batches(
            data.train, batch_size, generator=generator, augment=None, normalise=data.normalise, device=device
        ):
            yield images.contiguous(memory_format=torch.channels_last)
