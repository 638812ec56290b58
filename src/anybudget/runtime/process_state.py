"""Sets torch's random numbers and threads, which belong to the whole process, for a while, and puts them back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


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
