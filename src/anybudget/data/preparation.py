"""`Preparation`: what was done to images before training, so that it can be done again to other images."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

SHORTER_SIDE = "shorter side scaled, centre square cut"
UNCHANGED = "none"
BILINEAR = "bilinear, antialiased"


@dataclass(frozen=True, slots=True)
class Preparation:
    """How stored images became the uint8 pixels of the splits.

    With a split's `mean` and `std` it says all that an image needs before a network sees it: values are scaled from
    `value_range`, transparency is laid over white, the image is resized, and `(pixel / 255 - mean) / std` is computed.
    """

    channels: int
    height: int
    width: int
    """Of every image after resizing; height and width in pixels."""
    resize: str
    """`SHORTER_SIDE`, or `UNCHANGED` if images were stored with this size and none was asked for."""
    interpolation: str = BILINEAR
    """How pixels are computed where an image is scaled."""
    value_range: tuple[float, float] | None = None
    """The stored values that became 0 and 255, one pair for all images; None if they were stored with 8 bits."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data for a JSON file."""
        return asdict(self)
