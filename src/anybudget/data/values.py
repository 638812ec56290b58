"""The step from stored grey levels or numbers of more than 8 bits to uint8, by one range for a whole data set."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from anybudget.errors import DataError

Range = tuple[float, float]


def extremes(values: NDArray[Any]) -> Range:
    """The lowest and the highest value.

    Raises:
        ValueError: a value is not finite.
    """
    low, high = float(values.min()), float(values.max())
    if not np.isfinite((low, high)).all():
        raise ValueError("holds values that are not finite (NaN or infinite)")
    return low, high


def common_range(name: str, ranges: list[Range], what: str) -> tuple[Range, str]:
    """The range of all `ranges`, and a notice that says so; `name` is the data set, `what` what has these values.

    Raises:
        DataError: there is a single value only, so that all pixels are equal.
    """
    low, high = min(low for low, _ in ranges), max(high for _, high in ranges)
    if low == high:
        raise DataError(f"{name}: every pixel has the value {low:g}, such as in {what}: there is nothing to learn from")
    return (low, high), (
        f"{name}: values from {low:g} to {high:g} were scaled to 0 to 255, the same range for all images of all splits"
    )


def to_uint8(values: NDArray[Any], found: Range) -> NDArray[np.uint8]:
    """Scale `found` to 0 to 255, rounded; what lies outside is clipped."""
    low, high = found
    scaled = (values.astype(np.float64) - low) * (255.0 / (high - low))
    return scaled.round().clip(0, 255).astype(np.uint8)
