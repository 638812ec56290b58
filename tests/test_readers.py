"""The processes that read images: they are replaced when killed, and what cannot be read is named."""

from __future__ import annotations

import errno
import os
import signal
import time
from pathlib import Path

import pytest
import torch

from anybudget.data import stored
from anybudget.data.images import UndecodableError
from anybudget.data.readers import Readers, Wanted
from anybudget.errors import DataError


class Slow(stored.StoredImages):
    """Numbered images; some of which do something else first."""

    shape = (1, 1, 1)

    def __init__(self, count: int = 24) -> None:
        self.labels = torch.zeros(count, dtype=torch.int64)

    def where(self, index: int) -> str:
        return f"number {index}"

    def prepared(self, index: int) -> torch.Tensor:
        self.before(index)
        return torch.full(self.shape, index, dtype=torch.uint8)

    def before(self, index: int) -> None:
        """What happens first."""


def read(readers: Readers, count: int = 24) -> list[int]:
    parts = torch.arange(count).split(4)
    return torch.cat(list(readers.read(map(Wanted, parts)))).flatten().tolist()


def test_readers_that_are_killed_are_replaced(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    killed = tmp_path / "killed"

    class Waiting(Slow):
        def before(self, index: int) -> None:
            while index >= 12 and not killed.exists():  # so that readers cannot be done before they are killed
                time.sleep(0.01)

    readers = Readers(Waiting(), 2)
    coming = readers.read(map(Wanted, torch.arange(24).split(4)))
    found = [next(coming)]
    for reader in list(readers._readers):
        os.kill(reader.process.pid, signal.SIGKILL)
    killed.touch()
    assert torch.cat([*found, *coming]).flatten().tolist() == list(range(24))
    assert "has died" in caplog.text
    assert read(readers) == list(range(24))


def test_an_image_that_kills_its_readers_is_named() -> None:
    class Deadly(Slow):
        def before(self, index: int) -> None:
            if index == 13:
                os.kill(os.getpid(), signal.SIGKILL)

    readers = Readers(Deadly(), 2)
    with pytest.raises(DataError, match=r"while reading number 13, the last of 3: .*goes on from what was saved"):
        read(readers)
    assert not readers._readers


def test_an_image_that_never_comes_is_named(caplog: pytest.LogCaptureFixture) -> None:
    class Stuck(Slow):
        def before(self, index: int) -> None:
            if index == 5:
                time.sleep(60)

    readers = Readers(Stuck(), 2, patience=2.0)
    started = time.monotonic()
    with pytest.raises(DataError, match=r"number 5: has been read for . s without an end: its disk or network"):
        read(readers)
    assert time.monotonic() - started < 30
    assert "number 5: has been read for" in caplog.text


@pytest.mark.parametrize("count", [0, 2])
def test_what_may_pass_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, count: int
) -> None:
    class Flaky(Slow):
        def before(self, index: int) -> None:
            tried = tmp_path / str(index)
            if index % 5 == 0 and len(list(tmp_path.glob(f"{index}-*"))) < 2:
                (tmp_path / f"{index}-{time.monotonic_ns()}").touch()
                raise UndecodableError(tried, OSError(errno.EIO, "Input/output error"))

    monkeypatch.setattr(stored, "PAUSES", (0.01, 0.01, 0.01))
    assert read(Readers(Flaky(), count)) == list(range(24))
    assert "Input/output error); tried again" in caplog.text
    monkeypatch.setattr(stored, "PAUSES", (0.01,))
    for file in tmp_path.iterdir():
        file.unlink()
    with pytest.raises(DataError, match="Input/output error"):
        read(Readers(Flaky(), count))


@pytest.mark.parametrize("count", [0, 2])
def test_a_mistake_in_reading_is_no_mistake_of_the_user_s(count: int) -> None:
    class Wrong(Slow):
        def before(self, index: int) -> None:
            if index == 9:
                raise KeyError("nine")

    with pytest.raises(KeyError, match="nine"):
        read(Readers(Wrong(), count))


def test_readers_end_with_the_source() -> None:
    readers = Readers(Slow(), 3)
    read(readers)
    processes = [reader.process for reader in readers._readers]
    assert all(process.is_alive() for process in processes)
    del readers
    assert not any(process.is_alive() for process in processes)
