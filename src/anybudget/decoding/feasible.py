"""`FeasibleSampler`: random architectures within several budgets at once, however tight they are."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from anybudget.architecture import Architecture
from anybudget.budgets import BudgetSet
from anybudget.costs import CostModel
from anybudget.decoding.decoder import Decoder
from anybudget.decoding.reachability import attainable, check_reachable
from anybudget.decoding.window import WindowSampler
from anybudget.errors import BudgetError
from anybudget.spaces import SearchSpace

_ROUNDS = 7
"""How often the window is drawn from, twice as much every time: 127 draws for every architecture that is wanted."""
_MISSES = 20
"""How many decoded architectures may be known already, beyond one for each that is not."""

_ROUNDING = 1e-9
"""Relative difference between a cost as terms and block by block, at most."""


class FeasibleSampler:
    """Draws distinct random architectures that meet every budget of a set.

    The first budget's cost is sampled uniformly by `WindowSampler` and the other budgets reject. Where that finds too
    few, because the budgets pull apart or the cost has pairs that are no neighbours, the rest are the best under random
    Gumbel scores of all choices (`Decoder`): these are not uniform, but meet every budget however rare that is.

    Args:
        space: whose architectures are drawn.
        costs: every cost model of the space, by name.
        budgets: the hard limits.
        floor: the least of the first budget's cost that is used, in its unit.

    Raises:
        BudgetError: a budget cannot be met, even alone.
    """

    def __init__(
        self, space: SearchSpace, costs: Mapping[str, CostModel], budgets: BudgetSet, *, floor: float = 0.0
    ) -> None:
        self.space, self.budgets = space, budgets
        self.terms = {name: model.terms for name, model in costs.items()}
        self._costs = costs
        check_reachable(self.terms, budgets)
        self._first, self._floor = next(iter(budgets)), floor

    @classmethod
    def using(
        cls, space: SearchSpace, costs: Mapping[str, CostModel], budgets: BudgetSet, share: float, seed: int
    ) -> FeasibleSampler:
        """With a floor that is a share of what the budgets together leave attainable of their first cost.

        It is dropped where nothing uses as much.

        Args:
            space: see `FeasibleSampler`.
            costs: see `FeasibleSampler`.
            budgets: see `FeasibleSampler`.
            share: 0 to 1.
            seed: of the draw that tells whether anything uses as much.

        Raises:
            BudgetError: no architecture meets the budgets.
        """
        if share:
            cost = next(iter(budgets)).cost
            floor = share * attainable({name: model.terms for name, model in costs.items()}, cost, budgets)
            asked = cls(space, costs, budgets, floor=floor)
            if asked.sample(1, np.random.default_rng(seed)):
                return asked
        return cls(space, costs, budgets)

    @property
    def floors(self) -> dict[str, float]:
        """The least that has to be used, by the cost's name; empty where nothing has to be."""
        return {self._first.cost: self._floor} if self._floor else {}

    @cached_property
    def decoder(self) -> Decoder:
        """Finds the best choices within the budgets that use the floor, where any do."""
        return self.decoder_with({})

    def decoder_with(self, pair_scores: Mapping[tuple[int, int], NDArray[np.float64]]) -> Decoder:
        """The same with scores of pairs of choices, see `Decoder`."""
        return Decoder(self.terms, self.budgets, self.floors, pair_scores)

    @cached_property
    def _window(self) -> WindowSampler | None:
        try:
            return WindowSampler(self.space, self._costs[self._first.cost], self._floor, self._first.limit)
        except BudgetError:
            return None  # pairs that are no neighbours, or nothing uses that much; decoding knows

    def sample(
        self, count: int, rng: np.random.Generator, known: Container[Architecture] = frozenset()
    ) -> list[Architecture]:
        """Up to `count` distinct architectures that are not `known`; fewer where hardly any or no others exist.

        Raises:
            BudgetError: no architecture meets the budgets together.
        """
        found: dict[Architecture, None] = {}
        self._from_window(found, count, rng, known)
        self._from_decoding(found, count, rng, known)
        return list(found)

    def population(
        self, count: int, rng: np.random.Generator, start: Iterable[Architecture] = ()
    ) -> list[Architecture]:
        """Up to `count` distinct architectures: the first of `start` that meet the budgets, then random ones.

        Raises:
            BudgetError: no architecture meets the budgets together.
            ArchitectureError: `start` has one of another space.
        """
        fitting = [a for a in dict.fromkeys(map(self.space.simplified, start)) if self.allows(a)][:count]
        return fitting + self.sample(count - len(fitting), rng, known=frozenset(fitting))

    def allows(self, architecture: Architecture) -> bool:
        """Whether the exact costs meet the budgets and the floor."""
        # Terms are faster than block by block, and differ by rounding at most: they rule out most.
        return (
            all(self.terms[b.cost].cost(architecture.choices) <= b.limit * (1 + _ROUNDING) for b in self.budgets)
            and all(self._costs[b.cost].cost(architecture) <= b.limit for b in self.budgets)
            and self._costs[self._first.cost].cost(architecture) >= self._floor
        )

    def admits(self, costs: Mapping[str, float]) -> bool:
        """`allows`, of an architecture whose exact costs are known already, by name."""
        return self.budgets.allows(costs) and costs[self._first.cost] >= self._floor

    def _from_window(
        self, found: dict[Architecture, None], count: int, rng: np.random.Generator, known: Container[Architecture]
    ) -> None:
        if self._window is None or count < 1:
            return
        wanted = count
        for _ in range(_ROUNDS):
            try:
                drawn = self._window.sample(wanted, rng)
            except BudgetError:
                return  # nothing in the window, or too rare among its bins
            for architecture in drawn:
                if len(found) < count and architecture not in known and self.allows(architecture):
                    found[architecture] = None
            if len(found) == count or len(drawn) < wanted:
                return
            wanted *= 2

    def _from_decoding(
        self, found: dict[Architecture, None], count: int, rng: np.random.Generator, known: Container[Architecture]
    ) -> None:
        before, misses = len(found), 0
        while len(found) < count and misses < _MISSES + len(found) - before:
            scores = [rng.gumbel(size=len(decision.choices)) for decision in self.space.decisions]
            (decoded,) = self.decoder.decode(scores)
            if self.terms[self._first.cost].cost(decoded.choices) < self._floor:
                return  # decoding drops a floor that nothing meets
            architecture = self.space.simplified(Architecture(self.space.name, decoded.choices))
            # The canonical form of a network may be cheaper than the choices that were decoded, and miss the floor.
            if architecture not in known and architecture not in found and self.allows(architecture):
                found[architecture] = None
            else:
                misses += 1
