"""`RaceSettings`: how the race at the end of a search is run; declared here once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from anybudget.runtime.batch_parts import batch_problem
from anybudget.settings import Natural, NonNegative, Settings
from anybudget.training.settings import Schedule

Better = Literal["loss", "metric"]
"""By what networks are compared: the validation loss, or `Metrics.rank`."""

UNUSED = ("epochs", "warmup_epochs", "annealing", "decay_rate", "decay_epochs", "milestones")
"""What a race does not take from `[retrain]`."""

Start = Literal["supernet", "scratch"]
"""What networks race from: the supernet's weights, or fresh ones."""


class RaceSettings(Settings):
    """`[search.race]`: whether and how the best networks of a search are trained on and halved.

    The `candidates` best for each budget set train for `epochs_per_round` epochs a round; the better half by `by` goes
    on. They start from the supernet's weights, or from `scratch`: with enough epochs to a round that says more of
    networks that will be trained from scratch, and less of those that will not. `learning_rate` and `batch_size` are
    those of `[retrain]` where they are 0, and what else a training has is as `[retrain]` says.
    """

    enabled: bool = False
    candidates: Annotated[int, Field(ge=1, le=1024)] = 16
    epochs_per_round: Annotated[float, Field(gt=0, le=1e4, allow_inf_nan=False)] = 0.25
    by: Better = "loss"
    start: Start = "supernet"
    learning_rate: NonNegative = 0.0
    batch_size: Natural = 0

    def problems(self, table: str) -> Iterator[str]:
        """See `Settings.problems`."""
        if self.batch_size:
            problem = batch_problem(self.batch_size, section=table)
            if problem:
                yield f"{problem}, or 0 for that of [retrain]"

    def schedule(self, retrain: Schedule) -> Schedule:
        """How networks are trained on: as `retrain` trains them, with the rate and the batches of this table."""
        base = {name: getattr(retrain, name) for name in Schedule.model_fields if name not in UNUSED}
        mine = {
            "learning_rate": self.learning_rate or retrain.learning_rate,
            "batch_size": self.batch_size or retrain.batch_size,
            "epochs": 1,  # rounds say how long, and their learning rate falls to 0 in each
        }
        return Schedule(**{**base, **mine})
