"""What happens within a process that reads images: pieces of batches, into memory that it shares; see `readers`."""

from __future__ import annotations

import gc
import logging
import os
import signal
import threading
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection

import numpy as np
import torch
from numpy.typing import NDArray

from anybudget.data.augmentation import ImageAugmentation
from anybudget.data.random import Keys
from anybudget.data.stored import StoredImages
from anybudget.runtime.signals import STOPPING
from anybudget.runtime.worker_process import ToParent, end_with_parent, sendable

Bytes = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Request:
    """Images to be read into a slot: their indices int64 [n] and, where they are augmented, how and with which keys."""

    ticket: int
    slot: int
    indices: NDArray[np.int64]
    augmentation: ImageAugmentation | None = None
    keys: Keys | None = None

    def key(self, place: int) -> int:
        """The key of an image; 0 where none is needed."""
        return 0 if self.keys is None else int(self.keys[place])


@dataclass(frozen=True, slots=True)
class Read:
    """The answer to a request: the images are in its slot, or why they are not."""

    ticket: int
    error: BaseException | None = None


def read_on(
    images: StoredImages, connection: Connection, slots: Bytes, position: NDArray[np.float64], capacity: int
) -> None:
    """Read what is asked for until the parent ends; this process has just been forked for it.

    Args:
        images: all of the data set.
        connection: requests come from it, answers and records of what is logged go to it.
        slots: shared memory, [slots, bytes of `capacity` images].
        position: shared with the parent: the image that is being read (-1: none), and since when.
        capacity: images of a slot.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to hear
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
    threading.Thread(target=end_with_parent, daemon=True).start()
    gc.freeze()  # as in other workers: memory that is written to is shared no longer
    package = logging.getLogger(__name__.partition(".")[0])
    package.handlers, package.propagate = [ToParent(connection)], False
    torch.set_num_threads(1)
    try:
        with images.reading():
            while True:
                request: Request = connection.recv()
                connection.send(_answer(images, request, slots[request.slot], position, capacity))
    except (EOFError, OSError):
        pass  # the parent has let go
    finally:
        os._exit(0)  # what is cleaned up when a process ends is the parent's


def _answer(images: StoredImages, request: Request, slot: Bytes, position: NDArray[np.float64], capacity: int) -> Read:
    found = slot.reshape(capacity, *images.shape)
    try:
        for place, index in enumerate(request.indices.tolist()):
            position[:] = index, time.monotonic()
            found[place] = images.altered(index, request.augmentation, request.key(place)).numpy()
    except Exception as error:
        return Read(request.ticket, sendable(error))
    finally:
        position[0] = -1
    return Read(request.ticket)
