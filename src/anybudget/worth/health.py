"""Whether a supernet is a judge: how its scores order networks that were trained alone, beside floors and ceilings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anybudget.architecture import Architecture
from anybudget.budgets import BudgetSet
from anybudget.costs import CostModel
from anybudget.errors import ConfigError
from anybudget.evaluation.ranking.correlation import FEWEST
from anybudget.spaces import SearchSpace
from anybudget.worth.agreement import NO_ORDER, Spread, Tau, agreement, attainable, lengthened, mean_agreement, spread
from anybudget.worth.halves import HalfScores

Values = NDArray[np.float64]

POOL = 100
"""How many random networks the supernet orders, of which those that are trained are taken."""
MOST = 1000
"""The most networks that may be trained for each order."""

CONVOLUTIONS = "convolutions"
FLOORS = (CONVOLUTIONS, "params", "macs")
"""What orders networks without any training: a judge has to do better."""


@dataclass(frozen=True, slots=True)
class HealthSettings:
    """How many networks are trained for each order, with how many seeds and epochs, and at what budgets.

    `epochs` are those of `[retrain]` if None; `budgets` the middle one of the recipe's.

    Raises:
        ConfigError: a number is out of range.

    Example:
        >>> HealthSettings(networks=12).seeds
        2
    """

    networks: int = 8
    seeds: int = 2
    epochs: int | None = None
    budgets: BudgetSet | None = None

    def __post_init__(self) -> None:
        if not FEWEST <= self.networks <= MOST:
            raise ConfigError(f"networks: {self.networks} make no order to look at; take {FEWEST} to {MOST}")
        for name, count in (("seeds", self.seeds), ("epochs", self.epochs)):
            if count is not None and count < 1:
                raise ConfigError(f"{name}: {count} must be 1 or more")

    def check_there(self, count: int, where: str) -> None:
        """Check that there are as many networks as are asked for; `where` says of what.

        Raises:
            ConfigError: there are fewer.
        """
        if count < self.networks:
            ways = f"ask for fewer, down to {FEWEST}" if count >= FEWEST else f"an order needs {FEWEST}"
            raise ConfigError(f"networks: {self.networks} were asked for, and {where} has {count}; {ways}")


@dataclass(frozen=True, slots=True)
class Reliability:
    """How alike two halves of the validation images order networks, and how alike two whole sets of them would."""

    halves: Tau
    whole: float | None


@dataclass(frozen=True, slots=True)
class PoolHealth:
    """How sure the supernet's own order of many networks is, whatever they are worth.

    `calibration` is the agreement of the loss with that after calibrating on other images; None without calibration.
    """

    networks: int
    loss: Reliability
    top1: Reliability
    calibration: Tau | None


@dataclass(frozen=True, eq=False)
class TrainedNetworks:
    """What the supernet says of n networks, [n] each, every floor [n], and their test top-1 in percent [n, seeds]."""

    loss: Values
    top1: Values
    floors: Mapping[str, Values]
    trained: Values


@dataclass(frozen=True, slots=True)
class Judgement:
    """How well scores order trained networks, by the mean of their seeds.

    `seeds` is how alike two seeds order them, and `attainable` what scores without error would reach; both None with
    one seed. `picked_percent` is the test top-1 of the network with the lowest supernet loss.
    """

    networks: int
    loss: Tau
    top1: Tau
    floors: Mapping[str, Tau]
    seeds: Tau | None
    attainable: float | None
    spread: Spread
    picked_percent: float
    mean_percent: float
    best_percent: float

    @property
    def best_floor(self) -> tuple[str, Tau] | None:
        """The floor that orders the networks best, with its name; None where none orders them."""
        orders = {name: tau for name, tau in self.floors.items() if tau.kendall is not None}
        name = max(orders, key=lambda name: orders[name].kendall or 0.0, default=None)
        return None if name is None else (name, orders[name])


def spread_over(losses: Values, count: int) -> list[int]:
    """Which of some networks [n] to train: `count` of them, evenly spread over their order by loss, both ends included.

    Equal losses keep their order. `count` is 2 to n.

    Example:
        >>> spread_over(np.array([0.5, 0.1, 0.4, 0.2, 0.3]), 3)
        [1, 4, 0]
    """
    order = np.argsort(losses, kind="stable")
    places = np.rint(np.linspace(0, len(order) - 1, count)).astype(np.int64)
    return [int(index) for index in order[places]]


def floors_of(
    space: SearchSpace, costs: Mapping[str, CostModel], architectures: Sequence[Architecture]
) -> dict[str, Values]:
    """Every floor of architectures, [n] each: the number of convolutions, which says how deep they are, and costs."""
    depths = [sum(len(block.convolutions()) for block in space.block_specs(found)) for found in architectures]
    counted = {name: [costs[name].cost(found) for found in architectures] for name in FLOORS if name != CONVOLUTIONS}
    return {name: np.array(values, dtype=np.float64) for name, values in {CONVOLUTIONS: depths, **counted}.items()}


def pool_health(scores: HalfScores, recalibrated: HalfScores | None) -> PoolHealth:
    """How sure the supernet's order of networks is; `recalibrated` are scores of the first of them, calibrated anew."""
    same = None if recalibrated is None else agreement(-scores.loss[: len(recalibrated)], -recalibrated.loss)
    return PoolHealth(len(scores), _reliability(-scores.half_losses), _reliability(scores.half_top1), same)


def judge(networks: TrainedNetworks) -> Judgement:
    """How well the supernet's scores, and the floors, order networks by their trained test top-1."""
    truth, seeds = networks.trained.mean(1), networks.trained.shape[1]
    repeated = mean_agreement(networks.trained) if seeds > 1 else None
    bound = None if repeated is None or repeated.kendall is None else attainable(repeated.kendall, seeds)
    return Judgement(
        networks=len(truth),
        loss=agreement(-networks.loss, truth),
        top1=agreement(networks.top1, truth),
        floors={name: agreement(values, truth) for name, values in networks.floors.items()},
        seeds=repeated,
        attainable=bound,
        spread=spread(networks.trained),
        picked_percent=float(truth[int(networks.loss.argmin())]),
        mean_percent=float(truth.mean()),
        best_percent=float(truth.max()),
    )


def _reliability(halves: Values) -> Reliability:
    """That of scores by halves [n, 2], higher being better."""
    if len(halves) < FEWEST:
        return Reliability(NO_ORDER, None)
    found = agreement(halves[:, 0], halves[:, 1])
    return Reliability(found, None if found.kendall is None else lengthened(found.kendall, 2))
