"""How costs, times and percentages are written for people."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from anybudget.budgets import format_quantity
from anybudget.costs import unit_of
from anybudget.evaluation.metrics import title
from anybudget.report.contents import STAGES
from anybudget.report.scales import SUFFIXES
from anybudget.storage.records import TriedStart


def figure(value: float) -> str:
    """An amount for a column of a table: four significant digits, zeros kept so that the points stand in line."""
    rounded = float(f"{value:.4g}")  # first, or 999960 would be 1000k
    size, suffix = next(((size, name) for size, name in SUFFIXES if abs(rounded) >= size), (1.0, ""))
    return f"{rounded / size:#.4g}".rstrip(".") + suffix


def cost_value(cost: str, value: float) -> str:
    """An amount with its unit: `1.99M MACs`."""
    return f"{format_quantity(value)} {unit_of(cost)}"


def start(tried: TriedStart) -> str:
    """Why a retraining started from the weights that it did, where a trial decided that."""
    epochs = f"{tried.epochs} epoch{'' if tried.epochs == 1 else 's'}"
    return (
        f"{title(tried.metric)} of validation images {tried.new:.2f}% with new weights after a trial of {epochs}, "
        f"{tried.inherited:.2f}% with inherited ones as they are"
    )


def limits(budgets: Mapping[str, float]) -> str:
    """A budget set: `≤ 2M MACs and ≤ 100k parameters`."""
    return " and ".join(f"≤ {cost_value(cost, limit)}" for cost, limit in budgets.items())


def signed(value: float, decimals: int = 2) -> str:
    """A number that always shows its sign, with a true minus; what rounds to 0 has none."""
    text = f"{value:+.{decimals}f}"
    return text[1:] if float(text) == 0 else text.replace("-", "−")


def duration(seconds: float) -> str:
    """A time in the two largest units that matter: `2 min 31 s`."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def moment(text: str) -> str:
    """An ISO 8601 time in UTC to the minute; any other text as it is."""
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return text
    if when.tzinfo is None:
        return f"{when:%Y-%m-%d %H:%M}"
    try:
        return f"{when.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    except OverflowError:  # year 1 or 9999, shifted out of the calendar
        return text


def stage_name(stage: str) -> str:
    """A stage's name for people; an unknown one as it is."""
    return STAGES.get(stage, stage)
