"""Training batches: shuffling, augmentation on uint8 images, and normalisation on the training device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from anybudget.data.splits import ImageSet
from anybudget.errors import DataError


@dataclass(frozen=True)
class Augmentation:
    """Random crop and horizontal flip, drawn for each image on its own.

    An image is padded with zeros by `crop_padding` pixels on each side and cropped back to its size at a random place;
    with `flip`, every second image on average is mirrored.
    """

    crop_padding: int = 2
    flip: bool = True

    def __post_init__(self) -> None:
        if self.crop_padding < 0:
            raise DataError(f"crop padding {self.crop_padding} must be 0 or more pixels")

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Augment images [N, C, H, W]; dtype and shape stay, `generator` alone decides the outcome."""
        count, _, height, width = images.shape
        if self.crop_padding:
            padded = F.pad(images, [self.crop_padding] * 4)
            # Indexing a view of all windows copies whole crops, five times faster than gathering single pixels.
            windows = padded.unfold(2, height, 1).unfold(3, width, 1)
            places = torch.randint(
                2 * self.crop_padding + 1, (2, count), generator=generator, device=generator.device
            ).to(images.device)
            images = windows[torch.arange(count, device=images.device), :, places[0], places[1]]
        if self.flip:
            mirrored = torch.rand(count, generator=generator, device=generator.device).to(images.device) < 0.5
            images = torch.where(mirrored.view(-1, 1, 1, 1), images.flip(-1), images)
        return images


class EpochPosition:
    """How far an epoch of batches has come, so that one that was interrupted can be resumed.

    The order of an epoch is not kept, but the state of the generator that drew it.
    """

    def __init__(self) -> None:
        self.batches = 0
        self._start: Tensor | None = None

    def order(self, count: int, generator: torch.Generator) -> Tensor:
        """The order `[count]` of the images of this epoch; drawn if none of its batches has been taken."""
        now = generator.get_state()
        if self.batches and self._start is not None:
            generator.set_state(self._start)
        else:
            self._start = now
        order = torch.randperm(count, generator=generator, device=generator.device)
        if self.batches:
            generator.set_state(now)
        return order

    def state_dict(self) -> dict[str, Any]:
        """The batches taken of this epoch and the generator's state at its start."""
        return {"batches": self.batches, "start": self._start}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore such a state; the generator has to be put back to where it was, too."""
        self.batches, self._start = state["batches"], state["start"]


def iterate_batches(
    data: ImageSet,
    batch_size: int,
    *,
    generator: torch.Generator,
    augment: Augmentation | None,
    normalise: Callable[[Tensor], Tensor],
    device: torch.device,
    position: EpochPosition | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield one shuffled epoch of (images as `normalise` returns them, labels int64 [B]) on `device`.

    The last batch is dropped if it is incomplete, unless it is the only one. Shuffling and augmentation draw from
    `generator` only, batch by batch; images cross to `device` as uint8. A `position` counts the batches; one that comes
    from a checkpoint leaves out those that were taken before.

    Raises:
        DataError: `batch_size` is below 1 or there is no image; raised when the first batch is asked for.
    """
    if batch_size < 1 or not len(data):
        raise DataError(f"batch size {batch_size} over {len(data)} images: both must be at least 1")
    position = position or EpochPosition()
    order = position.order(len(data), generator).to(data.labels.device)
    whole = len(data) // batch_size * batch_size
    for indices in torch.split(order[: whole or None], batch_size)[position.batches :]:
        images = data.images[indices]
        if augment is not None:
            images = augment(images, generator)
        position.batches += 1
        yield normalise(images.to(device)), data.labels[indices].to(device)
    position.batches = 0
