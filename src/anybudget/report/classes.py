"""What a trained network does class by class: the table of classes, and the confusion matrix or its largest entries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from anybudget.storage.records import ClassAnswers

MOST = 30
"""Up to so many classes the matrix is drawn; of more, the most frequent confusions are listed."""

LISTED = 30
"""Confusions that are listed."""

SHADES = 10
"""Shades of a cell of the matrix."""


def section(classes: Sequence[ClassAnswers]) -> dict[str, Any] | None:
    """What the page shows of the answers to test images; None where a run does not have them.

    `rows` are the classes, those with the lowest recall first, each with the class that it is most often taken for;
    `matrix` is a row of (count, shade from 0) for each class, in the order of the labels, or None where these are many;
    `confusions` are (label, answer, count), the most frequent first.
    """
    if not classes:
        return None
    names = [found.name for found in classes]
    wrong = [
        (found.name, answer, count)
        for found in classes
        for answer, count in found.answers.items()
        if answer != found.name
    ]
    wrong.sort(key=lambda confusion: -confusion[2])
    worst_first = sorted(classes, key=lambda found: 101.0 if found.recall_percent is None else found.recall_percent)
    few = len(classes) <= MOST
    return {
        "names": names,
        "rows": [(found, _mistaken_for(found)) for found in worst_first],
        "matrix": [[_cell(found, name) for name in names] for found in classes] if few else None,
        "confusions": wrong[:LISTED],
        "count": len(wrong),
    }


def _mistaken_for(found: ClassAnswers) -> tuple[str, int] | None:
    """The wrong answer that comes most often, and how often; None where all are right."""
    others = [(count, answer) for answer, count in found.answers.items() if answer != found.name]
    count, answer = max(others, key=lambda pair: pair[0], default=(0, ""))
    return (answer, count) if count else None


def _cell(found: ClassAnswers, answer: str) -> tuple[int, int]:
    count = found.answers.get(answer, 0)
    return count, -(-count * SHADES // found.images) if found.images else 0
