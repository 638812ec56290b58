"""Stops long work on Ctrl-C or SIGTERM: the first asks it to save itself, the second ends it at once."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

log = logging.getLogger(__name__)


class Stopped(BaseException):
    """Work has ended early because it was asked to, and has saved what can be; no error, so no `Exception`."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.exit_code = 128 + number


class StopRequest:
    """Whether the process has been asked to stop, and by which signal."""

    def __init__(self) -> None:
        self.signal: int | None = None

    @property
    def made(self) -> bool:
        """Whether it has."""
        return self.signal is not None

    def check(self) -> None:
        """End the work here if it has been asked for.

        Raises:
            Stopped: it has.
        """
        if self.signal is not None:
            raise Stopped(self.signal)


_current: list[StopRequest] = []
"""The request of the work under way in this process, if any."""


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Within, the first SIGINT or SIGTERM is noted as a request, and a second one raises `Stopped` wherever work is.

    Work within work shares the request. Elsewhere than in the main thread signals cannot be caught: nothing is noted,
    and they do what they always do.
    """
    if _current:
        yield _current[-1]
        return
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def note(number: int, _frame: FrameType | None) -> None:
        if request.made:
            raise Stopped(number)
        request.signal = number
        log.warning("stopping after this step, and saving; once more to stop at once")

    _current.append(request)
    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        _current.clear()
        for number, handler in before.items():
            signal.signal(number, handler)
