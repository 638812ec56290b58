"""How many validation images it takes to order paths: scores on subsets against scores on all images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from anybudget.architecture import Architecture
from anybudget.data import DataSource, ImageSet, balanced_order
from anybudget.errors import ConfigError
from anybudget.evaluation.evaluator import Evaluator, PerImage, prepare
from anybudget.evaluation.metrics import Metrics, Tally
from anybudget.evaluation.ranking.correlation import Correlation, rank_correlation
from anybudget.nets import Supernet
from anybudget.nets.modes import scoring
from anybudget.nets.prefix_tree import build_prefix_tree, run_prefix_tree
from anybudget.runtime.batch_parts import FEWEST
from anybudget.runtime.progress import Task
from anybudget.spaces import SearchSpace


@dataclass(frozen=True, slots=True)
class CountRow:
    """How scores on `images` validation images order paths, as correlations that are 1 if the order is the same.

    `loss` and `top1` are against the same figure on all images, `loss_for_top1` is the loss against top-1 on all
    images. The `batch_` ones are those of the loss with the images as one batch that normalises itself, against the
    recalibrated figures on all images; None on all images, where the batch may not fit.
    """

    images: int
    loss: Correlation
    top1: Correlation
    loss_for_top1: Correlation
    batch_loss: Correlation | None
    batch_loss_for_top1: Correlation | None


@dataclass(frozen=True, slots=True)
class PathRanking:
    """Scores of paths on all validation images, and one row for every number of images, the last one for all."""

    scores: dict[Architecture, Metrics]
    rows: list[CountRow]


def rank_paths(
    evaluator: Evaluator,
    data: DataSource,
    architectures: Sequence[Architecture],
    image_counts: Iterable[int],
    *,
    seed: int = 0,
    task: Task | None = None,
) -> PathRanking:
    """How many images it takes to order paths, by loss and by accuracy.

    Every path is evaluated once on all images with recalibrated norms; a subset is a sum over part of them, the same
    images for all paths, and contains every smaller one. Since all images contain the subset too, the correlations are
    on the high side where it is a large part of them.

    Args:
        evaluator: the evaluator, of `data`.
        data: its splits.
        architectures: the paths; repeated ones count once.
        image_counts: sizes of the subsets, in any order; those that are not below the number of images are left out.
        seed: draws the subsets.
        task: advanced by one for every path, and by one for every path and subset.

    Raises:
        ConfigError: a number of images is below 2.

    Source: GreedyNAS Table 3 and Fig. 4: on few images the loss orders paths better than accuracy does.
    """
    counts, total = sorted(set(image_counts)), len(data.validation)
    if counts and counts[0] < FEWEST:
        raise ConfigError(
            f"{counts[0]} images cannot order paths: as one batch they have to normalise themselves; ask for at least "
            f"{FEWEST}"
        )
    paths = list(dict.fromkeys(architectures))
    answers = evaluator.per_image(paths, task)
    losses, correct = _ranked(answers.losses), answers.correct
    loss, top1 = losses.mean(1), 100.0 * correct.mean(1)
    order = balanced_order(data.validation.labels.numpy(), seed)
    rows = []
    for count in (*(count for count in counts if count < total), total):
        subset = order[:count]
        some = losses[:, subset].mean(1)
        batch = None
        if count < total:
            images = data.validation.subset(torch.from_numpy(subset))
            batch = batch_losses(evaluator.supernet, data, paths, images, task)
        rows.append(
            CountRow(
                images=count,
                loss=rank_correlation(some, loss),
                top1=rank_correlation(correct[:, subset].mean(1), top1),
                loss_for_top1=rank_correlation(-some, top1),
                batch_loss=None if batch is None else rank_correlation(batch, loss),
                batch_loss_for_top1=None if batch is None else rank_correlation(-batch, top1),
            )
        )
    measured = metrics_of(answers._replace(losses=losses), data.validation.labels.numpy(), data.classes)
    scores = {path: replace(m, primary=evaluator.metric) for path, m in zip(paths, measured, strict=True)}
    return PathRanking(scores, rows)


def metrics_of(answers: PerImage, labels: NDArray[np.int64], classes: int) -> list[Metrics]:
    """The metrics of every path, from its answers to each image."""

    def tally(losses: NDArray[np.float64], correct: NDArray[np.bool_], top5: NDArray[np.bool_]) -> Tally:
        hits, top5_hits = (np.bincount(labels[chosen], minlength=classes) for chosen in (correct, top5))
        return Tally(np.bincount(labels, minlength=classes), hits, top5_hits, float(losses.sum()))

    return [tally(*rows).metrics() for rows in zip(*answers, strict=True)]


@torch.no_grad()
def batch_losses(
    supernet: Supernet,
    data: DataSource,
    architectures: Sequence[Architecture],
    images: ImageSet,
    task: Task | None = None,
) -> NDArray[np.float64]:
    """Mean cross-entropy `[architectures]` in nats on `images`, as one batch by whose statistics all norms normalise.

    How greedy training scores paths: cheap, as there is nothing to recalibrate. Dropout is off, and no statistics of
    the supernet change.

    Source: GreedyNAS §3.2.
    """
    losses = np.empty(len(architectures))
    batch = prepare(images.images, data, supernet)
    with scoring(supernet):
        # Path by path off the prefix tree: the logits of all at once would not fit.
        for index, logits in run_prefix_tree(
            build_prefix_tree(supernet, architectures), batch, lambda node, hidden: node.step.run(hidden)
        ):
            losses[index] = float(F.cross_entropy(logits.float().cpu(), images.labels))
            if task is not None:
                task.advance()
    return _ranked(losses)


def _ranked(losses: NDArray[np.float64]) -> NDArray[np.float64]:
    """A loss that is not a number is the worst there is, not one without a rank."""
    return np.where(np.isnan(losses), np.inf, losses)


def sample_paths(space: SearchSpace, count: int, seed: int) -> list[Architecture]:
    """Up to `count` distinct networks, drawn as `space.sample` does; all of them where there are not more."""
    rng = np.random.default_rng(seed)
    if 2 * count >= space.networks():  # waiting for the last ones to be drawn would take long, or for ever
        everything = list(space.enumerate())
        return [everything[index] for index in rng.permutation(len(everything))[:count]]
    found: dict[Architecture, None] = {}
    while len(found) < count:
        found[space.sample(rng)] = None
    return list(found)
