"""Fills a generation with offspring that are new and allowed, in a bounded number of attempts."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from itertools import islice

from anybudget.architecture import Architecture

ATTEMPTS = 100
"""How many offspring may be made for each one that is wanted."""


def new_and_allowed(
    offspring: Iterable[Architecture],
    count: int,
    *,
    known: Container[Architecture],
    allowed: Callable[[Architecture], bool],
    attempts: int = ATTEMPTS,
) -> list[Architecture]:
    """The first `count` distinct of `offspring` that are not `known` and `allowed`; the others take no place.

    Fewer where `attempts * count` of them did not have as many. Whoever needs the rest draws it at random within the
    budgets (`FeasibleSampler.sample`), so that a generation is short only where hardly any others exist.

    Args:
        offspring: made as they are asked for; may never end.
        count: how many are wanted.
        known: what was evaluated before.
        allowed: whether an architecture meets the budgets.
        attempts: how many are looked at for each one that is wanted.

    Source: GreedyNAS §4.2: what violates the budget is left out, and generation goes on until the population is full.
    Differs: the number of attempts is bounded.
    """
    found: dict[Architecture, None] = {}
    for child in islice(offspring, attempts * count):
        if child not in known and child not in found and allowed(child):
            found[child] = None
            if len(found) == count:
                break
    return list(found)
