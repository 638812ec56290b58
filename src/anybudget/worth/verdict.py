"""A verdict on a supernet as a judge, in words with numbers: what it orders, how sure that is, and what to do next."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from anybudget.worth.agreement import Tau
from anybudget.worth.health import Judgement, PoolHealth

State = Literal["judge", "weak judge", "size only", "no judge", "nothing to find", "undecided"]

FIRM = 0.5
"""From this tau on, three of four pairs of networks are in the right order: such an order is worth following."""
LIKELY = 0.05
"""What happens by chance less often than this is taken for real."""
SURE = 0.005
"""The same where the trainings look as if there were nothing to order."""
RELIABLE = 0.8
"""Below this tau between two sets of validation images, the scores' own error is what to mend first."""
STEADY = 0.9
"""The same between two sets of calibration images."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """`state` in a word, `sentences` that say why with numbers, and `advice`: what to do next, first things first."""

    state: State
    sentences: tuple[str, ...]
    advice: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Findings:
    """All that a verdict rests on: networks of equal cost, named by `budget`, and networks of the whole space."""

    budget: str
    equal_cost: Judgement
    equal_cost_pool: PoolHealth
    whole_space: Judgement


def verdict(found: Findings) -> Verdict:
    """What to make of the findings."""
    state = _state(found)
    return Verdict(state, tuple(_sentences(found, state)), tuple(_advice(found, state)))


def _state(found: Findings) -> State:
    tau, alike = found.equal_cost.loss, (found.equal_cost.spread.chance or 0.0) > LIKELY
    kendall, error = tau.kendall or 0.0, tau.error or 0.0
    if _below(tau.chance, SURE if alike else LIKELY):
        return "judge" if kendall >= FIRM else "weak judge"
    if _below(tau.chance, LIKELY):
        return "undecided"
    if alike:
        return "nothing to find"
    if kendall + error >= FIRM:
        return "undecided"
    return "size only" if _below(found.whole_space.loss.chance, LIKELY) else "no judge"


def _below(chance: float | None, bound: float) -> bool:
    return chance is not None and chance <= bound


def _sentences(found: Findings, state: State) -> Iterator[str]:
    equal, space = found.equal_cost, found.whole_space
    yield _OPENING[state]
    floors = ", ".join(f"{name} {_written(tau)}" for name, tau in equal.floors.items())
    yield (
        f"Networks of equal cost ({found.budget}): the supernet's loss orders {equal.networks} trained ones with tau "
        f"{_written(equal.loss)}{_odds(equal.loss)}, its top-1 with {_written(equal.top1)}; {floors}."
    )
    yield (
        f"Over the whole space: loss {_written(space.loss)}{_odds(space.loss)}, top-1 {_written(space.top1)}; "
        f"{', '.join(f'{name} {_written(tau)}' for name, tau in space.floors.items())}."
    )
    yield _ceiling(equal)
    yield (
        f"At equal cost they train to {equal.mean_percent:.2f}% on average and {equal.best_percent:.2f}% at best; the "
        f"one that the supernet puts first to {equal.picked_percent:.2f}%."
    )
    yield _reliability(found.equal_cost_pool)


_OPENING = {
    "judge": "The supernet is a judge: it orders networks of equal cost.",
    "weak judge": "The supernet is a weak judge: it orders networks of equal cost better than chance, but not well.",
    "size only": "The supernet tells large networks from small ones, and does not order networks of equal cost.",
    "no judge": "The supernet is no judge: it orders neither networks of equal cost nor those of the whole space.",
    "nothing to find": "There is nothing to find at this cost: trained networks differ no more than seeds do.",
    "undecided": "It cannot be told yet whether the supernet orders networks of equal cost.",
}


def _ceiling(equal: Judgement) -> str:
    if equal.spread.seeds is None:
        return (
            f"They differ by {equal.spread.networks:.2f} points (standard deviation); with one seed it is not known "
            "what of it is noise."
        )
    bound = "" if equal.attainable is None else f", so that a perfect judge would reach {equal.attainable:.2f}"
    seeds = "" if equal.seeds is None else f"two seeds of the trainings agree with tau {_written(equal.seeds)}{bound}; "
    return (
        f"The ceiling: {seeds}networks differ by {equal.spread.networks:.2f} points (standard deviation, noise taken "
        f"off), seeds of one by {equal.spread.seeds:.2f}{_odds_of(equal.spread.chance)}."
    )


def _reliability(pool: PoolHealth) -> str:
    calibrated = (
        ""
        if pool.calibration is None
        else f"; other calibration images give the same order with {_written(pool.calibration)}"
    )
    whole = "" if pool.loss.whole is None else f", two whole sets would with {pool.loss.whole:.2f}"
    return (
        f"The scores themselves: two halves of the validation images order {pool.networks} networks alike with tau "
        f"{_written(pool.loss.halves)} by loss{whole}, and with {_written(pool.top1.halves)} by top-1{calibrated}."
    )


def _advice(found: Findings, state: State) -> Iterator[str]:
    equal, pool = found.equal_cost, found.equal_cost_pool
    if state == "undecided":
        yield f"Train more networks (--networks {2 * equal.networks}), or longer (--epochs), and ask again."
    if equal.spread.seeds is None:
        yield "Use --seeds 2, to know what of the differences is noise."
    if state == "nothing to find":
        yield (
            "Choose by cost alone, or look where architecture matters: another budget, more classes, a harder task, a "
            "space with larger differences; or longer trainings (--epochs), if these were too short to differ."
        )
        return
    if pool.loss.whole is not None and pool.loss.whole < RELIABLE:
        yield "Use more validation images (data.validation_fraction): other images give another order."
    if pool.calibration is not None and (pool.calibration.kendall or 0.0) < STEADY:
        yield "Raise search.calibration_images: other calibration images give another order."
    if equal.attainable is not None and equal.attainable < FIRM:
        yield "Train longer or with more seeds (--epochs, --seeds): the trainings hardly agree with themselves."
    floor = equal.best_floor
    if floor is not None and (floor[1].kendall or 0.0) > (equal.loss.kendall or 0.0) + (equal.loss.error or 0.0):
        yield f"Mind that {floor[0]} alone orders these networks better than the supernet does."
    if state in ("weak judge", "size only", "no judge"):
        yield (
            "Train the supernet longer or wider (supernet.epochs, the widths of space.stages), and let candidates race "
            "(--race): its first is not the best, but the best may be among its first."
        )
    if state == "judge":
        yield "Follow its order; a race (--race) tells its first candidates apart."
        yield "See what the answers are worth: anybudget worth."


def _written(tau: Tau) -> str:
    """A tau with its error; `none` where there is no order."""
    if tau.kendall is None:
        return "none"
    text = f"{tau.kendall:.2f}".replace("-", "−")
    return text if tau.error is None else f"{text} ± {tau.error:.2f}"


def _odds(tau: Tau) -> str:
    return _odds_of(tau.chance)


def _odds_of(chance: float | None) -> str:
    """How often chance alone does as much."""
    if chance is None:
        return ""
    return f" (by chance: {100 * chance:.2g}%)" if chance >= 1e-3 else " (by chance: below 0.1%)"
