"""`Measured`: an architecture under budgets, as files of a run folder write it."""

from __future__ import annotations

from dataclasses import dataclass

from anybudget.architecture import Architecture
from anybudget.errors import RunError
from anybudget.storage.records import Record


@dataclass(frozen=True, slots=True)
class Measured:
    """An architecture under budgets, its exact costs, and its validation accuracy with the supernet's weights."""

    budgets: dict[str, float]
    architecture: Architecture
    costs: dict[str, float]
    supernet_top1_percent: float
    supernet_balanced_accuracy_percent: float | None

    @property
    def within(self) -> bool:
        """Whether every budget is met, with no tolerance."""
        return all(self.costs[cost] <= limit for cost, limit in self.budgets.items())


def read_measured(record: Record) -> Measured:
    """The architecture that `record` describes."""
    budgets, costs = budgets_and_costs(record)
    return Measured(
        budgets,
        record.architecture("architecture"),
        costs,
        record.number("supernet_top1_percent"),
        record.later_number("supernet_balanced_accuracy_percent"),
    )


def budgets_and_costs(record: Record) -> tuple[dict[str, float], dict[str, float]]:
    """The budgets of `record`, and its costs, which cover them all."""
    budgets, costs = limits_of(record.record("budgets"), record.where), record.record("costs")
    for cost in budgets:
        costs.number(cost)
    return budgets, record.numbers("costs")


def limits_of(record: Record, where: str) -> dict[str, float]:
    """The limits of one budget set: at least one, all above 0; `where` begins the complaint."""
    budgets = {cost: record.number(cost) for cost in record.values}
    if not budgets:
        raise RunError(f'{where}: "budgets" must hold at least one budget')
    for cost, limit in budgets.items():
        if limit <= 0:
            raise RunError(f'{where}: the budget "{cost}" must be above 0, found {limit:g}')
    return budgets
