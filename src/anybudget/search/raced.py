"""What a race found: its networks in the order in which they came in, and what each of its rounds gave and cost."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from anybudget.architecture import Architecture
from anybudget.evaluation.metrics import Metrics
from anybudget.runtime.accounting import Spending
from anybudget.search.race_settings import Better


@dataclass(frozen=True, slots=True)
class Round:
    """A network after one more round: its validation metrics with weights of its own, and what the round has cost.

    `trained` counts the images of training and their forward MACs, `scored` those of calibrating and evaluating; the
    seconds of both are in `trained`.
    """

    metrics: Metrics
    trained: Spending
    scored: Spending

    @property
    def spent(self) -> Spending:
        """What the round has cost in all."""
        return self.trained + self.scored

    def to_dict(self) -> dict[str, float]:
        """Plain data as records have it."""
        return {
            **self.metrics.to_dict("validation"),
            "images_trained": self.trained.images,
            "macs_trained": self.trained.macs,
            "images_scored": self.scored.images,
            "macs_scored": self.scored.macs,
            "seconds": self.spent.seconds,
        }


@dataclass(frozen=True, slots=True)
class Racer:
    """A network in the race for a budget set; `supernet_place` is where the supernet had put it, from 1."""

    architecture: Architecture
    supernet_place: int
    rounds: tuple[Round, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data as records have it."""
        return {
            "architecture": self.architecture.to_dict(),
            "supernet_place": self.supernet_place,
            "rounds": [done.to_dict() for done in self.rounds],
        }


@dataclass(frozen=True, slots=True)
class Raced:
    """The race for one budget set: its networks `by` loss or metric as they came in, the winner first."""

    by: Better
    racers: tuple[Racer, ...]

    @property
    def winner(self) -> Racer:
        """The network that was left."""
        return self.racers[0]

    @property
    def spent(self) -> Spending:
        """What the trainings and scores of this race cost, also where other races share them."""
        return spending([self])

    def to_dict(self) -> dict[str, Any]:
        """Plain data as records have it."""
        return {"by": self.by, "spent": self.spent.to_dict(), "networks": [racer.to_dict() for racer in self.racers]}


def spending(races: Iterable[Raced]) -> Spending:
    """What some races cost together: what several share counts once."""
    rounds = {
        (racer.architecture, number): done
        for race in races
        for racer in race.racers
        for number, done in enumerate(racer.rounds, start=1)
    }
    return sum((done.spent for done in rounds.values()), Spending())


def key(metrics: Metrics, by: Better) -> tuple[float, ...]:
    """The sort key of a race; the highest is the best."""
    return (-metrics.loss,) if by == "loss" else metrics.rank
