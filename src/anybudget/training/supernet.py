"""Owns supernet training: paths from a sampler, one step for several, norm statistics at the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from anybudget.costs import build_costs
from anybudget.data import DataSplits, ImageSet, iterate_batches
from anybudget.nets import Supernet
from anybudget.nets.trie import forward_many
from anybudget.progress import Progress, SilentProgress
from anybudget.spaces import Spelling
from anybudget.training.loop import Log, Schedule, StepResult, merge, no_log, run_epochs, step_result
from anybudget.training.samplers import PathSampler


@dataclass(slots=True)
class Accounting:
    """What supernet training cost: images and forward MACs of paths that were trained and of those only scored.

    Source: GreedyNAS Table 1, which corrects the images by the ratio of the two costs (3.33 there).
    """

    images_trained: int = 0
    images_scored: int = 0
    macs_trained: float = 0.0
    macs_scored: float = 0.0
    seconds_trained: float = 0.0
    seconds_scored: float = 0.0

    def to_dict(self) -> dict[str, float]:
        """Everything, with the measured cost ratio of a trained to a scored image and the total in trained images."""
        scored = self.seconds_scored / self.images_scored if self.images_scored else 0.0
        trained = self.seconds_trained / self.images_trained if self.images_trained else 0.0
        ratio = trained / scored if scored else 0.0
        corrected = self.images_trained + (self.images_scored / ratio if ratio else 0.0)
        return {
            "images_trained": self.images_trained,
            "images_scored": self.images_scored,
            "macs_trained": self.macs_trained,
            "macs_scored": self.macs_scored,
            "seconds_trained": self.seconds_trained,
            "seconds_scored": self.seconds_scored,
            "cost_ratio": ratio,
            "images_corrected": corrected,
        }


def train_supernet(
    supernet: Supernet,
    sampler: PathSampler,
    data: DataSplits,
    schedule: Schedule,
    *,
    paths_per_step: int = 1,
    score_images: int = 1000,
    seed: int = 0,
    progress: Progress | None = None,
    log: Log = no_log,
) -> Accounting:
    """Train the shared weights on the training split, then gather the norms' running statistics.

    Each step draws one batch and runs `paths_per_step` paths on it; their gradients are added up before the one
    update, as FairNAS does. A round of the sampler may span several steps. A sampler that scores paths does so on
    `score_images` validation images, equally many of each class, drawn anew every time, with the norms of the batch.

    Raises:
        TrainingError: the loss is not finite or diverges.
    """
    device = next(supernet.parameters()).device
    spent = Accounting()
    count_macs = build_costs(supernet.space, ("macs",))["macs"].cost
    score = path_scorer(supernet, data, score_images, seed, spent)
    paths = _endless(sampler, np.random.default_rng(seed), score)
    supernet.train()

    def backward(images: Tensor, labels: Tensor) -> StepResult:
        results = []
        for _ in range(paths_per_step):
            path = next(paths)
            started = time.perf_counter()
            logits = supernet(images, path)
            loss = F.cross_entropy(logits, labels)
            loss.backward()
            results.append(step_result(loss, logits, labels))
            spent.seconds_trained += time.perf_counter() - started
            spent.images_trained += len(images)
            spent.macs_trained += len(images) * count_macs(supernet.space.canonical(path))
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
        finished=lambda: sampler.finished,
    )
    record_statistics(supernet, data, seed=seed, batch_size=schedule.batch_size)
    return spent


def steps_of(data: DataSplits, schedule: Schedule, paths_per_step: int = 1) -> int:
    """How many paths training will ask for."""
    return schedule.epochs * max(1, len(data.train) // schedule.batch_size) * paths_per_step


def path_scorer(
    supernet: Supernet, data: DataSplits, images: int, seed: int, spent: Accounting
) -> Callable[[Sequence[Spelling]], list[float]]:
    """A function that gives the loss of paths on a class-balanced validation batch, drawn anew at every call.

    Source: GreedyNAS §3.2: a surrogate of 1,000 images is enough to tell good paths from weak ones.
    """
    device = next(supernet.parameters()).device
    generator = torch.Generator().manual_seed(seed)
    count_macs = build_costs(supernet.space, ("macs",))["macs"].cost

    def score(paths: Sequence[Spelling]) -> list[float]:
        started = time.perf_counter()
        batch = balanced(data.validation, images, generator)
        x = data.normalise(batch.images.to(device)).contiguous(memory_format=torch.channels_last)
        labels = batch.labels.to(device)
        losses = [float(F.cross_entropy(logits, labels)) for logits in forward_many(supernet, paths, x)]
        spent.seconds_scored += time.perf_counter() - started
        spent.images_scored += len(batch) * len(paths)
        spent.macs_scored += len(batch) * sum(count_macs(supernet.space.canonical(path)) for path in paths)
        return losses

    return score


def balanced(images: ImageSet, count: int, generator: torch.Generator) -> ImageSet:
    """About `count` images, equally many of each class and none twice; fewer where a class has not enough."""
    classes = images.labels.unique()
    each = max(1, count // len(classes))
    chosen = []
    for label in classes:
        members = (images.labels == label).nonzero().squeeze(1)
        chosen.append(members[torch.randperm(len(members), generator=generator)[:each]])
    return images.subset(torch.cat(chosen))


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


def _endless(
    sampler: PathSampler, rng: np.random.Generator, score: Callable[[Sequence[Spelling]], list[float]]
) -> Iterator[Spelling]:
    while True:
        yield from sampler.paths(rng, score)


def _batches(data: DataSplits, batch_size: int, seed: int, device: torch.device) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    while True:
        for images, _ in iterate_batches(
            data.train, batch_size, generator=generator, augment=None, normalise=data.normalise, device=device
        ):
            yield images.contiguous(memory_format=torch.channels_last)
