"""Answers in the run folder: the architectures that were found for budget sets, line by line."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from anybudget.architecture import Architecture
from anybudget.budgets import BudgetSet
from anybudget.errors import ArchitectureError, RunError
from anybudget.runs.context import RunContext
from anybudget.search.base import Candidate
from anybudget.storage.records import Answer, checked, read_records

ANSWERS = "candidates.jsonl"
"""The run's own answers: those of the strategy that `search.strategy` names."""

MEND_LINE = "mend or remove that line"

Answers = list[tuple[BudgetSet, Answer]]
"""Budget sets in the order they were answered, and what was found."""


def read_answers(run: RunContext, name: str = ANSWERS) -> Answers:
    """The budgets of every line of a file of answers, and what was found for them.

    Raises:
        RunError: a line is damaged, or its architecture is not one of the run's space.
    """
    path = run.folder.path / name
    found = list(read_records(path, Answer, MEND_LINE))
    for number, answer in enumerate(found, start=1):
        own(run, answer.architecture, f"{path}, line {number}", MEND_LINE)
    return [(answer.budget_set, answer) for answer in found]


def append_answers(run: RunContext, candidates: Sequence[Candidate], answered: Answers, name: str = ANSWERS) -> None:
    """Add answers to a file of answers; what is there is kept, and the last answer to a budget set counts.

    The last answer, found again, was written just before a kill, or by the same question asked twice.
    """
    last = {budgets: _said(answer) for budgets, answer in answered}
    now = datetime.now(UTC).isoformat(timespec="seconds")
    found = [
        checked({**c.to_dict(), "layers": run.space.describe(c.architecture), "answered": now}, Answer, name)
        for c in candidates
    ]
    run.folder.append_lines(name, [a.to_json() for a in found if last.get(a.budget_set) != _said(a)])


def _said(answer: Answer) -> tuple[object, ...]:
    """What makes an answer another than the last one."""
    return answer.architecture, answer.race and answer.race.outcome


def own(run: RunContext, architecture: Architecture, where: str, way_out: str) -> Architecture:
    """An architecture from a file, which has to be one of the run's space.

    Raises:
        RunError: it is not; the message begins with `where` and ends with `way_out`.
    """
    try:
        run.space.validate(architecture)
    except ArchitectureError as error:
        raise RunError(f"{where}: {error}; {way_out}") from None
    return architecture
