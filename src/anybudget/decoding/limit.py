"""`Limit`: an upper limit of a sum, and what other limits of costs are as such."""

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
    def upper(cls, terms: CostTerms, most: float) -> Limit:
        """The limit that holds where a cost is at most `most`; of a maximum, where none of its numbers lies above."""
        return cls(terms, most) if terms.combine == "sum" else cls(terms.counts_above(most), 0.0)

    @classmethod
    def floor(cls, terms: CostTerms, least: float) -> Limit:
        """The limit that holds where a cost is at least `least`; of a maximum, where some number reaches it."""
        if terms.combine == "max":
            terms, least = terms.counts_above(least, at_least=True), 1.0
        pairs = {pair: -table for pair, table in terms.pairwise.items()}
        return cls(CostTerms(-terms.constant, tuple(-row for row in terms.unary), pairs), -least)

    def allows(self, choices: Sequence[int]) -> bool:
        """Whether the exact sum is within the limit, with no tolerance."""
        return self.terms.cost(choices) <= self.most
