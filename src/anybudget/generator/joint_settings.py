"""`JointSettings`: how weights and a distribution over architectures are trained together; declared here once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from anybudget.settings import Count, Images, NonNegative, Rate
from anybudget.training.settings import Schedule

DrawName = Literal["softmax", "gumbel", "gumbel-path", "uniform-path"]
"""What a step computes with, given a distribution; see `anybudget.generator.joint.DRAWS`."""

Temperature = Annotated[float, Field(ge=1e-3, le=1e6)]


class JointSettings(Schedule):
    """How long weights and a distribution train together: the schedule is that of the weights.

    A step takes `batch_size` images of one half of the training split for the weights and as many of the other half for
    the distribution, which Adam trains with the learning rate and weight decay of its own. `penalty` weighs the
    expected squared gap between cost and budget, in units of the reachable interval of the cost. Without it nothing
    depends on the budgets, so that one training answers all of them; with it every budget set has its own. Of up to
    `candidates` architectures that the distribution gives, its own weights choose; 1 is the most probable.

    Source: the schedules of NAS-Bench-201's code (D-X-Y/AutoDL-Projects, configs/nas-benchmark/algos): SGD with
        Nesterov momentum, 0.025, 5e-4, batches of 64; Adam for the architecture with a weight decay of 1e-3.
    Differs: 50 epochs, as DARTS has (§A.1.1), instead of 250, and 3e-3 instead of Adam's 3e-4: logits move by about
        the learning rate a step, and there are fewer steps. The learning rate of the weights falls to 0, not to 0.001.
    """

    TABLE_UNSAID: ClassVar[bool] = True

    epochs: Count = 50
    batch_size: Images = 64
    learning_rate: Rate = 0.025
    weight_decay: NonNegative = 5e-4
    nesterov: bool = True
    architecture_learning_rate: Rate = 3e-3
    architecture_weight_decay: NonNegative = 1e-3
    penalty: NonNegative = 0.0
    candidates: Count = 1

    def temperature_at(self, epoch: int) -> float:  # noqa: ARG002 - a softmax has none
        """That of the samples in an epoch, counted from 1."""
        return 1.0

    def problems(self, table: str) -> Iterator[str]:
        """See `Settings.problems`."""
        yield from super().problems(table)
        if self.drop_path:
            yield f"{table}.drop_path: a supernet has no residual blocks of its own to drop; leave it out"


class GumbelSettings(JointSettings):
    """Joint training with samples, whose temperature goes from `temperature` to `final_temperature`, epoch by epoch.

    Along a `linear` line, or a `geometric` one, by the same factor in every epoch.

    Source: GDAS's code: 10 to 0.1, linear in the epochs.
    """

    temperature: Temperature = 10.0
    final_temperature: Temperature = 0.1
    cooling: Literal["linear", "geometric"] = "linear"

    def temperature_at(self, epoch: int) -> float:
        """That of the samples in an epoch, counted from 1.

        Example:
            >>> [round(GumbelSettings(epochs=3).temperature_at(epoch), 2) for epoch in (1, 2, 3)]
            [10.0, 5.05, 0.1]
        """
        first, last = self.temperature, self.final_temperature
        share = (epoch - 1) / max(1, self.epochs - 1)
        return first + (last - first) * share if self.cooling == "linear" else float(first * (last / first) ** share)
