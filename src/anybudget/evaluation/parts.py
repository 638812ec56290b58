"""How architectures that are to be evaluated are shared out among workers, and how long each part took."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil
from typing import Generic, TypeVar

from anybudget.architecture import Architecture
from anybudget.runtime.progress import Task

T = TypeVar("T")

Part = Sequence[Architecture]
"""Architectures that one worker evaluates at once."""


def share_out(groups: Sequence[Part], workers: int) -> list[Part]:
    """Cut groups so that every worker has about as much to do as the others.

    Every cut has a common start computed twice, so groups are cut no further than that takes: into a part for each
    worker if there are fewer groups than workers, else so that the last round is about as full as the first.
    """
    total, largest = sum(map(len, groups)), max(map(len, groups))
    rounds = ceil(total / (workers * largest))
    size = ceil(total / (workers * rounds))
    parts: list[Part] = []
    for group in groups:
        count = ceil(len(group) / size)
        edges = [len(group) * index // count for index in range(count + 1)]
        parts += [group[first:end] for first, end in pairwise(edges)]
    return parts


def named(part: Part) -> str:
    """Names a part in messages."""
    if len(part) == 1:
        return f"architecture {part[0].short_id}"
    return f"{len(part)} architectures ({part[0].short_id} to {part[-1].short_id})" if part else "no architectures"


@dataclass(frozen=True, slots=True)
class Timed(Generic[T]):
    """A result, and the seconds that it took to compute."""

    value: T
    seconds: float


def timed(work: Callable[[Task], T], task: Task) -> Timed[T]:
    """Do some work and time it."""
    started = time.perf_counter()
    value = work(task)
    return Timed(value, time.perf_counter() - started)
