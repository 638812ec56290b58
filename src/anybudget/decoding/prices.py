"""Prices of limits at which the Lagrangian bound of a trellis is low: of each limit alone, and of all together."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from anybudget.decoding.trellis import Array, Trellis

_GRID = 16
"""Prices tried at once; the next are tried in an eighth of the interval, around the best of them."""
_ZOOMS = 4
_MOST = 1e3
"""The highest price, as a multiple of its size."""
_CUTS = 20
"""How many times the lowest bound is approached, at most; where limits exclude each other there is none."""
_GAP = 1e-5
"""How far above the lowest bound will do, as a share of it."""


def lowest(bound: Callable[[Array], Array], most: float) -> float:
    """The price of 0 or more with nearly the lowest `bound`, which is convex.

    Args:
        bound: of several prices `[n]`, `[n]`.
        most: the size of the price.
    """
    grid = most * np.array([0.0, *np.geomspace(1 / _MOST, _MOST, _GRID - 1)])
    for _ in range(_ZOOMS):
        best = int(bound(grid).argmin())
        price = float(grid[best])
        grid = np.linspace(grid[max(0, best - 1)], grid[min(best + 1, len(grid) - 1)], _GRID)
    return price


def cheapest(trellis: Trellis, room: Array) -> Array:
    """Prices `[n, limits]`: first those with nearly the lowest bound, then for each limit the price of it alone.

    A path that has used up one limit has its lowest bound at another price than the whole: near that of this limit
    alone. With one limit there is one row.

    Args:
        trellis: its last function is maximised, the others are limited.
        room: what the others may add up to, `[limits]`.
    """
    spans = trellis.spans()
    sizes = spans[-1] / np.where(spans[:-1] > 0, spans[:-1], 1.0)
    units = np.eye(len(room))

    def alone(limit: int) -> Array:
        def bound(tried: Array) -> Array:
            return trellis.priced(tried[:, None] * units[limit], 1.0).bound(room)

        return np.asarray(lowest(bound, float(sizes[limit])) * units[limit])

    prices = [alone(limit) for limit in range(len(room))]
    return np.array(prices if len(prices) == 1 else [_jointly(trellis, room, sizes, prices), *prices])


def _jointly(trellis: Trellis, room: Array, sizes: Array, start: Sequence[Array]) -> Array:
    """The prices `[limits]` with nearly the lowest bound, approached by cutting planes from those of `start`.

    The bound is the value of the best path, and what a path is worth is linear in the prices. So the greatest over the
    paths that were found so far is nowhere above the bound, and where it is lowest is tried next.

    Source: Kelley 1960, the cutting-plane method for convex programs.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp  # here: most budgets have one limit and need none of it

    slopes, values = list[Array](), list[float]()
    best, found = np.inf, start[0]
    tried = [np.zeros(len(room)), *start]
    for _ in range(_CUTS):
        for prices in tried:
            sums = trellis.sums(trellis.best_path(np.append(-prices, 1.0)))
            slopes.append((room - sums[:-1]) * sizes)
            values.append(float(sums[-1]))
            bound = values[-1] + float(prices @ (room - sums[:-1]))
            if bound < best:
                best, found = bound, prices
        model = milp(
            np.array([*np.zeros(len(room)), 1.0]),
            constraints=LinearConstraint(np.column_stack([slopes, -np.ones(len(values))]), ub=-np.array(values)),
            bounds=Bounds([*np.zeros(len(room)), -np.inf], [*np.full(len(room), _MOST), np.inf]),
        )
        if model.x is None or best - model.x[-1] <= _GAP * abs(best):
            break
        tried = [model.x[:-1] * sizes]
    return found
