"""`Batches`: what a training goes through epoch by epoch; and `ListedBatches`, of tensors that are there already."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor

from anybudget.runtime.device import moved


class Batches(Protocol):
    """The batches of every epoch, as a function of the epoch's number, so that a training can be resumed within one."""

    @property
    def per_epoch(self) -> int:
        """Batches in an epoch."""

    @property
    def size(self) -> int:
        """Images in a batch."""

    @property
    def labels(self) -> Tensor:
        """int64 `[N]`, of all images."""

    @property
    def class_weights(self) -> Tensor | None:
        """What the loss of an image of each class is multiplied by: float32 `[C]`; 1 if None."""

    def epoch(
        self, epoch: int, device: torch.device, *, start: int = 0, share: Callable[[Tensor], Tensor] = ...
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Images and labels of one epoch from batch `start` on, on `device`.

        `share` gives the part of a batch's indices that this process trains on.
        """


class ListedBatches:
    """Given batches, such as `list(loader)` of a torch `DataLoader`, in an order that seed and epoch decide.

    Args:
        batches: images `[B, ...]` and labels int64 `[B]`, as the loss takes them.
        seed: draws the order of every epoch.
    """

    def __init__(self, batches: Sequence[tuple[Tensor, Tensor]], seed: int = 0) -> None:
        self._batches, self._seed = batches, seed
        self.per_epoch = len(batches)
        self.size = min(len(labels) for _, labels in batches)
        self.labels = torch.cat([labels for _, labels in batches])
        self.class_weights: Tensor | None = None

    def epoch(
        self, epoch: int, device: torch.device, *, start: int = 0, share: Callable[[Tensor], Tensor] = lambda all_: all_
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """See `Batches.epoch`."""
        order = torch.randperm(len(self._batches), generator=torch.Generator().manual_seed(self._seed + epoch))
        for number in order[start:].tolist():
            images, labels = self._batches[number]
            mine = share(torch.arange(len(labels)))
            yield moved(images[mine], device), moved(labels[mine], device)
