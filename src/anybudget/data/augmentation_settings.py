"""`AugmentationSettings`: how training images are changed, one by one and in pairs; declared here once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar

from pydantic import Field

from anybudget.settings import Natural, NonNegative, Settings, Share


class AugmentationSettings(Settings):
    """Augmentation of training images; all of it is off where it is 0 or empty.

    Image by image: `crop_scale`, the least share of an image's area that a random crop takes, which is then scaled to
    the network's input; `colour_jitter`, how far brightness, contrast and saturation change, as a share of them;
    `auto_augment`, a policy by timm's name, such as `rand-m9-mstd0.5` (RandAugment), `original` (AutoAugment) or
    `3a`. Then images are moved by up to `crop_padding` pixels, and with `flip` mirrored half of the time.
    `random_erasing` is the share of images that lose a rectangle, after normalisation.

    In pairs: `mixup` and `cutmix` are the two parameters of a Beta distribution, alike; where both are given, every
    batch takes one of them with equal chances.

    Source: Szegedy et al. 2015 (random crops of a share of the area); Cubuk et al. 2019 and 2020 (AutoAugment,
    RandAugment); Zhong et al. 2020 (random erasing); Zhang et al. 2018 (mixup); Yun et al. 2019 (CutMix).
    """

    UNSAID: ClassVar[frozenset[str]] = frozenset(
        {"crop_scale", "colour_jitter", "auto_augment", "random_erasing", "mixup", "cutmix"}
    )

    crop_padding: Natural = 0
    flip: bool = False
    crop_scale: Share = 0.0
    colour_jitter: Share = 0.0
    auto_augment: Annotated[str, Field(max_length=200)] = ""
    random_erasing: Share = 0.0
    mixup: NonNegative = 0.0
    cutmix: NonNegative = 0.0

    def problems(self, table: str) -> Iterator[str]:
        """See `Settings.problems`."""
        yield from super().problems(table)
        if self.crop_scale and self.crop_padding:
            yield (f"{table}.crop_padding: images are cropped by {table}.crop_scale already; leave out one of the two")
