"""`Limit`: an upper limit of one cost, and a floor as the upper limit of its negative."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from anybudget.costs import CostTerms


@dataclass(frozen=True, slots=True)
class Limit:
    """What `terms` add up to is at most `most`, in their unit."""

    terms: CostTerms
    most: float

    @classmethod
    def floor(cls, terms: CostTerms, least: float) -> Limit:
        """The limit that holds where `terms` add up to at least `least`."""
        pairs = {pair: -table for pair, table in terms.pairwise.items()}
        return cls(CostTerms(-terms.constant, tuple(-row for row in terms.unary), pairs), -least)

    def allows(self, choices: Sequence[int]) -> bool:
        """Whether the exact sum is within the limit, with no tolerance."""
        return self.terms.cost(choices) <= self.most
