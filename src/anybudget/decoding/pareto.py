"""What can be said of trade-offs: which points no other beats, and how much they dominate."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def pareto_front(points: ArrayLike) -> NDArray[np.int64]:
    """Indices, ascending, of the points that no other dominates; every column is minimised.

    A point dominates another that it equals or undercuts in every column, and undercuts in one. Equal points do not
    dominate each other, so all of them are there.

    Args:
        points: `[n, objectives]`, each column in a unit of its own.

    Source: Deb et al. 2002 (NSGA-II), §III-A.
    """
    rows = np.asarray(points, dtype=np.float64)
    if not len(rows):
        return np.empty(0, dtype=np.int64)
    quiet_pymoo()
    from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting  # type: ignore[import-untyped]

    return np.sort(np.asarray(NonDominatedSorting().do(rows, only_non_dominated_front=True), dtype=np.int64))


def hypervolume(points: ArrayLike, reference: ArrayLike) -> float:
    """Volume that the points dominate, up to the reference; every column is minimised, and larger is better.

    Args:
        points: `[n, objectives]`; those that do not undercut the reference in every column add nothing.
        reference: `[objectives]`, in the columns' units.

    Returns:
        A volume in the product of the columns' units; 0 without points.

    Source: Zitzler and Thiele 1999 (SPEA), size of the space covered.
    """
    corner = np.asarray(reference, dtype=np.float64)
    rows = np.asarray(points, dtype=np.float64).reshape(-1, len(corner))
    rows = rows[(rows < corner).all(axis=1)]
    if not len(rows):
        return 0.0
    quiet_pymoo()
    from pymoo.indicators.hv import HV  # type: ignore[import-untyped]

    return float(HV(ref_point=corner)(rows))


def quiet_pymoo() -> None:
    """Keep pymoo from printing that it was installed without compiled modules: standard output is for results.

    pymoo is imported only where it is used, since importing it takes half a second.
    """
    from pymoo.config import Config  # type: ignore[import-untyped]

    Config.warnings["not_compiled"] = False
