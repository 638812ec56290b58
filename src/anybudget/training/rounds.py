"""Rounds: parts of epochs of equal length, each with a learning rate that falls to 0 of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

import torch
from torch import Tensor

from anybudget.data import DataSource, TrainingBatches
from anybudget.training.annealing import Annealing
from anybudget.training.batches import Batches
from anybudget.training.settings import Schedule
from anybudget.training.sgd import Course, training_batches


class Rounds(Batches):
    """The batches of epoch after epoch, cut into rounds of `per_epoch` batches; `epoch(r)` gives those of round r.

    Round by round every image comes as it would epoch by epoch: once before any comes again.

    Args:
        batches: of whole epochs.
        share: of an epoch, how long a round is; at least one batch.
    """

    def __init__(self, batches: TrainingBatches, share: float) -> None:
        self._batches = batches
        self._steps = max(1, round(share * batches.per_epoch))

    @property
    def per_epoch(self) -> int:
        """Batches in a round."""
        return self._steps

    @property
    def size(self) -> int:
        """See `Batches.size`."""
        return self._batches.size

    @property
    def labels(self) -> Tensor:
        """See `Batches.labels`."""
        return self._batches.labels

    @property
    def class_weights(self) -> Tensor | None:
        """See `Batches.class_weights`."""
        return self._batches.class_weights

    def epoch(
        self,
        epoch: int,
        device: torch.device,
        *,
        start: int = 0,
        share: Callable[[Tensor], Tensor] = lambda all_: all_,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """See `Batches.epoch`; `epoch` is the number of the round, from 1."""
        first, last = (epoch - 1) * self._steps + start, epoch * self._steps
        while first < last:
            whole, before = divmod(first, self._batches.per_epoch)
            count = min(last - first, self._batches.per_epoch - before)
            yield from islice(self._batches.epoch(whole + 1, device, start=before, share=share), count)
            first += count


def course_of_rounds(data: DataSource, schedule: Schedule, share: float, *, rounds: int, seed: int) -> Course:
    """The first `rounds` rounds of `share` of an epoch; more of them begin in the same way.

    In every round the learning rate falls from that of the schedule to 0, as half a cosine: a network is judged after
    each round, and one whose weights have come to rest is judged by less noise. Since it is a function of the step
    within the round, what a network is after a round does not depend on how many follow.

    Source: Loshchilov and Hutter 2017 (SGDR), Eq. 5, with restarts of equal length.
    """
    parts = Rounds(training_batches(data, schedule, seed), share)
    within = Annealing(parts.per_epoch)
    return Course(parts, rounds, lambda step: within.cosine(step % parts.per_epoch), data.classes, seed)
