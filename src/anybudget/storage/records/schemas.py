"""The schema of each record in a run folder: what is written is made of it, and what is read is checked by it.

A key that came later than the first version has a default, so that older runs can be read; keys that are not known are
kept. Written are the keys that were given.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    RootModel,
    StrictBool,
    model_validator,
)
from pydantic_core import PydanticCustomError

from anybudget.architecture import Architecture
from anybudget.budgets import Budget, BudgetSet
from anybudget.errors import ArchitectureError, shorten, shown
from anybudget.storage.records.reading import LARGEST, MUST, SAID

Layers = tuple[tuple[str, ...], ...]
"""The operation names of every slot, layer by layer."""


def said(message: str) -> PydanticCustomError:
    """An error whose message is complete."""
    return PydanticCustomError(SAID, "{message}", {"message": message})


def _limits(limits: dict[str, float]) -> dict[str, float]:
    if not limits:
        raise PydanticCustomError(MUST, "must hold at least one budget")
    for cost, limit in limits.items():
        if limit <= 0:
            raise said(f'the budget "{cost}" must be above 0, found {limit:g}')
    return limits


def _architecture(value: Any) -> Architecture:
    if isinstance(value, Architecture):
        return value
    try:
        return Architecture.from_dict(value, "it")
    except ArchitectureError as error:
        raise said(shorten(str(error).removeprefix("it: "), 400)) from None


def _number(value: Any) -> float:
    """A finite number; whole ones stay whole numbers, as they are written."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise PydanticCustomError(MUST, "must be a number, found {found}", {"found": shown(value)})
    if not abs(value) <= LARGEST:  # beyond it, arithmetic on axes would overflow
        raise PydanticCustomError(
            MUST,
            "must be a finite number of at most {most}, found {found}",
            {"most": f"{LARGEST:g}", "found": str(value)},
        )
    return value


def _amount(value: Any) -> float:
    if _number(value) < 0:
        raise PydanticCustomError(MUST, "must not be negative, found {found}", {"found": f"{value:g}"})
    return _number(value)


_AS_IT_IS = PlainSerializer(lambda value: value)
Number = Annotated[float, PlainValidator(_number), _AS_IT_IS]
Amount = Annotated[float, PlainValidator(_amount), _AS_IT_IS]
Count = Annotated[int, Field(strict=True, ge=0)]
Costs = dict[str, Number]
Limits = Annotated[dict[str, Number], AfterValidator(_limits)]
AnArchitecture = Annotated[Architecture, PlainValidator(_architecture), PlainSerializer(Architecture.to_dict)]


class Record(BaseModel):
    """A JSON object."""

    model_config = ConfigDict(frozen=True, extra="allow", arbitrary_types_allowed=True)

    def to_json(self) -> dict[str, Any]:
        """Plain data: every key that was given."""
        return self.model_dump(mode="json", exclude_unset=True)


class Spent(Record):
    """What computing has cost: architectures evaluated, images forwarded, their MACs, and time."""

    evaluations: Amount
    images: Amount
    macs: Amount = 0.0
    seconds: Amount


class RaceRound(Record):
    """A network after a round of its own training: metrics of the validation images, and what the round has cost.

    Figures of registered metrics are further keys.
    """

    validation_top1_percent: Number
    validation_loss: Number
    images_trained: Count
    macs_trained: Amount
    images_scored: Count
    macs_scored: Amount
    seconds: Amount

    def figures(self, names: Iterable[str]) -> dict[str, float]:
        """Those of these metrics that it has."""
        found = {name: getattr(self, f"validation_{name}", None) for name in names}
        return {name: float(value) for name, value in found.items() if isinstance(value, int | float)}


class RaceNetwork(Record):
    """A network in a race, where the supernet had put it, and its rounds."""

    architecture: AnArchitecture
    supernet_place: Annotated[int, Field(strict=True, ge=1)]
    rounds: Annotated[tuple[RaceRound, ...], Field(min_length=1)]


class RaceResult(Record):
    """The race for a budget set: its networks as they came in, the answer first; `by` what the better half stayed."""

    by: Literal["loss", "metric"]
    spent: Spent
    networks: Annotated[tuple[RaceNetwork, ...], Field(min_length=1)]

    @property
    def outcome(self) -> tuple[tuple[Architecture, tuple[float, ...]], ...]:
        """The networks and their losses, which tell a race from another whatever its time."""
        return tuple((n.architecture, tuple(done.validation_loss for done in n.rounds)) for n in self.networks)


class RacedNetwork(Record):
    """`race/ID/result.json`: the rounds of a network, and after how many of them the weights beside it are; 0: none."""

    architecture: AnArchitecture
    costs: Costs
    weights_rounds: Count
    rounds: Annotated[tuple[RaceRound, ...], Field(min_length=1)]
    settings: dict[str, Any]


class Measured(Record):
    """An architecture under budgets, its exact costs, and its validation metrics with the supernet's weights."""

    budgets: Limits
    architecture: AnArchitecture
    costs: Costs
    supernet_top1_percent: Number
    supernet_balanced_accuracy_percent: Number | None = None
    supernet_top5_percent: Number | None = None
    supernet_loss: Number | None = None
    race: RaceResult | None = None

    @model_validator(mode="after")
    def _every_budget_has_its_cost(self) -> Self:
        for cost in self.budgets:
            if cost not in self.costs:
                raise said(f'"costs": lacks "{cost}"; found {shorten(", ".join(self.costs)) or "nothing"}')
        if self.race is not None and self.race.networks[0].architecture != self.architecture:
            raise said('"race": "networks", item 1 must be the architecture of the answer')
        return self

    @property
    def within(self) -> bool:
        """Whether every budget is met, with no tolerance."""
        return all(self.costs[cost] <= limit for cost, limit in self.budgets.items())

    @property
    def budget_set(self) -> BudgetSet:
        """The budgets as a value."""
        return BudgetSet(tuple(Budget(cost, limit) for cost, limit in self.budgets.items()))

    def figure(self, metric: str) -> float:
        """The figure of a metric, by its registered name; that of top-1 where a run does not have it."""
        found = getattr(self, f"supernet_{metric}", None)
        return self.supernet_top1_percent if found is None else float(found)


class Found(Measured):
    """What a strategy found for a budget set: the object of `generate --json`."""

    slack: dict[str, Number] | None = None
    unused_percent: Number | None = None
    validation_largest_class_percent: Number | None = None
    log_probability: Number | None
    seconds: Number


class Answer(Found):
    """A line of `candidates.jsonl` or `search/NAME.jsonl`: what was found, its layers, and when."""

    layers: Layers
    answered: str | None = None


class TrainedFigures(Record):
    """What was measured of a network that was trained on its own, on the validation and the test split."""

    costs: Costs
    test_top1_percent: Number
    test_balanced_accuracy_percent: Number | None = None
    test_largest_class_percent: Number | None = None
    validation_top1_percent: Number | None = None
    settings: dict[str, Any] | None = None
    epochs: Count
    seconds: Number

    def test_figure(self, metric: str) -> float:
        """The test figure of a metric, by its registered name; that of top-1 where it was not measured."""
        found = getattr(self, f"test_{metric}", None)
        return self.test_top1_percent if found is None else float(found)


class Trained(TrainedFigures):
    """An architecture of the run's space that was trained on its own."""

    architecture: AnArchitecture
    derived: StrictBool = False


class ClassAnswers(Record):
    """The answers to the images of one class: how many of each other one, by name; see `Confusion.by_class`."""

    name: str
    images: Count
    recall_percent: Number | None
    precision_percent: Number | None
    answers: dict[str, Count]


class TriedStart(Record):
    """What two starts of a retraining promised: a metric of validation images, in percent as `search.metric` has it.

    `new` is that of new weights after a trial of so many epochs, `inherited` that of inherited ones as they are.
    """

    metric: str
    epochs: Count
    new: Number
    inherited: Number

    @property
    def inherits(self) -> bool:
        """Whether the training starts from the inherited weights."""
        return self.inherited > self.new


class Retrained(Trained):
    """`retrain/ID/result.json`: a network that is kept with its weights.

    `tried` says why it has inherited its first weights or not, where a trial decided that.
    """

    test_classes: tuple[ClassAnswers, ...] = ()
    test_top5_percent: Number | None = None
    inherited: StrictBool
    tried: TriedStart | None = None
    layers: Layers | None = None


class TrainedAlone(Trained):
    """`worth/trained/ID-SEED-DIGEST.json`: a training from scratch, of which the figures alone are kept.

    `settings` and `seed` are all that decides its result.
    """

    settings: dict[str, Any]
    seed: Count


class GeneratorSpent(Spent):
    """`generator.json`: what the generator's training cost."""

    evaluations: Count
    images: Count
    macs: Amount


class Evaluated(Record):
    """An architecture that a strategy has evaluated: its cost, and all metrics."""

    cost: Number | None = None
    top1_percent: Number


class StrategyResult(Record):
    """One strategy: a candidate per budget set, what was `spent`, and all that it evaluated.

    Of what was spent, `training` is that of the strategy, and `race` that of the race, None where there was none.
    """

    name: str
    candidates: tuple[Measured, ...]
    hypervolume: Number
    spent: Spent
    training: Spent
    race: Spent | None = None
    evaluated: tuple[Evaluated, ...]

    @property
    def evaluated_top1(self) -> list[float]:
        """Top-1 in percent of all that was evaluated, in order."""
        return [item.top1_percent for item in self.evaluated]


class Comparison(Record):
    """`compare.json`: strategies that answered the same budget sets.

    `cost` orders the budget sets, `metric` is the primary one. `min_use` is the least share of a budget that candidates
    had to use, None where an older run does not say. The `reference` of the hypervolume has a cost and a metric.
    """

    budgets: tuple[Limits, ...]
    cost: str
    metric: str = "top1_percent"
    reference: dict[str, Number]
    min_use: Number | None = None
    floors: tuple[dict[str, Number], ...] = ()
    strategies: tuple[StrategyResult, ...]

    @model_validator(mode="after")
    def _one_candidate_per_budget_set(self) -> Self:
        for key in ("cost", self.metric):
            if key not in self.reference:
                raise said(f'"reference": lacks "{key}"; found {shorten(", ".join(self.reference)) or "nothing"}')
        for number, strategy in enumerate(self.strategies, start=1):
            where, found = f'"strategies", item {number}: "candidates"', len(strategy.candidates)
            if found != len(self.budgets):
                raise said(f"{where} must hold one for each of {len(self.budgets)} budget sets, found {found}")
            for place, (candidate, limits) in enumerate(zip(strategy.candidates, self.budgets, strict=True), start=1):
                if candidate.budgets != limits:
                    raise said(f'{where}, item {place}: "budgets" must be those of budget set {place} of the file')
        return self


class Ranking(Record):
    """`rank.json`: how well scores order random networks."""

    space: str
    seed: int
    paths: int
    validation_images: int
    supernets: dict[str, dict[str, Any]]
    baselines: dict[str, Any]
    snapshots: list[dict[str, Any]] = Field(default_factory=list)


class StageNote(Record):
    """When a stage was finished (ISO 8601), and how long it took."""

    seconds: Amount
    finished: str


class Stages(RootModel[dict[str, StageNote]]):
    """`stages.json`: a note of every finished stage."""


class Provenance(Record):
    """`provenance.json`: where numbers come from; versions of packages are further keys."""

    created: str | None = None
    seed: int | None = None
    command: str | None = None
    git_commit: str | None = None
    python: str | None = None
    platform: str | None = None
    cpus: int | None = None


class Network(Record):
    """`network.json`: what it takes to build a retrained network again."""

    format: str
    version: int
    space: dict[str, Any]
    architecture: AnArchitecture
    activation: str
    se_reduction: Count
