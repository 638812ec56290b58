"""`LimitedSearch`: the choices with the best scores under upper limits, exactly and fast."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import permutations

import numpy as np

from anybudget.costs import CostTerms
from anybudget.decoding.integer_program import IntegerProgram
from anybudget.decoding.limit import Limit
from anybudget.decoding.prices import cheapest, lowest
from anybudget.decoding.trellis import Array, Indices, Priced, Trellis

Solution = tuple[tuple[int, ...], float]
"""A choice index for every decision, and its score."""

_WIDTHS = (32, 256, 2048)
"""How many partial paths are kept, one try after the other, until what was cut is proven to be no better."""
_FACTORS = (0.5, 0.8, 1.25, 2.0)
"""Of low prices: what is left of a path has lowest prices of its own, and these come near them."""
_ROUNDING = 1e-9
"""Relative to the numbers that are added up: differences below it are rounding."""


class LimitedSearch:
    """Finds the best choices under limits, made once for the limits and asked for one table of scores after the other.

    A beam search through a trellis: partial paths are extended decision by decision. A path is dropped where the rest
    cannot meet some limit any more, where its Lagrangian bound (the best score of any completion, with every limit
    replaced by a price) is not above the `count`-th best solution known, and where more paths than the beam is wide
    have a better bound. If none of the last kind could have led to a better solution, the answer is proven; else the
    beam is widened. What is left unproven at the greatest width, and functions whose pairs reach too far for a
    trellis, go to an integer program.

    Args:
        limits: what must hold; one or more.
        pair_scores: for some pairs of decisions, what two choices score together, `[choices, choices]`.
    """

    def __init__(self, limits: Sequence[Limit], pair_scores: Mapping[tuple[int, int], Array] | None = None) -> None:
        self._limits, self._pair_scores = limits, pair_scores or {}
        blank = tuple(np.zeros_like(row) for row in limits[0].terms.unary)
        self._scored = CostTerms(0.0, blank, self._pair_scores)
        self._trellis = Trellis.of([*(limit.terms for limit in limits), self._scored])
        if self._trellis is None:
            return
        values = [np.abs(step.values[:-1]).max((1, 2)) for step in self._trellis.steps]
        room = np.array([limit.most - limit.terms.constant for limit in limits])
        # Sums along a path may differ from `CostTerms.cost` by rounding; solutions are checked with the latter.
        self._room = room + _ROUNDING * (np.sum(values, axis=0) + np.abs(room))
        self._needs = self._trellis.priced(self._conflicts(self._trellis), 0.0)

    def best(self, scores: Sequence[Array], count: int = 1, gap: float = 0.0) -> list[Solution]:
        """The `count` distinct choices with the greatest sums of scores, best first; none where none meet the limits.

        Args:
            scores: for each decision, the score of each choice; finite.
            count: how many; there may be fewer.
            gap: how far below the best the sums may be, as a share of the best; proving the last digits can take long.
        """
        found = self._searched(scores, count, gap) if self._trellis else None
        if found is None:
            found = self._programmed(scores, count, gap)
        return sorted(found.items(), key=lambda solution: -solution[1])[:count]

    def _searched(self, scores: Sequence[Array], count: int, gap: float) -> dict[tuple[int, ...], float] | None:
        """The solutions, or None where the widest beam has not proven them."""
        assert self._trellis is not None
        trellis = self._trellis.adding(scores)
        tolerance = _ROUNDING * sum(float(np.abs(step.values[-1]).max()) for step in trellis.steps)
        beam = _Beam(trellis, self._room, self._needs)
        found: dict[tuple[int, ...], float] = {}
        threshold = -math.inf
        for width in _WIDTHS:
            paths, cut = beam.run(width, threshold + tolerance)
            fitting = 0
            for path in paths:
                if fitting < count and all(limit.allows(path) for limit in self._limits):
                    found[path] = self._score(scores, path)
                    fitting += 1
            if len(found) >= count:
                threshold = sorted(found.values(), reverse=True)[count - 1]
            if cut <= threshold + max(tolerance, gap * abs(threshold)):
                return found
        return None

    def _programmed(self, scores: Sequence[Array], count: int, gap: float) -> dict[tuple[int, ...], float]:
        program = IntegerProgram(scores, self._limits, self._pair_scores, gap)
        found: dict[tuple[int, ...], float] = {}
        while len(found) < count and (choices := program.solve()) is not None:
            program.exclude(choices)
            # What only the tolerance of the solver thought feasible is excluded and not returned.
            if all(limit.allows(choices) for limit in self._limits):
                found[choices] = self._score(scores, choices)
        return found

    def _conflicts(self, trellis: Trellis) -> Array:
        """Prices `[n, limits]` at which nothing fits where limits exclude each other: each alone, and every two."""
        count, spans = len(self._room), trellis.spans()
        found = [np.eye(count)]
        for first, second in permutations(range(count), 2):
            one, other = np.eye(count)[[first, second]]

            def room(tried: Array, one: Array = one, other: Array = other) -> Array:
                return trellis.priced(one + tried[:, None] * other, 0.0).bound(self._room)

            best = lowest(room, float(spans[first] / (spans[second] or 1.0)))
            found.append(one + best * other * np.array([[1.0], *([f] for f in _FACTORS)]))
        return np.unique(np.vstack(found), axis=0)

    def _score(self, scores: Sequence[Array], choices: tuple[int, ...]) -> float:
        unary = sum(float(row[choice]) for row, choice in zip(scores, choices, strict=True))
        return unary + self._scored.cost(choices)


class _Beam:
    """The beam search for one table of scores: the last function of the trellis is maximised, the others limited."""

    def __init__(self, trellis: Trellis, room: Array, needs: Priced) -> None:
        self._trellis, self._room, self._needs = trellis, room, needs
        prices = cheapest(trellis, room)
        # The first row bounds every path, and the others what comes through.
        factors = np.array(np.meshgrid(*[_FACTORS] * len(room))).reshape(len(room), -1).T
        others = np.vstack([factors * prices[0], *(factor * prices[1:] for factor in (1.0, *_FACTORS))])
        self._bounds = trellis.priced(np.vstack([prices[0], np.unique(others, axis=0)]), 1.0)

    def run(self, width: int, threshold: float) -> tuple[list[tuple[int, ...]], float]:
        """Complete paths with bounds above `threshold`, best first, and the best bound of what the width has cut."""
        value, used, state = np.zeros(1), np.zeros((len(self._room), 1)), np.zeros(1, dtype=np.int64)
        cut, history = -math.inf, list[tuple[Indices, Indices]]()
        for number, step in enumerate(self._trellis.steps):
            choices = step.after.shape[1]
            after = step.after[state].ravel()
            values = (value[:, None] + step.values[-1, state]).ravel()
            spare = (self._room[:, None, None] - used[:, :, None] - step.values[:-1, state]).reshape(len(used), -1)
            bounds = values + self._bounds.of(slice(1), spare, number + 1, after)[0]
            enough = (self._needs.of(slice(None), spare, number + 1, after) >= 0).all(0)
            (chosen,) = np.nonzero(enough & (bounds > threshold))
            others = self._bounds.of(slice(1, None), spare[:, chosen], number + 1, after[chosen])
            bounds = np.minimum(bounds[chosen], values[chosen] + others.min(0))
            chosen, bounds = chosen[bounds > threshold], bounds[bounds > threshold]
            if len(chosen) > width:
                order = np.argpartition(-bounds, width)
                cut = max(cut, float(bounds[order[width]]))
                chosen = chosen[order[:width]]
            history.append((chosen // choices, chosen % choices))
            value, state = values[chosen], after[chosen]
            used = self._room[:, None] - spare[:, chosen]
        return _traced(history, np.argsort(-value, kind="stable")), cut


def _traced(history: Sequence[tuple[Indices, Indices]], order: Indices) -> list[tuple[int, ...]]:
    """The complete paths, in `order` of their places in the last step."""
    columns, place = [], order
    for parents, choices in reversed(history):
        columns.append(choices[place])
        place = parents[place]
    return [tuple(map(int, row)) for row in np.stack(columns[::-1], axis=1)]
