"""The section on the supernet as a judge: what it comes to, and the trained networks over the supernet's loss."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from anybudget.report import svg
from anybudget.report.scales import Scale, fit
from anybudget.report.words import limits
from anybudget.storage.records import Health, OrderHealth, TauOf

_WIDTH, _HEIGHT = 460.0, 340.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 54.0, 440.0, 34.0, 290.0


def section(health: Health | None) -> dict[str, Any] | None:
    """What the page shows of the supernet's health; None where it has not been looked at."""
    if health is None:
        return None
    equal, whole = health.equal_cost, health.whole_space
    titles = [f"Networks of equal cost, {limits(equal.budgets)}", "Networks of the whole space"]
    pictures = [
        _draw(order, title, number) for number, (order, title) in enumerate(zip((equal, whole), titles, strict=True))
    ]
    return {
        "verdict": health.verdict,
        "epochs": health.epochs,
        "seeds": health.seeds,
        "pictures": list(zip(titles, pictures, strict=True)),
        "rows": [(name, (_tau(one), _tau(other))) for name, one, other in _rows(equal, whole)],
    }


def _rows(equal: OrderHealth, whole: OrderHealth) -> list[tuple[str, TauOf | None, TauOf | None]]:
    one, other = equal.judgement, whole.judgement
    return [
        ("supernet loss", one.loss, other.loss),
        ("supernet top-1", one.top1, other.top1),
        *((name, tau, other.floors.get(name)) for name, tau in one.floors.items()),
        ("another seed of the trainings", one.seeds, other.seeds),
    ]


def _tau(tau: TauOf | None) -> str:
    if tau is None or tau.kendall is None:
        return "–"
    error = "" if tau.error is None else f" ± {tau.error:.2f}"
    return f"{tau.kendall:.2f}{error}".replace("-", "−")


def _draw(order: OrderHealth, title: str, number: int) -> Markup:
    """Test top-1 of trained networks over their supernet loss, with a line over their seeds."""
    losses = [network.supernet_loss for network in order.networks]
    top1 = [network.test_top1_percent for network in order.networks]
    x = fit(losses, (_LEFT, _RIGHT), padding=0.06)
    y = fit((value for row in top1 for value in row), (_BOTTOM, _TOP), padding=0.05, widen=True, bounds=(0, 100))
    return svg.picture(
        f"health-{number}",
        _WIDTH,
        _HEIGHT,
        title,
        f"{len(losses)} networks; tau of the loss {_tau(order.judgement.loss)}. The table below has the taus.",
        svg.axes(x, y, "supernet loss on validation data (nats)", "test top-1, trained alone (%)"),
        *(_network(x, y, loss, row) for loss, row in zip(losses, top1, strict=True)),
    )


def _network(x: Scale, y: Scale, loss: float, top1: tuple[float, ...]) -> Markup:
    mean = sum(top1) / len(top1)
    tooltip = f"loss {loss:.4f}, test top-1 {', '.join(f'{value:.2f}' for value in top1)} %"
    return svg.join(
        [
            svg.line(x(loss), y(min(top1)), x(loss), y(max(top1)), "whisker"),
            svg.dot(x(loss), y(mean), 5, "generated", tooltip),
        ]
    )
