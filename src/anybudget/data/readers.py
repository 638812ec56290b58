"""Processes that read and decode images ahead of whoever wants them: `Readers`.

Each is forked once and reads until its parent lets go. Images are written into memory that is shared with the parent,
so that nothing but indices and answers is sent. Unlike the workers of torch's `DataLoader`, one that dies is replaced
and what it had been asked for is read again, and no signal is raised in the midst of a step: errors come where images
are asked for, between two steps, when a training can be saved. Shared memory is no file in /dev/shm, which containers
keep small.
"""

from __future__ import annotations

import logging
import mmap
import os
import sys
import time
import warnings
import weakref
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import current_process, get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anybudget.data.augmentation import ImageAugmentation
from anybudget.data.random import Keys
from anybudget.data.reader_process import Bytes, Read, Request, read_on
from anybudget.data.stored import StoredImages
from anybudget.errors import DataError
from anybudget.runtime.signals import signals_held

log = logging.getLogger(__name__)

SLOT_BYTES, SLOT_IMAGES = 4 * 2**20, 256
"""The most that is asked of a reader at once."""

AHEAD_BYTES = 2**29
"""The most shared memory; two batches are read ahead where they fit."""

DEATHS, ALL_DEATHS = 3, 10
"""How many readers may die over one image, and in all."""

PATIENCE = 300.0
"""Seconds after which an image that is still being read is given up."""

BEAT = 1.0
"""Seconds between two looks at readers that say nothing."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Images that are wanted together: indices int64 [n] and, where they are augmented, how and keys uint64 [n]."""

    indices: Tensor
    augmentation: ImageAugmentation | None = None
    keys: Keys | None = None


class Readers:
    """Reads images ahead by processes of their own; see the module.

    Images are the same, to the last bit, with any number of readers. There are none, and images are read by this
    process when they are wanted, where `count` is 0, elsewhere than on Linux, in a process that is a worker itself, and
    while others are being read ahead.

    Args:
        images: all of a data set.
        count: of processes.
        patience: seconds that one image may take.

    Example:
        >>> from anybudget.data.stored import ArrayImages
        >>> stored = ArrayImages([(torch.arange(5, dtype=torch.uint8).view(5, 1, 1, 1), torch.zeros(5).long())], None)
        >>> readers = Readers(stored, count=2)
        >>> [images.flatten().tolist() for images in readers.read(map(Wanted, torch.arange(5).split(2)))]
        [[0, 1], [2, 3], [4]]
    """

    def __init__(self, images: StoredImages, count: int, patience: float = PATIENCE) -> None:
        self.images, self.count, self.patience = images, count, patience
        self._bytes = int(np.prod(images.shape))
        self._capacity = max(1, min(SLOT_IMAGES, SLOT_BYTES // self._bytes))
        self._pid, self._reading = os.getpid(), False
        self._readers: list[_Reader] = []
        self._slots: Bytes = np.empty((0, 0), np.uint8)
        self._positions: NDArray[np.float64] = np.empty((0, 2))
        self._free: list[int] = []
        self._pieces: dict[int, _Piece] = {}
        self._tickets = 0
        self._deaths = Counter[int]()
        self._said: set[int] = set()
        weakref.finalize(self, _end, self._readers, self._pid)

    def read(self, wanted: Iterable[Wanted]) -> Iterator[Tensor]:
        """The images of each, in turn: contiguous uint8 [n, C, H, W].

        Whoever stops asking early lets what has been read ahead go.

        Raises:
            DataError: an image cannot be read, takes longer than the patience, or kills whoever reads it; names it.
        """
        alone = not self.count or sys.platform != "linux" or current_process().daemon or os.getpid() != self._pid
        if alone or self._reading:
            yield from map(self._here, wanted)
            return
        self._reading = True
        try:
            yield from self._ahead(iter(wanted))
        finally:
            self._reading = False
            self._pieces.clear()  # what still comes frees its slot

    def _here(self, wanted: Wanted) -> Tensor:
        """Read by this process."""
        if wanted.augmentation is None or wanted.keys is None:
            return self.images.read(wanted.indices)
        images = torch.empty(len(wanted.indices), *self.images.shape, dtype=torch.uint8)
        pairs = zip(wanted.indices.tolist(), wanted.keys.tolist(), strict=True)
        with self.images.reading():
            for place, (index, key) in enumerate(pairs):
                images[place] = self.images.altered(index, wanted.augmentation, key)
        return images

    def _ahead(self, wanted: Iterator[Wanted]) -> Iterator[Tensor]:
        first = next(wanted, None)
        if first is None:
            return
        self._begin(len(first.indices))
        pieces = self._cut(first, wanted)
        begun: deque[_Batch] = deque()
        piece = next(pieces, None)
        while piece or begun:
            while piece and self._free:  # slots may still be filled for whoever has stopped asking
                if not begun or begun[-1] is not piece.batch:
                    begun.append(piece.batch)
                self._ask(piece)
                piece = next(pieces, None)
            if begun and not begun[0].missing:
                yield begun.popleft().images
            else:
                self._hear()

    def _cut(self, first: Wanted, others: Iterator[Wanted]) -> Iterator[_Piece]:
        """Batches in pieces, which are asked for one after the other."""
        wanted: Wanted | None = first
        while wanted is not None:
            count = len(wanted.indices)
            batch = _Batch(torch.empty(count, *self.images.shape, dtype=torch.uint8), count)
            each = self._piece(count)
            for start in range(0, count, each):
                part = slice(start, min(start + each, count))
                yield _Piece(
                    batch,
                    part,
                    wanted.indices[part].numpy(),
                    wanted.augmentation,
                    None if wanted.keys is None else wanted.keys[part],
                )
            wanted = next(others, None)

    def _piece(self, count: int) -> int:
        """Images of a piece of a batch of `count`."""
        return max(1, min(self._capacity, -(-count // self.count)))

    def _begin(self, count: int) -> None:
        """Have readers at work, with room for two batches of `count` images."""
        wanted = 2 * -(-count // self._piece(count)) + self.count
        room = min(wanted, max(2 * self.count, AHEAD_BYTES // (self._capacity * self._bytes)))
        if self._readers and room <= len(self._slots):
            return
        _end(self._readers, self._pid)
        shared = mmap.mmap(-1, room * self._capacity * self._bytes)
        self._slots = np.frombuffer(shared, np.uint8).reshape(room, -1)
        self._positions = np.frombuffer(mmap.mmap(-1, 16 * self.count), np.float64).reshape(-1, 2)
        self._free = list(range(room))
        self._readers += [self._start(number) for number in range(self.count)]

    def _start(self, number: int) -> _Reader:
        context = get_context("fork")
        ours, theirs = context.Pipe()
        position = self._positions[number]
        position[0] = -1
        arguments = (self.images, theirs, self._slots, position, self._capacity)
        process = context.Process(target=read_on, args=arguments, daemon=True, name=f"reader {number + 1}")
        with signals_held(), warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of other threads, as in `runtime.workers`
            process.start()
        theirs.close()  # so that its end is heard
        return _Reader(process, ours, position)

    def _ask(self, piece: _Piece) -> None:
        self._tickets += 1
        self._pieces[self._tickets] = piece
        request = Request(self._tickets, self._free.pop(), piece.indices, piece.augmentation, piece.keys)
        min(self._readers, key=lambda reader: len(reader.asked)).ask(request)

    def _hear(self) -> None:
        """Take in what readers say, or look after them where they say nothing for a while."""
        by_connection = {reader.connection: reader for reader in self._readers}
        heard = wait(list(by_connection), BEAT)
        for connection in heard:
            assert isinstance(connection, Connection)
            reader = by_connection[connection]
            try:
                message = connection.recv()
            except (EOFError, OSError):
                self._replace(reader)
                continue
            if isinstance(message, logging.LogRecord):
                logging.getLogger(message.name).handle(message)
            else:
                self._take(reader, message)
        if not heard:
            self._look_after()

    def _take(self, reader: _Reader, answer: Read) -> None:
        """Take the images of an answer, if they are still wanted."""
        request = reader.asked.pop(answer.ticket)
        self._free.append(request.slot)
        piece = self._pieces.pop(answer.ticket, None)
        if piece is None:
            return
        if answer.error is not None:
            raise answer.error
        count = len(piece.indices)
        found = self._slots[request.slot, : count * self._bytes].reshape(count, *self.images.shape)
        piece.batch.images[piece.part] = torch.from_numpy(found)
        piece.batch.missing -= count

    def _replace(self, dead: _Reader) -> None:
        """Have another reader do what one was asked for that has died.

        Raises:
            DataError: too many have died.
        """
        dead.end()
        index = int(dead.position[0])
        self._deaths[index] += 1
        at = f"reading {self.images.where(index)}" if index >= 0 else "waiting"
        said = f"a reading worker (process {dead.process.pid}) has died, exit code {dead.process.exitcode}, while {at}"
        if self._deaths[index] == DEATHS or self._deaths.total() == ALL_DEATHS:
            count = self._deaths.total()
            self._stop()
            raise DataError(
                f"{said}, the last of {count}: if memory has run out, take fewer data.readers; if it is "
                "always this image, replace it; then give the same command again, and it goes on from what was saved"
            )
        log.warning("%s; another one reads what it was asked for", said)
        place = self._readers.index(dead)
        self._readers[place] = other = self._start(place)
        for request in dead.asked.values():
            other.ask(request)

    def _look_after(self) -> None:
        """Say which images take long.

        Raises:
            DataError: one takes longer than the patience.
        """
        for reader in self._readers:
            index, since = int(reader.position[0]), time.monotonic() - float(reader.position[1])
            if index < 0 or since < self.patience / 10:
                continue
            name = self.images.where(index)
            if since > self.patience:
                self._stop()
                raise DataError(
                    f"{name}: has been read for {since:.0f} s without an end: its disk or network does not answer; "
                    "when it does, give the same command again, and it goes on from what was saved"
                )
            if index not in self._said:
                self._said.add(index)
                log.warning("%s: has been read for %.0f s; given up after %.0f s", name, since, self.patience)

    def _stop(self) -> None:
        """End all readers; others begin when images are wanted again."""
        _end(self._readers, self._pid)
        self._deaths.clear()


@dataclass(slots=True)
class _Batch:
    """Images that are being read, and how many of them are missing."""

    images: Tensor
    missing: int


@dataclass(frozen=True, slots=True)
class _Piece:
    """A part of a batch that one reader reads."""

    batch: _Batch
    part: slice
    indices: NDArray[np.int64]
    augmentation: ImageAugmentation | None
    keys: Keys | None


@dataclass(slots=True, eq=False)
class _Reader:
    """A process, what it has been asked for and has not answered, and the image that it is at."""

    process: BaseProcess
    connection: Connection
    position: NDArray[np.float64]
    asked: dict[int, Request] = field(default_factory=dict)

    def ask(self, request: Request) -> None:
        """Send a request; one that cannot be sent is asked of who takes the place of this reader."""
        self.asked[request.ticket] = request
        with suppress(OSError):  # it has died, which is heard
            self.connection.send(request)

    def end(self) -> None:
        """End the process: it writes nothing, so it can be ended anywhere."""
        self.connection.close()
        self.process.kill()
        self.process.join(BEAT)  # one that waits for a disk ends when that answers


def _end(readers: list[_Reader], pid: int) -> None:
    """End all of some readers, if they are this process's own."""
    if os.getpid() == pid:
        for reader in readers:
            reader.end()
        readers.clear()
