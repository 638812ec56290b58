"""`LatencyCost`: milliseconds that were measured on a device, and the margin that a promise adds to them."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator

from anybudget.architecture import Architecture
from anybudget.costs.base import CostContext, CostModel
from anybudget.costs.records import as_record
from anybudget.costs.settings import CostSettings, FilePath
from anybudget.costs.table import CostTable, check_canonical
from anybudget.costs.terms import CostTerms
from anybudget.errors import ConfigError, shown
from anybudget.reading import parse_object, read_text, unreadable_as
from anybudget.settings import Part
from anybudget.spaces import SearchSpace

FORMAT = "anybudget latency"
"""How a file of measured latencies says what it is."""

LONGEST_MS = 1e7
"""No network of a file takes longer than this: nearly three hours."""

Quantity = Literal["quiet", "p50", "p95"]
QUANTITIES: tuple[Quantity, ...] = get_args(Quantity)
"""What is promised: the time on a quiet device, or the median or 95th percentile under the load of the day."""

Precision = Literal["fp32", "int8"]
"""The numbers that networks compute with."""

Text = Annotated[str, Field(min_length=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Error = Annotated[float, Field(gt=-1, lt=1000, allow_inf_nan=False)]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Device(_Record):
    """What was measured on: `kind` is cpu or cuda, `processor` its name, `load` the load before and after."""

    kind: Text
    processor: Text
    flags: list[str] = []
    cores: Annotated[int, Field(ge=1)] = 1
    governor: str = ""
    system: str = ""
    load: list[Annotated[float, Field(ge=0, allow_inf_nan=False)]] = []


class Running(_Record):
    """How networks ran: the runtime and its version, threads, images at once, and the numbers they computed with."""

    runtime: Text
    version: Text
    threads: Annotated[int, Field(ge=1, le=1024)] = 1
    batch: Annotated[int, Field(ge=1, le=10**6)] = 1
    precision: Precision = "fp32"

    def __str__(self) -> str:
        """In words: `onnxruntime 1.20.1, 1 thread, batch 1, fp32`."""
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        return f"{self.runtime} {self.version}, {threads}, batch {self.batch}, {self.precision}"


class Promise(_Record):
    """How far measured latencies of one quantity lie above predicted ones, on networks that nothing was fitted to.

    Predicted is the table's number times `scale`. `errors` are measured / predicted - 1, of one network each; `drift`
    is what another process may add to all of them alike.
    """

    scale: Positive = 1.0
    errors: list[Error]
    drift: Annotated[float, Field(ge=0, le=1)] = 0.0

    def margin(self, probability: float) -> float:
        """What is added to a predicted latency, as a share of it, so that a network keeps it with this probability.

        The one-sided split-conformal bound: of n networks that were measured, the ceil((n + 1) · probability)-th
        smallest error. It holds for any distribution of errors, on average over the networks that it was taken from
        and a further one that is drawn like these; the drift comes on top. At probability 0 it is 0.

        Raises:
            ConfigError: too few networks were measured for this probability.

        Example:
            >>> promise = Promise(errors=[-0.01, 0.0, 0.01, 0.02], drift=0.005)
            >>> promise.margin(0.8), promise.margin(0.5), promise.margin(0.0)
            (0.025, 0.015, 0.0)

        Source: Vovk et al. 2005, Algorithmic learning in a random world, §4.2, one-sided.
        """
        if probability <= 0:
            return 0.0
        rank = _rank(len(self.errors), probability)
        if rank > len(self.errors):
            needed = math.ceil(round(probability / (1 - probability), 9))
            raise ConfigError(
                f"a promise of {probability:g} needs {needed} networks to be measured, and the file has "
                f"{len(self.errors)}; profile with more, or promise less"
            )
        return sorted(self.errors)[rank - 1] + self.drift


class Check(_Record):
    """How well the table predicts the quiet latency of `networks` that were not fitted, in another process.

    `tau` is Kendall's of predicted and measured latency, `tau_macs` that of multiply-adds and measured latency.
    """

    networks: Annotated[int, Field(ge=2)]
    mape_percent: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    within_3_percent: Annotated[float, Field(ge=0, le=100)]
    within_10_percent: Annotated[float, Field(ge=0, le=100)]
    tau: Annotated[float, Field(ge=-1, le=1)]
    tau_macs: Annotated[float, Field(ge=-1, le=1)]


class Probe(_Record):
    """A network that is measured between all others, and what it took: tells whether a machine is as fast as it was."""

    choices: list[Annotated[int, Field(ge=0)]]
    ms: Positive


class LatencyProfile(_Record):
    """What `latency.json` holds: the latency of every network of one space on one device.

    `table` predicts the quiet latency in ms of a run on `running.batch` images; `promises` say for each quantity that
    was measured how far that can be relied on. `space_digest` is that of the settings of the space (`space_digest`).
    """

    format: Literal["anybudget latency"] = "anybudget latency"
    version: Literal[1] = 1
    created: str = ""
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    space_digest: Text
    device: Device
    running: Running
    table: CostTable
    promises: dict[Quantity, Promise] = {}
    check: Check | None = None
    probe: Probe | None = None

    @field_validator("table")
    @classmethod
    def _in_ms(cls, table: CostTable) -> CostTable:
        if table.unit != "ms":
            raise ValueError(f"expected the unit ms, found {shown(table.unit)}")
        return table

    @classmethod
    def read(cls, path: Path) -> Self:
        """The profile in a file.

        Raises:
            ConfigError: the file cannot be read, is not one of latencies, or has a wrong key or value; names it.
        """
        way_out = "make it with: anybudget profile"
        with unreadable_as(ConfigError, f"file: {path}", "cannot read the latencies", way_out):
            found = parse_object(read_text(path))
        if found.get("format") != FORMAT:
            raise ConfigError(f'file: {path}: no file of measured latencies (its format is not "{FORMAT}"); {way_out}')
        return as_record(cls, found, f"file: {path}", way_out)

    def terms(self, space: SearchSpace, scale: float = 1.0) -> CostTerms:
        """Predicted quiet latency of the networks of `space` in ms, times `scale`.

        Raises:
            ConfigError: it is a profile of another space or of other settings, or a number is missing or absurd.
        """
        terms = self.table.terms(space, scale)
        if self.space_digest != space_digest(space):
            raise ConfigError(
                f"measured on the space {space.name!r} with other settings than the recipe's [space]; profile this "
                "recipe: anybudget profile RECIPE"
            )
        most = terms.constant + sum(float(row.max()) for row in (*terms.unary, *terms.pairwise.values()))
        if not 0 < most <= LONGEST_MS:
            raise ConfigError(f"the slowest network would take {most:g} ms; expected more than 0 and at most 1e7")
        return terms


def _rank(count: int, probability: float) -> int:
    """Which of `count` sorted errors bounds another one with this probability."""
    return max(1, math.ceil(round((count + 1) * probability, 9)))


def space_digest(space: SearchSpace) -> str:
    """What tells the settings of a space from others: 16 hexadecimal digits."""
    said = {"name": space.name, **space.settings.model_dump(mode="json")}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]


class LatencySettings(CostSettings):
    """`[costs.NAME]` with `kind = "latency"`: the file that `anybudget profile` wrote, and what is promised.

    `promise` is the probability with which a network keeps the latency that budgets limit; at 0 they limit the
    predicted one. `quantity` is which latency: `quiet`, the least; `p50` or `p95`, under the load there was.
    """

    file: FilePath
    promise: Part = 0.95
    quantity: Quantity = "quiet"


class LatencyCost(CostModel):
    """Latency as it is promised: predicted from a profile, plus the margin.

    The margin is a share of the predicted latency, so all numbers of the table grow by it, and whatever limits, decodes
    or shows this cost keeps the promise without knowing of it. `predicted` is the latency without the margin.

    Args:
        space: whose networks they are.
        name: of the cost.
        profile: what was measured.
        promise: the probability, from 0 up to and without 1.
        quantity: which latency.

    Raises:
        ConfigError: the profile is of another space, or cannot promise this.
    """

    name = "latency"
    unit = "ms"
    settings_type = LatencySettings
    counts_any: ClassVar[bool] = False

    def __init__(
        self,
        space: SearchSpace,
        name: str,
        profile: LatencyProfile,
        promise: float = LatencySettings.model_fields["promise"].default,
        quantity: Quantity = "quiet",
    ) -> None:
        super().__init__(space)
        self.name, self.profile, self.promise, self.quantity = name, profile, promise, quantity
        if not name.partition(".")[0].endswith("_ms"):
            raise ConfigError("latencies are in ms, so the cost's name has to end with it, as latency_ms does")
        found = profile.promises.get(quantity)
        if found is None:
            if promise > 0 or quantity != "quiet":
                has = ", ".join(profile.promises) or "nothing"
                raise ConfigError(
                    f"quantity: the file can promise {has}, and not {quantity!r}; take one of these, or promise = 0 "
                    'and quantity = "quiet"'
                )
            found = Promise(errors=[])
        try:
            self.margin = found.margin(promise)
        except ConfigError as error:
            raise ConfigError(f"promise: {error}") from None
        self._terms = profile.terms(space, found.scale * (1 + self.margin))
        check_canonical(self)

    @classmethod
    def from_context(cls, context: CostContext) -> Self:
        """See `CostModel.from_context`."""
        settings = context.settings
        assert isinstance(settings, LatencySettings)
        path = context.folder / settings.file
        profile = LatencyProfile.read(path)
        try:
            return cls(context.space, context.name, profile, settings.promise, settings.quantity)
        except ConfigError as error:
            raise ConfigError(f"file: {path}: {error}") from None

    @property
    def note(self) -> str:
        """See `CostModel.note`."""
        profile = self.profile
        named = "quiet latency" if self.quantity == "quiet" else f"{self.quantity} of the latency under load"
        kept = f"promised with {self.promise:.0%}: {self.margin:.1%} above predicted" if self.promise else "predicted"
        return f"{named}, {kept}; {profile.running}; {profile.device.processor}"

    def cost(self, architecture: Architecture) -> float:
        """The promised latency, in ms."""
        self.space.validate(architecture)
        return self._terms.cost(architecture.choices)

    def predicted(self, architecture: Architecture) -> float:
        """The latency without the margin, in ms."""
        return self.cost(architecture) / (1 + self.margin)

    @property
    def terms(self) -> CostTerms:
        """The promised latency as terms."""
        return self._terms
