"""Keeps the memory of one step for the next: by default glibc gives it back, and the system clears it page by page."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import NamedTuple

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h

_KEEP = 2**30
"""Bytes: blocks up to this size come from the heap, and so much of it may be free before any is given back."""

_USUAL_TRIM, _USUAL_MMAP = 2**26, 2**25
"""Bytes: what glibc's thresholds end at by themselves in a process that frees large blocks (mallopt(3))."""

_VARIABLES = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_MMAP_MAX_", "MALLOC_TOP_PAD_")


class _Malloc(NamedTuple):
    """Two functions of glibc."""

    mallopt: Callable[[int, int], int]
    malloc_trim: Callable[[int], int]


class _Users:
    """How many want freed memory kept at the moment: the allocator belongs to the whole process."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.count = 0


_users = _Users()


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Within, memory that torch frees on the CPU stays with the process, to be used again without a page fault.

    A step of training frees and takes the same blocks again and again. Afterwards memory that is free is given back,
    and the thresholds are those that glibc reaches by itself. What is in use at most does not change. Nothing happens
    without glibc, and where the environment says how memory is to be managed.
    """
    malloc = None if set_by_environment() else _glibc()
    if malloc is None:
        yield
        return
    with _users.lock:
        _users.count += 1
        if _users.count == 1:
            _set(malloc, _KEEP, _KEEP)
    try:
        yield
    finally:
        with _users.lock:
            _users.count -= 1
            if not _users.count:
                _set(malloc, _USUAL_TRIM, _USUAL_MMAP)
                malloc.malloc_trim(0)


def set_by_environment() -> str | None:
    """The variable by which the environment tells glibc how to manage memory, if there is one."""
    if "glibc.malloc." in os.environ.get("GLIBC_TUNABLES", ""):
        return "GLIBC_TUNABLES"
    return next((name for name in _VARIABLES if name in os.environ), None)


def _set(malloc: _Malloc, trim: int, mmap: int) -> None:
    malloc.mallopt(_TRIM_THRESHOLD, trim)
    if not malloc.mallopt(_MMAP_THRESHOLD, mmap):  # older versions refuse more
        malloc.mallopt(_MMAP_THRESHOLD, _USUAL_MMAP)


@cache
def _glibc() -> _Malloc | None:
    """The functions of this process's glibc; None where there is another C library."""
    try:
        library = ctypes.CDLL(None)
        _ = library.gnu_get_libc_version  # others may have a mallopt that means something else
        mallopt, malloc_trim = library.mallopt, library.malloc_trim
    except (OSError, AttributeError, TypeError):  # TypeError: Windows takes no None
        return None
    mallopt.argtypes, mallopt.restype = (ctypes.c_int, ctypes.c_int), ctypes.c_int
    malloc_trim.argtypes, malloc_trim.restype = (ctypes.c_size_t,), ctypes.c_int
    return _Malloc(mallopt, malloc_trim)
