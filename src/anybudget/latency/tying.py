"""`Tying`: which numbers of a model are of one and the same block, and so have to be equal."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import astuple, dataclass

import numpy as np
from numpy.typing import NDArray

from anybudget.architecture import Architecture
from anybudget.costs import CostTerms
from anybudget.spaces import Factor, SearchSpace

Array = NDArray[np.float64]

_TRIED = 20
"""Random networks in which a choice is compared with others."""


@dataclass(frozen=True)
class Tying:
    """What is equal in a space: decisions between the same blocks, and choices that build the same.

    `groups[d]` is the number of the group of decision `d`: all of a group choose among equal blocks at equal shapes.
    `same[d][c]` is the first choice of decision `d` that gives the network that choice `c` gives. `moves` says whether
    one network can be written by choices of different decisions, as where an identity may stand anywhere in a run.
    """

    groups: tuple[int, ...]
    same: tuple[NDArray[np.int64], ...]
    moves: bool

    @classmethod
    def of(cls, space: SearchSpace) -> Tying:
        """What is equal in `space`."""
        keys = [_blocks_of(space, d) for d in range(len(space.decisions))]
        first = list(dict.fromkeys(keys))
        same = tuple(np.array(_same_choices(space, d)) for d in range(len(space.decisions)))
        distinct = int(np.prod([float(len(set(row.tolist()))) for row in same], dtype=np.float64))
        return cls(tuple(map(first.index, keys)), same, moves=space.networks() < distinct)

    def rows(self, tables: Sequence[Array]) -> list[Array]:
        """Tables `[choices, ...]` of every decision, with equal rows for choices that build the same."""
        return [table[same] for table, same in zip(tables, self.same, strict=True)]

    def terms(self, terms: CostTerms) -> CostTerms:
        """Terms with equal numbers for what is equal: decisions of one group have the mean of theirs."""
        unary = [row[same] for row, same in zip(terms.unary, self.same, strict=True)]
        for group in set(self.groups):
            members = [d for d, of in enumerate(self.groups) if of == group]
            mean = np.mean([unary[d] for d in members], axis=0)
            for d in members:
                unary[d] = mean
        pairs = {(d, e): table[np.ix_(self.same[d], self.same[e])] for (d, e), table in terms.pairwise.items()}
        return CostTerms(terms.constant, tuple(unary), pairs)


def _blocks_of(space: SearchSpace, decision: int) -> Hashable:
    """What a decision chooses among: for every block that it has a part in, what each choice makes of it.

    Of a block that other decisions have a part in, too, these are its convolutions, in any order, with the others at
    their first choice: all edges of a cell choose among equal convolutions.
    """
    return tuple(
        _made(factor, decision, choice)
        for factor in space.factors
        if decision in factor.decisions
        for choice in range(len(space.decisions[decision].choices))
    )


def _made(factor: Factor, decision: int, choice: int) -> Hashable:
    spec = factor.spec(*(choice if d == decision else 0 for d in factor.decisions))
    if len(factor.decisions) == 1:
        return spec
    return tuple(sorted(astuple(convolution) for convolution in spec.convolutions()))


def _same_choices(space: SearchSpace, decision: int) -> list[int]:
    """For every choice the first that gives the same network, whatever the other decisions are; tried on some."""
    rng = np.random.default_rng(0)
    others = [[int(rng.integers(len(d.choices))) for d in space.decisions] for _ in range(_TRIED)]
    found = []
    for choice in range(len(space.decisions[decision].choices)):
        written = set()
        for drawn in others:
            given = [*drawn[:decision], choice, *drawn[decision + 1 :]]
            base = [*drawn[:decision], 0, *drawn[decision + 1 :]]
            canonical = space.simplified(Architecture(space.name, tuple(given))).choices
            rest = space.simplified(Architecture(space.name, tuple(base))).choices
            unmoved = all(c == r for d, (c, r) in enumerate(zip(canonical, rest, strict=True)) if d != decision)
            written.add(canonical[decision] if unmoved else choice)
        found.append(written.pop() if len(written) == 1 else choice)
    return found
