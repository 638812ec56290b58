"""Reading in this process by threads that are watched, so that a stalled disk is noticed: `read_watched`."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence

from anybudget.errors import DataError

log = logging.getLogger(__name__)

BEAT = 1.0
"""Seconds between two looks at threads that are still reading."""

MOST_THREADS = 32


class Patience:
    """How long one image may take: what takes a tenth of that is said, once.

    Args:
        seconds: the patience.
        where: what an image is called.
    """

    def __init__(self, seconds: float, where: Callable[[int], str]) -> None:
        self.seconds, self._where = seconds, where
        self._said: set[int] = set()

    def look(self, index: int, since: float) -> None:
        """Look at an image that has been read for `since` seconds.

        Raises:
            DataError: it has taken longer than the patience.
        """
        if since > self.seconds:
            raise DataError(
                f"{self._where(index)}: has been read for {since:.0f} s without an end: its disk or network does not "
                "answer; when it does, give the same command again, and it goes on from what was saved"
            )
        if since > self.seconds / 10 and index not in self._said:
            self._said.add(index)
            log.warning("%s: has been read for %.0f s; given up after %.0f s", self._where(index), since, self.seconds)


def read_watched(read: Callable[[int], None], indices: Sequence[int], patience: Patience, *, alone: bool) -> None:
    """Read images, several at once.

    Args:
        read: reads the image at a place of `indices`.
        indices: of the images, for messages.
        patience: how long one may take.
        alone: whether one thread reads all of them in turn.

    Raises:
        DataError: one takes too long. Its thread is left to its disk, and reads no other one.
        Exception: what `read` raises, for the first place.
    """
    if not indices:
        return
    team = _Team(read, len(indices))
    threads = 1 if alone else min(MOST_THREADS, (os.cpu_count() or 1) + 4, len(indices))
    for _ in range(threads):
        threading.Thread(target=team.work, daemon=True).start()  # one that hangs must not keep the process
    try:
        while not team.done.wait(BEAT if patience.seconds > 10 * BEAT else patience.seconds / 10):
            now = time.monotonic()
            for place, since in team.at():
                patience.look(indices[place], now - since)
    finally:
        team.ended = True
    if team.errors:
        raise team.errors[min(team.errors)]


class _Team:
    """Places that are shared out among threads, and where each of these is."""

    def __init__(self, read: Callable[[int], None], count: int) -> None:
        self._read, self._left, self._unread = read, iter(range(count)), count
        self._lock, self._at = threading.Lock(), dict[int, float]()
        self.done, self.ended, self.errors = threading.Event(), False, dict[int, BaseException]()

    def at(self) -> list[tuple[int, float]]:
        """The places that are being read, and since when."""
        with self._lock:
            return list(self._at.items())

    def work(self) -> None:
        """Read one place after the other, until there is none or somebody has failed."""
        while not self.ended:
            with self._lock:
                place = next(self._left, None)
                if place is None:
                    return
                self._at[place] = time.monotonic()
            try:
                self._read(place)
            except BaseException as error:
                self.errors[place], self.ended = error, True
            with self._lock:
                del self._at[place]
                self._unread -= 1
                if not self._unread or (self.ended and not self._at):
                    self.done.set()
