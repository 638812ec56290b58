"""Scores of many networks on all validation images and on two halves of them that share none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anybudget.architecture import Architecture
from anybudget.errors import ConfigError
from anybudget.evaluation.evaluator import GROUP, Evaluator
from anybudget.runtime.progress import Task
from anybudget.storage.journal import Journal

Values = NDArray[np.float64]

COLUMNS = ("loss", "top1_percent", "first_loss", "second_loss", "first_top1_percent", "second_top1_percent")
"""What is kept of a network: on all images, on the first half and on the second."""

WORST_LOSS = 1e9
"""Stands for a loss that is no number or infinite: the worst there is, in nats."""


@dataclass(frozen=True, eq=False)
class HalfScores:
    """What the supernet says of n networks: mean loss in nats [n] and top-1 in percent [n], and the same of each half.

    `half_losses` and `half_top1` are [n, 2].
    """

    loss: Values
    top1: Values
    half_losses: Values
    half_top1: Values

    def __len__(self) -> int:
        return len(self.loss)


def check_halves(images: int, classes: int) -> None:
    """Check that there are enough validation images for two halves with every class.

    Raises:
        ConfigError: there are not.
    """
    if images < 2 * classes:
        raise ConfigError(
            f"{images} validation images are too few for two halves with {classes} classes each; {2 * classes} or more "
            "are needed: raise data.validation_fraction, or use more images"
        )


def halves(labels: NDArray[np.int64], seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Two halves of the images with these labels [N], as indices [N // 2]; they share no image.

    Every class is in both equally often, give or take one image.
    """
    shuffled, half = np.random.default_rng(seed).permutation(len(labels)), len(labels) // 2
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    return by_class[0 : 2 * half : 2], by_class[1 : 2 * half : 2]


def score_halves(
    evaluator: Evaluator,
    architectures: Sequence[Architecture],
    *,
    seed: int,
    journal: Journal | None = None,
    task: Task | None = None,
) -> HalfScores:
    """The scores of different architectures, evaluated in groups; each is kept in the journal, and not done again.

    Args:
        evaluator: has the weights and the images; on this machine, whatever engine it has.
        architectures: one or more, none twice.
        seed: draws the halves.
        journal: keeps the scores; has those from before a kill.
        task: advanced by one for each architecture.

    Raises:
        Stopped: asked to stop; what was evaluated is in the journal.
    """
    known = dict(journal.entries) if journal is not None else {}
    new = sorted((a for a in architectures if a.choices not in known), key=lambda architecture: architecture.choices)
    if task is not None:
        task.advance(len(architectures) - len(new))
    parts = halves(evaluator.subnet_evaluator.data.validation.labels.numpy(), seed)
    for first in range(0, len(new), GROUP):
        group = new[first : first + GROUP]
        answers = evaluator.per_image(group, task)
        found = dict(zip((a.choices for a in group), _rows(answers.losses, answers.correct, parts), strict=True))
        known |= found
        if journal is not None:
            journal.add(found.items())
            journal.stop_if_asked()
    table = np.array([[known[architecture.choices][column] for column in COLUMNS] for architecture in architectures])
    return HalfScores(table[:, 0], table[:, 1], table[:, 2:4], table[:, 4:6])


def _rows(losses: Values, correct: NDArray[np.bool_], parts: Sequence[NDArray[np.int64]]) -> list[dict[str, float]]:
    """What is kept of each network, from its answers to every image [networks, N]."""
    columns = [
        losses.mean(1),
        100.0 * correct.mean(1),
        *(losses[:, part].mean(1) for part in parts),
        *(100.0 * correct[:, part].mean(1) for part in parts),
    ]
    table = np.nan_to_num(np.stack(columns, axis=1), nan=WORST_LOSS, posinf=WORST_LOSS)
    return [dict(zip(COLUMNS, row, strict=True)) for row in np.minimum(table, WORST_LOSS).tolist()]
