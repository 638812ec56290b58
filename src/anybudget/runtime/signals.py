"""Stops long work on Ctrl-C or SIGTERM: the first asks it to save itself, the second ends it at once."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

log = logging.getLogger(__name__)

STOPPING = (signal.SIGINT, signal.SIGTERM)
"""The signals that ask work to stop."""


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


def current_request() -> StopRequest:
    """The request of the work under way in this process; one that is never made if there is none."""
    return _current[-1] if _current else StopRequest()


def obey_parent() -> None:
    """In a process that was forked within `signals_held`: SIGTERM asks its work to stop, however often it comes.

    It ends a process that has no work. Ctrl-C reaches all processes of a terminal, and is the parent's to hear.
    """
    request = current_request()

    def note(number: int, _frame: FrameType | None) -> None:
        request.signal = number

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, note if _current else signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)


@contextmanager
def signals_held() -> Iterator[None]:
    """Within, signals that stop work wait for the end of this: a fork must not meet one before it knows what to do."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


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
    before = {number: signal.signal(number, note) for number in STOPPING}
    try:
        yield request
    finally:
        _current.clear()
        for number, handler in before.items():
            signal.signal(number, handler)
