"""The schema of `latency.jsonl`: answers that were measured on the device that their budgets are for."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from anybudget.storage.records.schemas import AnArchitecture, Limits, Number, Record

Ms = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class MeasuredLatency(Record):
    """An answer whose latency was measured: `limit_ms` was asked for, and `promised_ms` is at most that.

    `measured_ms` is what it took in a process of its own, in the `quantity` that is promised (see docs/latency.md).
    """

    cost: str
    budgets: Limits
    architecture: AnArchitecture
    quantity: Literal["quiet", "p50", "p95"]
    promise: Number
    limit_ms: Ms
    promised_ms: Ms
    predicted_ms: Ms
    measured_ms: Ms
    calm: Number
    processor: str
    running: str
    measured: str

    @property
    def kept(self) -> bool:
        """Whether the network takes no longer than was asked for."""
        return self.measured_ms <= self.limit_ms

    @property
    def unused_percent(self) -> float:
        """What is left of the limit, in percent; below 0 where it is exceeded."""
        return 100 * (1 - self.measured_ms / self.limit_ms)
