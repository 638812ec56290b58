"""The figures a report is about: what was asked, what was delivered, and how it compares with random."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from anybudget.budgets import least_unused_percent
from anybudget.report.contents import RunContents
from anybudget.storage.records import Answer, Measured


@dataclass(frozen=True, slots=True)
class RandomSummary:
    """Top-1, in percent, of the random architectures drawn at one budget set."""

    best: float
    mean: float
    worst: float
    count: int


@dataclass(frozen=True, slots=True)
class BudgetRow:
    """One budget set: its latest answer, and the random architectures drawn at it."""

    budgets: dict[str, float]
    answer: Answer | None
    random: tuple[Measured, ...]

    @property
    def baseline(self) -> RandomSummary | None:
        """Summary of `random`; None where none was drawn."""
        scores = [measured.supernet_top1_percent for measured in self.random]
        return RandomSummary(max(scores), fmean(scores), min(scores), len(scores)) if scores else None


@dataclass(frozen=True, slots=True)
class BudgetGroup:
    """The budget sets that limit the same costs, ascending by limit: what can share one picture."""

    costs: tuple[str, ...]
    rows: tuple[BudgetRow, ...]


@dataclass(frozen=True, slots=True)
class Headline:
    """The key figures.

    Gains are in points of top-1, averaged over the budget sets that have a random baseline; `mean_unused_percent` is
    the mean of `least_unused_percent`, the unused share of the tightest budget of each set.
    """

    budget_sets: int
    answers: int
    violations: int
    random_violations: int
    mean_unused_percent: float | None
    gain_over_mean: float | None
    gain_over_best: float | None
    compared: int


def group_budgets(contents: RunContents) -> tuple[BudgetGroup, ...]:
    """All budget sets asked or drawn at, grouped by the costs they limit; the last answer to each one counts."""
    budgets: dict[frozenset[tuple[str, float]], dict[str, float]] = {}
    answers: dict[frozenset[tuple[str, float]], Answer] = {}
    random: dict[frozenset[tuple[str, float]], list[Measured]] = {}
    for answer in contents.answers:
        answers[_key(answer)] = answer
        budgets.setdefault(_key(answer), answer.budgets)
    for measured in contents.random:
        random.setdefault(_key(measured), []).append(measured)
        budgets.setdefault(_key(measured), measured.budgets)
    rows = [BudgetRow(budgets[key], answers.get(key), tuple(random.get(key, ()))) for key in budgets]
    groups: dict[tuple[str, ...], list[BudgetRow]] = {}
    for row in rows:
        groups.setdefault(_group_of(row, groups), []).append(row)
    return tuple(BudgetGroup(costs, _ascending(costs, members)) for costs, members in groups.items())


def summarise(contents: RunContents, groups: Sequence[BudgetGroup]) -> Headline:
    """The key figures. Violations count every answer on file, superseded ones too: none may be over its budget."""
    answered = [(row, row.answer) for group in groups for row in group.rows if row.answer is not None]
    gains = [
        (answer.supernet_top1_percent - row.baseline.mean, answer.supernet_top1_percent - row.baseline.best)
        for row, answer in answered
        if row.baseline is not None
    ]
    return Headline(
        budget_sets=len(answered),
        answers=len(contents.answers),
        violations=sum(not answer.within for answer in contents.answers),
        random_violations=sum(not measured.within for measured in contents.random),
        mean_unused_percent=_mean(least_unused_percent(a.budgets, a.costs) for _, a in answered),
        gain_over_mean=_mean(over_mean for over_mean, _ in gains),
        gain_over_best=_mean(over_best for _, over_best in gains),
        compared=len(gains),
    )


def _key(measured: Measured) -> frozenset[tuple[str, float]]:
    return frozenset(measured.budgets.items())


def _group_of(row: BudgetRow, groups: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    """The group that limits the same costs, in whatever order they were written."""
    same = [costs for costs in groups if set(costs) == set(row.budgets)]
    return same[0] if same else tuple(row.budgets)


def _ascending(costs: Sequence[str], rows: Iterable[BudgetRow]) -> tuple[BudgetRow, ...]:
    return tuple(sorted(rows, key=lambda row: [row.budgets[cost] for cost in costs]))


def _mean(values: Iterable[float]) -> float | None:
    listed = list(values)
    return fmean(listed) if listed else None
