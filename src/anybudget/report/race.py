"""The section on races: the validation loss or top-1 of every network of a race after each of its rounds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from anybudget.report import svg
from anybudget.report.scales import Scale, fit
from anybudget.report.words import limits
from anybudget.storage.records import Answer, RaceNetwork, RaceResult, RaceRound

_WIDTH, _HEIGHT = 460.0, 280.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 54.0, 400.0, 34.0, 230.0


def section(latest: Sequence[Answer]) -> list[dict[str, Any]]:
    """What the page shows of the race of each latest answer; nothing for those that no network raced for."""
    return [
        {
            "budgets": answer.budgets,
            "race": answer.race,
            "picture": _draw(answer.race, f"race-{index}", f"Race for {limits(answer.budgets)}"),
            "rows": [_row(place, network) for place, network in enumerate(answer.race.networks, start=1)],
            "rounds": max(len(network.rounds) for network in answer.race.networks),
        }
        for index, answer in enumerate(latest, start=1)
        if answer.race is not None
    ]


def _row(place: int, network: RaceNetwork) -> dict[str, Any]:
    return {
        "place": place,
        "id": network.architecture.short_id,
        "supernet_place": network.supernet_place,
        "losses": [done.validation_loss for done in network.rounds],
        "top1_percent": network.rounds[-1].validation_top1_percent,
    }


def _draw(race: RaceResult, slug: str, title: str) -> Markup:
    """A line for each network, as long as it stayed in the race; that of the winner is drawn last, and thick."""
    by_loss = race.by == "loss"
    quantity = "Validation loss (nats)" if by_loss else "Validation top-1 (%)"

    def figure(done: RaceRound) -> float:
        return done.validation_loss if by_loss else done.validation_top1_percent

    numbers = [range(1, len(network.rounds) + 1) for network in race.networks]
    x = fit((n for rounds in numbers for n in rounds), (_LEFT, _RIGHT), ticks=7, whole=True, padding=0.04)
    values = [[figure(done) for done in network.rounds] for network in race.networks]
    bounds = (0.0, float("inf")) if by_loss else (0.0, 100.0)
    y = fit((v for of in values for v in of), (_BOTTOM, _TOP), ticks=5, padding=0.05, bounds=bounds)
    winner, *others = zip(race.networks, values, strict=True)
    last = winner[1][-1]
    return svg.picture(
        slug,
        _WIDTH,
        _HEIGHT,
        title,
        f"{quantity} of {len(race.networks)} networks by round; the winner ends at {last:.4g}, and was number "
        f"{winner[0].supernet_place} of the supernet. The table below has the same numbers.",
        svg.axes(x, y, "round", quantity),
        *(_line(x, y, network, of, "rival") for network, of in reversed(others)),
        _line(x, y, *winner, "curve"),
        svg.text(x(len(winner[1])) + 8, y(last) + 4, f"{last:.4g}", "end-label"),
    )


def _line(x: Scale, y: Scale, network: RaceNetwork, values: Sequence[float], class_: str) -> Markup:
    spots = [(x(number), y(value)) for number, value in enumerate(values, start=1)]
    said = f"{network.architecture.short_id}, number {network.supernet_place} of the supernet"
    dots = (
        svg.dot(*spot, 2.8, f"{class_}-dot", f"{said}, round {number}: {value:.4g}")
        for number, (spot, value) in enumerate(zip(spots, values, strict=True), start=1)
    )
    return svg.join([svg.polyline(spots, class_), *dots])
