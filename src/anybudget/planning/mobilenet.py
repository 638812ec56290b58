"""MobileNetV2 as a yardstick of cost: "as costly as MobileNetV2 times a width"."""

from __future__ import annotations

import re

from anybudget.architecture import Architecture
from anybudget.costs import build_costs
from anybudget.errors import ConfigError, shown
from anybudget.spaces.mbconv import MBConvSettings, MBConvSpace
from anybudget.spaces.settings import stages

TABLE = ((24, 2, 2), (32, 3, 2), (64, 4, 2), (96, 3, 1), (160, 3, 2), (320, 1, 1))
"""Width, repeats and stride of the stages with expansion 6."""

_TEXT = re.compile(r"mobilenet[-_ ]?v2(?:\s*[x×]?\s*(?P<width>\d+(?:\.\d+)?))?", re.IGNORECASE)


def multiply_adds(width: float, size: int, channels: int, classes: int) -> float:
    """Multiply-adds of MobileNetV2 times a width on images of `size` pixels, its classifier included.

    Source: Sandler et al. 2018, Table 2; widths are rounded to multiples of 8, the last one does not shrink.

    Example:
        >>> round(multiply_adds(1.0, 224, 3, 1000) / 1e6)
        301
    """
    rows = [(_rounded(width * channels_), repeats, stride) for channels_, repeats, stride in TABLE]
    settings = MBConvSettings(
        input_size=size,
        input_channels=channels,
        classes=classes,
        stem_width=_rounded(32 * width),
        first_width=_rounded(16 * width),
        stages=stages(*rows),
        head_width=_rounded(1280 * max(1.0, width)),
        operations=("k3_e6",),
    )
    space = MBConvSpace(settings)
    return build_costs(space, ("macs",))["macs"].cost(Architecture(space.name, (0,) * len(space.decisions)))


def read_like(text: str) -> float:
    """The width in a text such as "mobilenetv2 x0.5".

    Raises:
        ConfigError: it is none.
    """
    match = _TEXT.fullmatch(text.strip())
    width = float(match["width"] or 1.0) if match else 0.0
    if not 0.05 <= width <= 10.0:
        raise ConfigError(f'--like {shown(text)}: write "mobilenetv2 x0.5", with a width from 0.05 to 10')
    return width


def _rounded(channels: float) -> int:
    """The nearest multiple of 8 that is not more than a tenth below; at least 8."""
    found = max(8, int(channels + 4) // 8 * 8)
    return found + 8 if found < 0.9 * channels else found
