"""What happens to normalised batches: rectangles are erased, and images are mixed in pairs with their labels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from anybudget.data.augmentation_settings import AugmentationSettings
from anybudget.data.random import Keys, Use, uniform

AREA = (0.02, 1 / 3)
"""The least and the greatest share of an image that is erased."""
RATIO = (0.3, 1 / 0.3)
"""The least and the greatest height of what is erased, divided by its width."""
ATTEMPTS = 10
"""How many rectangles are drawn for an image; where none fits, nothing is erased."""


@dataclass(frozen=True)
class RandomErasing:
    """Erases a rectangle of a share of all images, `probability`: it becomes 0, the mean of the training images.

    Source: timm, `RandomErasing` with its defaults (mode `const`, one rectangle).
    """

    probability: float

    def __call__(self, images: Tensor, keys: Keys) -> Tensor:
        """Erase in normalised images [N, C, H, W], each by its key [N] alone; in place."""
        _, _, height, width = images.shape
        draws = uniform(keys, 1 + 4 * ATTEMPTS)
        for image, chance, drawn in zip(images, draws[:, 0], draws[:, 1:].reshape(-1, ATTEMPTS, 4), strict=True):
            if chance >= self.probability:
                continue
            for area, ratio, top, left in drawn:
                pixels = (AREA[0] + area * (AREA[1] - AREA[0])) * height * width
                aspect = math.exp(math.log(RATIO[0]) + ratio * math.log(RATIO[1] / RATIO[0]))
                h, w = round(math.sqrt(pixels * aspect)), round(math.sqrt(pixels / aspect))
                if h < height and w < width:
                    y, x = int(top * (height - h + 1)), int(left * (width - w + 1))
                    image[:, y : y + h, x : x + w] = 0
                    break
        return images


@dataclass(frozen=True)
class Mixing:
    """Mixup and CutMix: every image of a batch is mixed with its partner, and its label with the partner's.

    One share, and one rectangle, is drawn for a batch by seed, epoch and the number of the batch alone. The partner of
    an image is the one half a batch further on: in any number of processes that leaves each an even number of images,
    both are read by the same one.

    Args:
        mixup: both parameters of the Beta distribution of the share that an image keeps; 0 for none.
        cutmix: both parameters of that of the share that the image around the rectangle keeps; 0 for none.
        classes: of the labels.

    Source: timm, `Mixup` with its defaults (mode `batch`, one of the two with equal chances). Differs: there the
    partner is the image at the same place from the end.
    """

    mixup: float
    cutmix: float
    classes: int

    @classmethod
    def of(cls, settings: AugmentationSettings, classes: int) -> Mixing | None:
        """What settings ask for; None if that is nothing."""
        return cls(settings.mixup, settings.cutmix, classes) if settings.mixup or settings.cutmix else None

    def partners(self, places: Tensor, size: int) -> Tensor:
        """The places of the partners of images at `places` int64 [n] in a batch of `size`."""
        return (places + size // 2) % size

    def mixed(self, images: Tensor, labels: Tensor, partners: Tensor, draw: BatchDraw) -> tuple[Tensor, Tensor]:
        """Images [n, C, H, W] and, for each, the share of every class [n, classes].

        Args:
            images: normalised [m, C, H, W]: first the n that are mixed.
            labels: int64 [m].
            partners: int64 [n]: where among them the partners are.
            draw: of this batch.
        """
        rng, n = draw.rng(), len(partners)
        cut = self.cutmix > 0 and (not self.mixup or rng.random() < 0.5)
        alpha = self.cutmix if cut else self.mixup
        kept = float(rng.beta(alpha, alpha))
        if cut:
            top, bottom, left, right = _rectangle(images.shape[2], images.shape[3], 1 - kept, rng)
            mixed = images[:n].clone()
            mixed[:, :, top:bottom, left:right] = images[partners, :, top:bottom, left:right]
            kept = 1 - (bottom - top) * (right - left) / (images.shape[2] * images.shape[3])
        else:
            mixed = images[:n] * kept + images[partners] * (1 - kept)
        shares = F.one_hot(labels, self.classes).float()
        return mixed, shares[:n] * kept + shares[partners] * (1 - kept)


@dataclass(frozen=True, slots=True)
class BatchDraw:
    """What decides the random numbers of a batch: the seed, the epoch, and its number in the epoch from 0."""

    seed: int
    epoch: int
    number: int

    def rng(self) -> np.random.Generator:
        """The numbers of this batch, anew each time."""
        return np.random.default_rng([self.seed % 2**64, self.epoch, Use.MIXING, self.number])


def _rectangle(height: int, width: int, share: float, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """Top, bottom, left and right of a rectangle of about so much of the area, cut off at the edges."""
    h, w = int(height * math.sqrt(share)), int(width * math.sqrt(share))
    y, x = int(rng.integers(height)), int(rng.integers(width))
    top, bottom = max(0, y - h // 2), min(height, y + h // 2)
    left, right = max(0, x - w // 2), min(width, x + w // 2)
    return top, bottom, left, right


def with_partners(own: Tensor, partners: Tensor) -> tuple[Tensor, Tensor]:
    """The places to read, own ones first, and where among them the partners are.

    Example:
        >>> with_partners(torch.tensor([0, 2]), torch.tensor([2, 1]))
        (tensor([0, 2, 1]), tensor([1, 2]))
    """
    missing = partners[~torch.isin(partners, own)].unique()
    read = torch.cat([own, missing])
    at = {place: index for index, place in enumerate(read.tolist())}
    return read, torch.tensor([at[place] for place in partners.tolist()], dtype=torch.int64)
