"""How much of a training's time goes into waiting for images: `Waits`, and what to do where that is much."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

log = logging.getLogger(__name__)

T = TypeVar("T")

WAITING = "waiting_seconds"
"""The column of an epoch's row: seconds that it waited for images, reading and augmentation that it did itself too."""

SHOWN, LONG = 0.05, 0.2
"""Shares of the time from which waiting is shown in progress, and from which it is said what to do."""

SHORT = 30.0
"""Seconds of waiting that nobody needs to do anything about."""


class Waits:
    """Seconds that an epoch has waited for its batches, and their share of the time.

    Args:
        seconds: of this epoch before it was resumed.

    Example:
        >>> waits = Waits()
        >>> list(waits.watched(iter("ab"))), waits.seconds >= 0
        (['a', 'b'], True)
    """

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self._waited, self._began = 0.0, time.perf_counter()

    def watched(self, coming: Iterator[T]) -> Iterator[T]:
        """The same, with the time that each takes to come counted."""
        while True:
            started = time.perf_counter()
            found = next(coming, None)
            waited = time.perf_counter() - started
            self._waited += waited
            self.seconds += waited
            if found is None:
                return
            yield found

    def __str__(self) -> str:
        """The share since the epoch was begun or resumed, for progress; empty where it is small."""
        share = self._waited / max(1e-9, time.perf_counter() - self._began)
        return f", {100 * share:.0f}% waiting for images" if share >= SHOWN else ""


def say_if_long(name: str, rows: Sequence[Mapping[str, float]]) -> None:
    """Say what to do where much of a training, by the rows of its epochs, went into waiting for images."""
    waited, seconds = (sum(row[column] for row in rows) for column in (WAITING, "seconds"))
    if waited < max(SHORT, LONG * seconds):
        return
    log.warning(
        "%s: %.0f%% of its time went into waiting for images; more data.readers help where cores are free, and smaller "
        "stored images (anybudget data pack FOLDER OUT --side PIXELS) where none are",
        name,
        100 * waited / seconds,
    )
