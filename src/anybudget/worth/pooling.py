"""Several runs as one: answers, random networks and trainings of other seeds."""

from __future__ import annotations

from collections.abc import Sequence

from anybudget.budgets import Budget, BudgetSet
from anybudget.errors import ConfigError
from anybudget.storage.records import Worth, WorthAtBudget, WorthSummary
from anybudget.worth.summary import Figures, summarise


def pool(records: Sequence[Worth]) -> list[tuple[BudgetSet, WorthSummary]]:
    """What the trained networks of several runs say together, for each budget set that all runs have.

    Answers are averaged, with errors over the runs; random networks are one sample. Runs whose trainings were other
    are no sample of one thing, and are refused.

    Args:
        records: `worth.json` of each run: of one recipe, with other seeds.

    Raises:
        ConfigError: there is no record, two were measured otherwise, or no budget is common to all.

    Example:
        >>> from anybudget.storage.records import read_record
        >>> records = [read_record(path, Worth) for path in paths]  # doctest: +SKIP
        >>> for budgets, summary in pool(records):  # doctest: +SKIP
        ...     print(budgets, summary.difference.percent, summary.equivalent.networks)
    """
    if not records:
        raise ConfigError("no worth.json to pool; make one with: anybudget worth RUN")
    for key in ("metric", "epochs", "random_window"):
        values = list(dict.fromkeys(getattr(record, key) for record in records))
        if len(values) > 1:
            said = " and ".join(map(str, values))
            raise ConfigError(f"{key}: {said} in records that are to be pooled; measure all runs alike")
    if len({len(record.seeds) for record in records}) > 1:
        raise ConfigError("seeds: records that are to be pooled have other numbers of them; measure all runs alike")
    entries = [{budget_set(entry): entry for entry in record.budgets} for record in records]
    common = [budgets for budgets in entries[0] if all(budgets in other for other in entries)]
    if not common:
        raise ConfigError("records that are to be pooled have no budget in common; measure all runs at the same ones")
    return [(budgets, summarise([Figures.of(of_run[budgets].networks) for of_run in entries])) for budgets in common]


def budget_set(entry: WorthAtBudget) -> BudgetSet:
    """The budgets of an entry as a value."""
    return BudgetSet(tuple(Budget(cost, limit) for cost, limit in entry.budgets.items()))
