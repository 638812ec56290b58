"""Random crops, colours and timm's policies for single training images: functions of settings, image and key."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, ClassVar

import numpy as np
from PIL import Image, ImageEnhance

from anybudget.data.augmentation import ImageAugmentation
from anybudget.data.augmentation_settings import AugmentationSettings
from anybudget.data.protocol import DataSource
from anybudget.data.random import drawing
from anybudget.errors import ConfigError
from anybudget.runtime.optional import timm

Policy = Callable[[Image.Image], Image.Image]

RATIO = (3 / 4, 4 / 3)
"""The least and the greatest width of a random crop, divided by its height."""
ATTEMPTS = 10
"""How many crops are drawn before the central one is taken."""


@dataclass(frozen=True)
class ImageTransforms(ImageAugmentation):
    """Colour jitter, then a policy of timm; the size of the image stays.

    Args:
        colour_jitter: brightness, contrast and saturation are each multiplied by a factor within so much of 1.
        policy: timm's name for it; none if empty.
        fill: a grey for what a policy moves into the image, from 0 to 255 for each channel.

    Source: torchvision, `ColorJitter`; timm, `auto_augment_transform`. Differs: the three colour operations come in
    one order, as in timm's own fast loaders.
    """

    colour_jitter: float = 0.0
    policy: str = ""
    fill: tuple[int, ...] = (128, 128, 128)

    def __call__(self, image: Image.Image, key: int) -> Image.Image:
        """See `ImageAugmentation`."""
        return self._changed(image, np.random.default_rng(key), key)

    def _changed(self, image: Image.Image, rng: np.random.Generator, key: int) -> Image.Image:
        if self.colour_jitter:
            factors = rng.uniform(1 - self.colour_jitter, 1 + self.colour_jitter, 3)
            enhancers = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
            for enhancer, factor in zip(enhancers, factors, strict=True):
                image = enhancer(image).enhance(float(factor))
        if not self.policy:
            return image
        change = policy(self.policy, min(image.size), self.fill)
        with drawing(key):  # timm's operations are for images in colour
            return change(image.convert("RGB")).convert(image.mode)


@dataclass(frozen=True)
class CroppedTransforms(ImageTransforms):
    """A random crop of the stored image, scaled to the network's input, before everything else.

    Args:
        height: of the input, in pixels.
        width: of the input, in pixels.
        scale: the least share of the image's area that a crop takes.

    Source: torchvision, `RandomResizedCrop`.
    """

    originals: ClassVar[bool] = True

    height: int = 0
    width: int = 0
    scale: float = 1.0

    @property
    def needed_side(self) -> int:
        """See `ImageAugmentation.needed_side`."""
        return math.ceil(max(self.height, self.width) / math.sqrt(self.scale))

    def __call__(self, image: Image.Image, key: int) -> Image.Image:
        """See `ImageAugmentation`."""
        rng = np.random.default_rng(key)
        box = crop_box(image.width, image.height, self.scale, rng)
        cropped = image.resize((self.width, self.height), Image.Resampling.BILINEAR, box=box)
        return self._changed(cropped, rng, key)


def crop_box(width: int, height: int, scale: float, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """A random crop: left, top, right and bottom in pixels.

    Its area is at least a share `scale` of the image's and its ratio within `RATIO`, give or take what rounding does;
    where no such crop is found, it is the largest one in the middle.

    Example:
        >>> crop_box(40, 30, 1.0, np.random.default_rng(0))
        (0, 0, 40, 30)
    """
    low, high = math.log(RATIO[0]), math.log(RATIO[1])
    for _ in range(ATTEMPTS):
        area, ratio = width * height * rng.uniform(scale, 1.0), math.exp(rng.uniform(low, high))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            left, top = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
            return left, top, left + w, top + h
    w = min(width, max(1, round(height * RATIO[1])))
    h = min(height, max(1, round(width / RATIO[0])))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


def image_augmentation(settings: AugmentationSettings, data: DataSource) -> ImageAugmentation | None:
    """What settings ask for that is done image by image; None if nothing is.

    Raises:
        ConfigError: timm is not installed, or knows no such policy.
    """
    if settings.auto_augment:
        check_policy(settings.auto_augment)
    jitter, policy_name = settings.colour_jitter, settings.auto_augment
    means = data.mean if len(data.mean) == 3 else data.mean[:1] * 3
    fill = tuple(min(255, round(255 * mean)) for mean in means)
    if settings.crop_scale:
        _, height, width = data.input_shape
        return CroppedTransforms(jitter, policy_name, fill, height, width, settings.crop_scale)
    return ImageTransforms(jitter, policy_name, fill) if jitter or policy_name else None


def check_policy(name: str, key: str = "auto_augment") -> None:
    """Check that timm has a policy, before any training.

    Args:
        name: the policy.
        key: what asks for it, for the message.

    Raises:
        ConfigError: timm is not installed, or knows no such policy.
    """
    timm("data.auto_augment", f"{key} = {name!r}")
    try:
        policy(name, 32, (128, 128, 128))
    except (AssertionError, IndexError, KeyError, TypeError, ValueError) as error:
        said = f" ({' '.join(str(error).split())})" if str(error) else ""
        raise ConfigError(
            f"{key}: timm has no policy {name!r}{said}; give such as 'rand-m9-mstd0.5', 'original', 'v0', 'augmix-m3' "
            "or '3a'"
        ) from None


@lru_cache(maxsize=16)
def policy(name: str, side: int, fill: tuple[int, ...]) -> Policy:
    """A policy of timm for images whose shorter side has so many pixels.

    Differs: an operation that leaves no bit of a colour leaves one, since Pillow refuses to leave none.
    """
    module = timm("data.auto_augment", f"auto_augment = {name!r}")
    settings: dict[str, Any] = {"translate_const": int(side * 0.45), "img_mean": fill}
    kind = name.partition("-")[0]
    if kind in ("rand", "augmix"):
        make = module.rand_augment_transform if kind == "rand" else module.augment_and_mix_transform
        transform = make(name, settings)
        operations = transform.ops
    else:
        transform = module.auto_augment_transform(name, settings)
        operations = [operation for listed in transform.policy for operation in listed]
    for operation in operations:
        if operation.aug_fn is module.posterize:
            operation.aug_fn = partial(_keep_a_bit, module.posterize)
    return transform  # type: ignore[no-any-return]


def _keep_a_bit(posterise: Callable[..., Image.Image], image: Image.Image, bits: int, **given: Any) -> Image.Image:
    return posterise(image, max(1, bits), **given)
