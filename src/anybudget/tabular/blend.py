"""A better judge for nothing: ranks of scores averaged with ranks of size, by a weight that no truth has seen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from anybudget.evaluation.ranking import rank_correlation
from anybudget.tabular.truth import Values

WEIGHTS = (0.0, 0.1, 0.2, 1 / 3, 0.5)
"""The weights of the size that are tried; 0 is the plain score."""


@dataclass(frozen=True, eq=False)
class Blend:
    """An average of ranks: `1 - weight` of the loss, `weight` of the size named `floor`; `scores` `[n]` are the sum.

    `agreement` is what the weight was chosen by.
    """

    floor: str
    weight: float
    agreement: float
    scores: Values


def average(loss: Values, size: Values, weight: float) -> Values:
    """The weighted average of the ranks of low losses and of large sizes, `[n]`, higher being better."""
    return (1 - weight) * stats.rankdata(-loss) + weight * stats.rankdata(size)


def blends(fold_losses: Values, floors: Mapping[str, Values]) -> list[Blend]:
    """For each size, the blend whose order on one half of the images agrees most with the loss on the other.

    The halves are all that the folds make, in both directions, so the weight falls out of the validation images alone.
    It can mend what few images blur, and not what the supernet gets wrong on all of them: that the halves share.

    Args:
        fold_losses: mean loss on each of an even number of disjoint parts of the validation images, `[folds, n]`.
        floors: sizes of the networks by name, `[n]` each.
    """
    loss = fold_losses.mean(axis=0)
    found = []
    for name, size in floors.items():
        agreements = [_agreement(fold_losses, size, weight) for weight in WEIGHTS]
        chosen = int(np.argmax(agreements))
        weight = WEIGHTS[chosen]
        found.append(Blend(name, weight, agreements[chosen], average(loss, size, weight)))
    return found


def _agreement(fold_losses: Values, size: Values, weight: float) -> float:
    """The mean Kendall's tau of the blend on a half with the loss on the other; 0 where there is no order."""
    found = [
        rank_correlation(average(fold_losses[one].mean(axis=0), size, weight), -fold_losses[other].mean(axis=0)).kendall
        for one, other in _halves(len(fold_losses))
    ]
    return float(np.mean([value or 0.0 for value in found]))


def _halves(folds: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Every choice of half of the folds, and the rest."""
    everything = np.arange(folds)
    for chosen in combinations(range(folds), folds // 2):
        yield np.array(chosen), np.setdiff1d(everything, chosen)
