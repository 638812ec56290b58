"""`Schedule`: how a network is trained by stochastic gradient descent; declared here once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from anybudget.settings import Count, Images, Natural, NonNegative, Rate, Settings


class Schedule(Settings):
    """Stochastic gradient descent with momentum and a cosine learning rate from `learning_rate` to 0.

    `batch_size` is that of all processes together; each forwards its share in `accumulate` parts, see `train_on`.
    Training images are moved by up to `crop_padding` pixels, and with `flip` mirrored half of the time.
    """

    epochs: Count
    batch_size: Images
    learning_rate: Rate
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: NonNegative = 4e-5
    nesterov: bool = False
    warmup_epochs: NonNegative = 0.0
    crop_padding: Natural = 0
    flip: bool = False
    accumulate: Count = 1

    def problems(self, table: str) -> Iterator[str]:
        """See `Settings.problems`."""
        if self.nesterov and not self.momentum:
            yield f"{table}.nesterov: needs a momentum, and {table}.momentum is 0; set one above 0, or nesterov = false"
        if self.warmup_epochs > self.epochs:
            yield (
                f"{table}.warmup_epochs: {self.warmup_epochs:g} are more than the {self.epochs} of {table}.epochs; "
                "take fewer"
            )
