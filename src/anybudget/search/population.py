"""What evolutionary strategies share: their settings, a first generation, and full generations of offspring."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence
from itertools import islice
from typing import Annotated

import numpy as np
from pydantic import Field

from anybudget.architecture import Architecture
from anybudget.decoding.feasible import FeasibleSampler
from anybudget.search.base import Strategy
from anybudget.settings import Count, Settings

ATTEMPTS = 100
"""How many offspring may be made for each one that is wanted."""


class PopulationSettings(Settings):
    """Settings of evolutionary strategies, with the defaults of SPOS.

    There are at most `generations` of `population` architectures, the first generation included. `mutation` is the
    probability of every choice to be replaced. With `from_pool` the first generation starts from the candidate pool of
    the supernet's training, best first, where there is one.
    """

    population: Annotated[int, Field(ge=2, le=10**9)] = 50
    generations: Count = 20
    mutation: Annotated[float, Field(gt=0, le=1)] = 0.1
    from_pool: bool = False


class PopulationStrategy(Strategy):
    """A strategy whose search is a sequence of generations."""

    settings_type = PopulationSettings
    settings: PopulationSettings

    def first_generation(self, sampler: FeasibleSampler, rng: np.random.Generator) -> list[Architecture]:
        """Members of the candidate pool within the budgets, if they are to be used; random ones fill the rest."""
        pool = self.context.pool if self.settings.from_pool else None
        return sampler.population(self.settings.population, rng, pool() if pool else ())


def next_generation(
    sources: Sequence[tuple[Iterable[Architecture], int]],
    sampler: FeasibleSampler,
    rng: np.random.Generator,
    known: Iterable[Architecture],
) -> list[Architecture]:
    """Distinct, new architectures within the budgets: so many of each kind of offspring, random ones for what is short.

    Fewer, or none, only where hardly any others exist.

    Args:
        sources: offspring, and how many of them are wanted; see `new_and_allowed`.
        sampler: says what is within the budgets, and draws random architectures of it.
        rng: draws these.
        known: what was evaluated before.
    """
    seen = dict.fromkeys(known)
    before, wanted = len(seen), 0
    for offspring, count in sources:
        seen |= dict.fromkeys(new_and_allowed(offspring, count, known=seen, allowed=sampler.allows))
        wanted += count
    children = list(seen)[before:]
    return children + sampler.sample(wanted - len(children), rng, known=seen)


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
