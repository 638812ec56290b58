"""How well scores order the networks of a table: the figures that papers on supernets report."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from anybudget.evaluation.ranking import rank_correlation
from anybudget.tabular.truth import Truth, Values

TOP_SHARE, PRECISION_SHARE = 0.1, 0.05
"""Which shares of the truly best networks `top_kendall` and `precision` look at."""


@dataclass(frozen=True, slots=True)
class Order:
    """How well scores order networks by their true accuracy, over all distinct ones.

    Attributes:
        kendall: Kendall's tau-b, -1 to 1; None where scores or truth are the same for all.
        spearman: Spearman's rho, likewise.
        top_kendall: Kendall's tau-b within the tenth of the networks that are truly best.
        precision: P@5%: which share of the twentieth with the best scores is in the twentieth that is truly best.
    """

    kendall: float | None
    spearman: float | None
    top_kendall: float | None
    precision: float


def order(scores: ArrayLike, percent: Values) -> Order:
    """Hold scores, higher being better, against true accuracies in percent, `[n]` each.

    Example:
        >>> order([1.0, 2.0, 3.0], np.array([70.0, 80.0, 90.0])).kendall
        1.0

    Source: NAS-Bench-Macro's and AZ-NAS's figures; P@top5% as in "How to train your super-net" (Yu et al. 2020).
    """
    found = np.asarray(scores, dtype=np.float64)
    whole = rank_correlation(found, percent)
    top = best(percent, TOP_SHARE)
    chosen = np.intersect1d(best(found, PRECISION_SHARE), best(percent, PRECISION_SHARE))
    return Order(
        whole.kendall,
        whole.spearman,
        rank_correlation(found[top], percent[top]).kendall,
        len(chosen) / len(best(percent, PRECISION_SHARE)),
    )


def best(values: Values, share: float) -> NDArray[np.int64]:
    """The rows with the highest values: this share of all, rounded up; among equals the first rows."""
    return np.argsort(-values, kind="stable")[: int(np.ceil(share * len(values)))]


def floors(truth: Truth) -> dict[str, Order]:
    """How well the size of a network orders it, by name."""
    return {name: order(values, truth.percent) for name, values in truth.floors.items()}


def ceiling(truth: Truth) -> Order | None:
    """How well one training orders networks by the mean of the others, averaged over the trainings.

    None where the table has fewer than two: no score can be asked for more than the noise of training leaves.
    """
    if len(truth.seeds) < 2:
        return None
    found = [order(one, np.delete(truth.seeds, number, axis=0).mean(axis=0)) for number, one in enumerate(truth.seeds)]
    names = ("kendall", "spearman", "top_kendall", "precision")
    return Order(*(mean_of([getattr(row, name) for row in found]) for name in names))  # type: ignore[arg-type]


def mean_of(values: list[float | None]) -> float | None:
    """The mean; None where one of the values is."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None
