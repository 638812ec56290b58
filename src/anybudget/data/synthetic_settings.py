"""Settings of composed images, apart from what composes them: a recipe is read without torch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from anybudget.settings import Channels, Count, Natural, Settings

GARMENT = 28
"""The side of a garment in pixels."""


class ClutterSettings(Settings):
    """`[data.cluttered-fashion]`: how images are composed.

    The side of the `canvas` and of the square patches are in pixels. `compositions` is how many images each garment of
    training and validation becomes, `test_compositions` that of the test. The `seed` is not that of the recipe: runs
    with other seeds are tested on the same images. With `fresh`, training images are composed anew in every epoch.

    Example:
        >>> ClutterSettings(patches=4).canvas
        48
    """

    canvas: Channels = 48
    patches: Annotated[int, Field(ge=0, le=256)] = 8
    patch_size: Annotated[int, Field(ge=1, le=GARMENT)] = 10
    compositions: Count = 2
    test_compositions: Count = 5
    seed: Natural = 0
    fresh: bool = False

    def problems(self, table: str) -> Iterator[str]:
        """See `Settings.problems`."""
        if self.canvas < GARMENT:
            yield f"{table}.canvas: {self.canvas} pixels are too few for a garment of {GARMENT}; take {GARMENT} or more"
