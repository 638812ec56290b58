"""`DistributionSchedule`, `GeneratorSchedule`: how distributions over architectures are trained; declared here once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from anybudget.settings import Count, Images, NonNegative, Rate, Settings, Share


class DistributionSchedule(Settings):
    """How distributions over architectures are trained, the generator's or those of the strategy `direct`.

    A step has `budgets_per_step` budgets; the first `networks_per_step` of them, no more than there are, have their
    relaxed architecture run on the images. `penalty` weighs the expected squared gap between cost and budget, in units
    of the reachable interval of the cost, so that one value serves every space. The learning rate falls to 0 along half
    a cosine, or stays as it is with `annealing = "constant"`. With `budget_loss = "sampled"` the budget term is the
    squared gap of the relaxed architectures that are drawn, and budgets without one have none; see `budget_gaps`.
    `class_balance`, up to 1, is how far classes count alike in the loss, see `class_weights`; 0 is off.

    Source: SGNAS §4.1 and supplement C: Adam 0.001 (0.5, 0.999), temperature 5.0 annealed by 0.95 per epoch.
    Differs: the paper's λ = 0.0003 per MMAC² is tied to ImageNet, where over an interval of 400 MMACs it would be a
    penalty of 48, and has to hold the budget alone; here decoding does that, and the penalty only has to point the way.
    The paper keeps the learning rate constant and picks the best epoch; here it falls by default, so that the last
    epoch is the one to take, and no figure on validation images picks it. The paper has one budget in a step, which is
    one value of `budgets_per_step`; more give the budget term less noise and cost next to nothing.
    """

    UNSAID: ClassVar[frozenset[str]] = frozenset({"class_balance", "annealing", "budget_loss"})

    epochs: Count = 50
    batch_size: Images = 128
    learning_rate: Rate = 1e-3
    temperature: Annotated[float, Field(ge=1e-6, le=1e6)] = 5.0
    temperature_decay: Annotated[float, Field(gt=0, le=1)] = 0.95
    penalty: NonNegative = 10.0
    straight_through: bool = False
    budgets_per_step: Count = 16
    networks_per_step: Count = 1
    class_balance: Share = 0.0
    annealing: Literal["cosine", "constant"] = "cosine"
    budget_loss: Literal["expected", "sampled"] = "expected"

    def problems(self, table: str) -> Iterator[str]:
        """See `Settings.problems`."""
        if self.networks_per_step > self.budgets_per_step:
            yield (
                f"{table}.networks_per_step: {self.networks_per_step} networks are drawn, one for each of as many "
                f"budgets, of which a step has {self.budgets_per_step} ({table}.budgets_per_step); take fewer networks "
                "or more budgets"
            )


CostValue = Annotated[float, Field(ge=0, le=1e18, allow_inf_nan=False)]
"""A value of a cost, in its unit."""


class GeneratorSchedule(DistributionSchedule):
    """How a generator is trained: on budgets from `low` to `high`, in the unit of its cost.

    0 leaves an end where the space does: at the least or the most that its networks cost.

    Source: SGNAS Algorithm 1, whose budgets are drawn from a given interval.
    """

    UNSAID: ClassVar[frozenset[str]] = DistributionSchedule.UNSAID | {"low", "high"}

    low: CostValue = 0.0
    high: CostValue = 0.0

    def problems(self, table: str) -> Iterator[str]:
        """See `Settings.problems`."""
        yield from super().problems(table)
        if self.high and self.low >= self.high:
            yield (
                f"{table}.low: budgets from {self.low:g} to {self.high:g} ({table}.high) are none; take a lower one, "
                "or a greater high"
            )
