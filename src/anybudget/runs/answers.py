"""Answers in the run folder: the architectures that were found for budget sets, line by line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from anybudget.architecture import Architecture
from anybudget.budgets import Budget, BudgetSet
from anybudget.errors import ArchitectureError, RunError
from anybudget.report.measured import limits_of
from anybudget.runs.context import RunContext
from anybudget.search.base import Candidate
from anybudget.storage.records import Record

ANSWERS = "candidates.jsonl"
"""What the generator has answered."""

Answers = list[tuple[BudgetSet, Architecture]]
"""Budget sets in the order they were answered, and what was found."""


@contextmanager
def with_hint(way_out: str) -> Iterator[None]:
    """Within, a message on a damaged file ends with what to do about it."""
    try:
        yield
    except RunError as error:
        raise RunError(f"{error}; {way_out}") from None


def read_answers(run: RunContext, name: str = ANSWERS) -> Answers:
    """The budgets of every line of a file of answers, and the architecture that was found for them.

    Raises:
        RunError: a line is damaged, or its architecture is not one of the run's space.
    """
    rows = enumerate(run.folder.read_lines(name), start=1)
    records = [Record(f"{run.folder.path / name}, line {number}", row) for number, row in rows]
    with with_hint("mend or remove that line"):
        return [(_budgets(record), architecture_of(run, record)) for record in records]


def append_answers(run: RunContext, candidates: Sequence[Candidate], answered: Answers, name: str = ANSWERS) -> None:
    """Add answers to a file of answers; what is there is kept, and the last answer to a budget set counts.

    The last answer, found again, was written just before a kill, or by the same question asked twice.
    """
    last = dict(answered)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    run.folder.append_lines(
        name,
        [
            {**c.to_dict(), "layers": run.space.describe(c.architecture), "answered": now}
            for c in candidates
            if last.get(c.budgets) != c.architecture
        ],
    )


def architecture_of(run: RunContext, record: Record) -> Architecture:
    """The architecture of a record, which has to be one of the run's space."""
    found = record.architecture("architecture")
    try:
        run.space.validate(found)
    except ArchitectureError as error:
        raise RunError(f"{record.where}: {error}") from None
    return found


def read_object(run: RunContext, path: Path) -> Record:
    """The object in a JSON file of the run folder."""
    return Record(str(path), run.folder.read_json(path.relative_to(run.folder.path).as_posix()))


def _budgets(record: Record) -> BudgetSet:
    """The budget set of an answer."""
    limits = limits_of(record.record("budgets"), record.where)
    return BudgetSet(tuple(Budget(cost, limit) for cost, limit in limits.items()))
