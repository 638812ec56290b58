"""Which class is taken for which: the confusion matrix, and what it says of every class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Confusion:
    """Answers counted by class and answer: `counts[label, answer]`, int64 `[C, C]`.

    Example:
        >>> confusion = Confusion.empty(2)
        >>> confusion.add(np.array([0, 0, 1]), np.array([0, 1, 1]))
        >>> confusion.by_class(["cat", "dog"])[0]["answers"]
        {'cat': 1, 'dog': 1}
    """

    counts: NDArray[np.int64]

    @classmethod
    def empty(cls, classes: int) -> Self:
        """Nothing answered yet."""
        return cls(np.zeros((classes, classes), dtype=np.int64))

    def add(self, labels: NDArray[np.int64], answers: NDArray[np.int64]) -> None:
        """Count the answers to images with these labels, both `[N]`."""
        np.add.at(self.counts, (labels, answers), 1)

    def by_class(self, class_names: Sequence[str]) -> list[dict[str, Any]]:
        """Of every class, as records have it: its images, recall and precision, and its answers, the most first.

        The recall is the share of its images that are answered with it, None where it has none; the precision the share
        of answers with it that are right, None where there are none. Answers that were not given are left out.
        """
        right, given = self.counts.diagonal(), self.counts.sum(0)
        return [
            {
                "name": name,
                "images": int(row.sum()),
                "recall_percent": _percent(right[label], row.sum()),
                "precision_percent": _percent(right[label], given[label]),
                "answers": {class_names[answer]: int(row[answer]) for answer in _most_first(row)},
            }
            for label, (name, row) in enumerate(zip(class_names, self.counts, strict=True))
        ]


def _most_first(row: NDArray[np.int64]) -> list[int]:
    """The places of what is above 0, the most first."""
    return [int(place) for place in np.argsort(-row, kind="stable") if row[place]]


def _percent(part: int, whole: int) -> float | None:
    return 100.0 * int(part) / int(whole) if whole else None
