"""The record of `anybudget health`: how the supernet orders networks, beside networks that were trained alone."""

from __future__ import annotations

from typing import Self

from pydantic import model_validator

from anybudget.storage.records.schemas import AnArchitecture, Costs, Count, Number, Record, said


class TauOf(Record):
    """Kendall's tau of two orders, its standard error, and how probable it is by chance; null: no order to compare."""

    kendall: Number | None
    error: Number | None
    chance: Number | None


class ReliabilityOf(Record):
    """The agreement of scores on two halves of the images, and that of scores on two whole sets."""

    halves: TauOf
    whole: Number | None


class PoolOf(Record):
    """How sure the supernet's order of so many networks is; `calibration` is null without calibration."""

    networks: Count
    loss: ReliabilityOf
    top1: ReliabilityOf
    calibration: TauOf | None


class SpreadOf(Record):
    """Standard deviations in points: between networks, between seeds of one network; `chance` of no difference."""

    networks: Number
    seeds: Number | None
    chance: Number | None


class JudgementOf(Record):
    """How well scores, and floors, order trained networks; `seeds` and `attainable` are null with one seed."""

    networks: Count
    loss: TauOf
    top1: TauOf
    floors: dict[str, TauOf]
    seeds: TauOf | None
    attainable: Number | None
    spread: SpreadOf
    picked_percent: Number
    mean_percent: Number
    best_percent: Number


class JudgedNetwork(Record):
    """A network as the supernet scores it on validation images, and its test top-1 trained alone, for each seed."""

    architecture: AnArchitecture
    costs: Costs
    supernet_loss: Number
    supernet_top1_percent: Number
    test_top1_percent: tuple[Number, ...]


class OrderHealth(Record):
    """Networks of one order, the best first by supernet loss; `budgets` is empty for those of the whole space."""

    budgets: dict[str, Number]
    pool: PoolOf
    judgement: JudgementOf
    networks: tuple[JudgedNetwork, ...]

    @model_validator(mode="after")
    def _as_many_as_were_judged(self) -> Self:
        if len(self.networks) != self.judgement.networks or not self.networks:
            raise said(
                f'"networks" must hold the {self.judgement.networks} that were judged, found {len(self.networks)}'
            )
        if any(not network.test_top1_percent for network in self.networks):
            raise said('"networks": every one needs a "test_top1_percent" for each seed')
        return self


class VerdictOf(Record):
    """What it comes to: a state, sentences with numbers, and what to do next."""

    state: str
    sentences: tuple[str, ...]
    advice: tuple[str, ...]


class Health(Record):
    """`health.json`: whether the supernet is a judge."""

    space: str
    seed: int
    seeds: Count
    epochs: Count
    validation_images: Count
    calibration_images: Count
    equal_cost: OrderHealth
    whole_space: OrderHealth
    verdict: VerdictOf
