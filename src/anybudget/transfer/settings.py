"""How a detector on a found network is built and trained; declared here once, and free of torch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from anybudget.settings import Channels, Count, Fraction, Images, Natural, NonNegative, Rate
from anybudget.training.optimiser_settings import Fall, OptimiserSettings

Pixels = Annotated[int, Field(ge=32, le=2**14)]


class DetectSettings(OptimiserSettings):
    """`[detect]`: a RetinaNet with a feature pyramid on a found network.

    An image is scaled until its shorter side has `size` pixels, or its longer one `longest`, if that is less. The
    pyramid stands on the last `maps` feature maps of the network; it and the heads have `width` channels. `norms` says
    by what the network's batch norms normalise in training: by their statistics, which stay "fixed", or by the "batch";
    "auto" takes the former for trained weights and the latter for random ones, which have no statistics. `head_norms`
    "group" puts group norms into the heads, which then learn sooner. With `flip` every second training image on average
    is mirrored. Where the data have no list of validation images, the share `validation_fraction` of the training
    images is drawn for it. `rollbacks` is that of `[retrain]`.

    Source: SGNAS §4.4 (12 epochs, 0.01 at a batch of 16, divided by 10 after 8 and 11). What the paper has of sizes,
    warm-up and clipping could not be verified; the first are the usual ones of COCO, the others our own.
    """

    UNSAID: ClassVar[frozenset[str]] = OptimiserSettings.UNSAID | {"rollbacks"}

    epochs: Count = 12
    batch_size: Images = 16
    learning_rate: Rate = 0.01
    weight_decay: NonNegative = 1e-4
    warmup_epochs: NonNegative = 0.5
    annealing: Fall = "steps"
    decay_rate: Annotated[float, Field(gt=0, le=1)] = 0.1
    reference_batch: Natural = 16
    clip_norm: NonNegative = 35.0
    size: Pixels = 800
    longest: Pixels = 1333
    width: Channels = 256
    maps: Annotated[int, Field(ge=1, le=5)] = 3
    norms: Literal["auto", "fixed", "batch"] = "auto"
    head_norms: Literal["none", "group"] = "none"
    flip: bool = True
    validation_fraction: Fraction = 0.15
    rollbacks: Natural = 0

    def problems(self, table: str) -> Iterator[str]:
        """See `Settings.problems`."""
        yield from super().problems(table)
        if self.milestones and self.milestones[-1] >= self.epochs:
            yield (
                f"{table}.milestones: {self.milestones[-1]} is not below the {self.epochs} of {table}.epochs; take "
                "smaller ones, or leave them out for two thirds and eleven twelfths"
            )
        if self.warmup_epochs > self.epochs:
            yield f"{table}.warmup_epochs: {self.warmup_epochs:g} are more than the {self.epochs} of {table}.epochs"
        if self.longest < self.size:
            yield f"{table}.longest: {self.longest} pixels are fewer than the {self.size} of {table}.size; take more"
