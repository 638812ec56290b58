"""`Comparison`: what `compare.json` says of strategies that answered the same budget sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from anybudget.errors import RunError
from anybudget.report.measured import Measured, limits_of, read_measured
from anybudget.storage.records import Record, read_json


@dataclass(frozen=True, slots=True)
class Spent:
    """What was spent: architectures evaluated, images forwarded, and time."""

    evaluations: float
    images: float
    seconds: float


@dataclass(frozen=True, slots=True)
class StrategyResult:
    """One strategy: a candidate per budget set, what was `spent` (of it in `training`), and the top-1 of all evaluated.

    `evaluated` is in percent and in order, over all budget sets; `hypervolume` is a share from 0 to 1.
    """

    name: str
    candidates: tuple[Measured, ...]
    hypervolume: float
    spent: Spent
    training: Spent
    evaluated: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Strategies on the same budget sets.

    `cost` orders the budget sets; `min_use` is the least share of each that candidates had to use, None where the file
    does not say; the reference is the hypervolume's.
    """

    budgets: tuple[dict[str, float], ...]
    cost: str
    min_use: float | None
    reference_cost: float
    reference_top1_percent: float
    strategies: tuple[StrategyResult, ...]


def read_comparison(path: Path) -> Comparison | None:
    """The content of `compare.json`; None where there is no such file.

    Raises:
        RunError: the file is damaged.
    """
    record = read_json(path)
    if record is None:
        return None
    budgets = tuple(limits_of(item, item.where) for item in record.records("budgets"))
    reference = record.record("reference")
    return Comparison(
        budgets,
        record.text("cost"),
        record.later_number("min_use"),
        reference.number("cost"),
        reference.number("top1_percent"),
        tuple(_strategy(item, budgets) for item in record.records("strategies")),
    )


def _strategy(record: Record, budgets: Sequence[dict[str, float]]) -> StrategyResult:
    return StrategyResult(
        record.text("name"),
        _candidates(record, budgets),
        record.number("hypervolume"),
        _spent(record.record("spent")),
        _spent(record.record("training")),
        tuple(item.number("top1_percent") for item in record.records("evaluated")),
    )


def _candidates(record: Record, budgets: Sequence[dict[str, float]]) -> tuple[Measured, ...]:
    items = record.records("candidates")
    if len(items) != len(budgets):
        raise RunError(
            f'{record.where}: "candidates" must hold one for each of {len(budgets)} budget sets, found {len(items)}'
        )
    candidates = tuple(read_measured(item) for item in items)
    for number, (item, candidate, limits) in enumerate(zip(items, candidates, budgets, strict=True), start=1):
        if candidate.budgets != limits:
            raise RunError(f'{item.where}: "budgets" must be those of budget set {number} of the file')
    return candidates


def _spent(record: Record) -> Spent:
    spent = {name: record.number(name) for name in ("evaluations", "images", "seconds")}
    for name, amount in spent.items():
        if amount < 0:
            raise RunError(f'{record.where}: "{name}" must not be negative, found {amount:g}')
    return Spent(**spent)
