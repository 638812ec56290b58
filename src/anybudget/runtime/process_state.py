"""Sets torch's random numbers, threads and algorithms, which belong to the process, for a while, and puts them back."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from anybudget.errors import ConfigError

_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
"""Where cuBLAS reads how much memory it may use, which decides whether it always sums in one order."""


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Within, torch's global generators start from `seed`; afterwards they are where the caller had them.

    Initial weights and dropout come from these generators, and have no argument for another.
    """
    cuda = range(torch.cuda.device_count()) if torch.cuda.is_available() else ()
    with torch.random.fork_rng(list(cuda)):
        torch.manual_seed(seed)
        yield


@contextmanager
def computing_threads(count: int) -> Iterator[None]:
    """Within, torch computes with `count` threads, or 0 with as many as it does; afterwards as before."""
    before = torch.get_num_threads()
    if count:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)


@contextmanager
def deterministic(wanted: bool) -> Iterator[None]:
    """Within, torch computes with algorithms alone that give the same bits every time, if that is wanted.

    cuBLAS reads in the environment how much memory it may use, when it is first used in a process.

    Raises:
        ConfigError: an operation has no such algorithm on this device.
    """
    if not wanted:  # asking torch either way imports its compiler, which takes a second
        yield
        return
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    workspace = os.environ.get(_WORKSPACE)
    os.environ.setdefault(_WORKSPACE, ":4096:8")
    torch.use_deterministic_algorithms(True)
    try:
        yield
    except RuntimeError as error:
        if "deterministic" in str(error):
            raise ConfigError(
                f"deterministic = true: {str(error).splitlines()[0]}; set deterministic = false, or take another device"
            ) from error
        raise
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        if workspace is None:
            os.environ.pop(_WORKSPACE, None)
