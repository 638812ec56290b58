"""Rules for the search space: the outline of its networks for a size of images, and its operations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from anybudget.planning.choice import Choice
from anybudget.planning.lengths import ENOUGH_STEPS

SPACE = Choice("mbconv", "the demo's, in whose networks architecture was measured to matter (README.md)")

OPERATIONS = Choice(
    ["skip", "k3_e3", "k3_e6", "k5_e3", "k5_e6", "k7_e6"],
    "the demo's; skip lets depth be searched",
)

REPEATS = 3
"""Layers of a stage, as in the demo."""

WIDTHS = (8, 16, 24, 40)
"""Channels of the stages at width 1: the demo's three, and one more for large images."""

STEM, HEAD = 8, 64
"""Channels of the stem and of the last convolution at width 1, as in the demo."""

FACTORS = (1, 2, 3, 4)
"""What all widths are multiplied by; 4 is about as wide as MobileNetV2."""

SMALL = 32
"""Images up to this side are not halved by the stem, as in recipes/photographs."""

SMALLEST_MAP = 3
"""The least side in pixels of the last map."""


@dataclass(frozen=True, slots=True)
class Outline:
    """The outline of the networks of a space: the side of images in pixels, and what all widths are multiplied by."""

    size: int
    factor: int = 1

    @property
    def stem_stride(self) -> int:
        """The stride of the first convolution."""
        return 1 if self.size <= SMALL else 2

    @property
    def halvings(self) -> int:
        """How often a map is halved: down to a side of 3 to 7 pixels."""
        count, side = 0, self.size
        while (side + 1) // 2 >= SMALLEST_MAP and count < len(WIDTHS) + self.stem_stride - 1:
            side, count = (side + 1) // 2, count + 1
        return count

    @property
    def stages(self) -> list[dict[str, int]]:
        """Width, repeats and stride of each stage."""
        count = self.halvings - (self.stem_stride - 1)
        return [{"width": width * self.factor, "repeats": REPEATS, "stride": 2} for width in WIDTHS[:count]]


def factor(steps: Mapping[int, float], hours: float) -> Choice[int]:
    """What all widths are multiplied by: the most for which there is time.

    Args:
        steps: for each factor, how many steps of retraining fit into the time.
        hours: of the whole run.
    """
    affordable = [value for value in FACTORS if steps[value] >= ENOUGH_STEPS]
    if not affordable or affordable[-1] == FACTORS[0]:
        return Choice(FACTORS[0], "the demo's width, the narrowest")
    return Choice(affordable[-1], f"{affordable[-1]} times the demo's width: {hours:g} h are enough for it")


def space_table(outline: Outline, size: Choice[int], width: Choice[int], channels: int, classes: int) -> dict[str, Any]:
    """The table `[space]`, every value with its reason."""
    grey = "all images are grey" if channels == 1 else "there are images in colour"
    last = "a last map of 3 to 7 pixels"
    return {
        "name": SPACE,
        "input_size": size,
        "input_channels": Choice(channels, grey),
        "classes": Choice(classes, "those of the data"),
        "stem_width": Choice(STEM * width.value, width.reason),
        "stem_stride": Choice(outline.stem_stride, f"1 up to {SMALL} pixels, which have none to spare, else 2"),
        "first_width": Choice(0, "no fixed block after the stem, as in the demo"),
        "operations": OPERATIONS,
        "stages": Choice(outline.stages, f"{REPEATS} layers each, as in the demo; as many stages as leave {last}"),
        "head_width": Choice(HEAD * width.value, width.reason),
    }
