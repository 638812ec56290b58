"""How parts of a data set are drawn: of each class the same share, or whole groups that come near to that."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Values = NDArray[np.float64]

STARTS = 8
"""Orders that groups are dealt out in, or more where there are few groups; the best division counts."""

FEW = 3**8
"""Where there are no more divisions than this, all are tried."""

PAIRS = 400
"""Up to so many groups, pairs are exchanged too: the time grows with the square of their number."""


def draw_parts(labels: Tensor, groups: Tensor | None, fractions: Sequence[float], seed: int) -> list[Tensor]:
    """Parts `by_group` where there are groups and parts to draw, else `stratified`."""
    if groups is None or not fractions:
        return stratified(labels, fractions, seed)
    return by_group(labels, groups.unique(return_inverse=True)[1], fractions, seed)


def stratified(labels: Tensor, fractions: Sequence[float], seed: int) -> list[Tensor]:
    """Disjoint indices, ascending, for each fraction of every class in turn, and at last for the remainder.

    Of each class the rounded fraction is drawn, at least one image, and at least one is left for each part to come.

    Args:
        labels: int64 [N].
        fractions: of each part but the last; their sum is below 1.
        seed: draws.
    """
    generator = torch.Generator().manual_seed(seed)
    chosen: list[list[Tensor]] = [[] for _ in range(len(fractions) + 1)]
    by_class = torch.split(torch.argsort(labels, stable=True), torch.bincount(labels).tolist())
    for members in by_class:
        shuffled = members[torch.randperm(len(members), generator=generator)]
        start = 0
        for position, fraction in enumerate(fractions):
            spare = len(members) - start - (len(fractions) - position)  # leave one image for each split to come
            count = min(max(1, round(fraction * len(members))), spare)
            chosen[position].append(shuffled[start : start + count])
            start += count
        chosen[-1].append(shuffled[start:])
    return [torch.cat(pieces).sort().values for pieces in chosen]


def by_group(labels: Tensor, groups: Tensor, fractions: Sequence[float], seed: int) -> list[Tensor]:
    """Disjoint indices, ascending, of parts that no group has images in two of.

    Groups are dealt out so that `distance` is small: the largest first, then single groups are moved and pairs are
    exchanged as long as that helps, from several orders. Of few groups all divisions are tried. Parts that lack a class
    count as worse than any distance.

    Args:
        labels: int64 [N].
        groups: int64 [N], from 0 without gaps: the group of each image.
        fractions: of each part but the last; their sum is below 1.
        seed: draws the orders.

    Example:
        >>> labels, groups = torch.tensor([0, 1] * 6), torch.arange(12) // 2
        >>> [len(part) for part in by_group(labels, groups, [1 / 6, 1 / 6], 0)]
        [2, 2, 8]
    """
    counts = np.zeros((int(groups.max()) + 1, int(labels.max()) + 1))
    np.add.at(counts, (groups.numpy(), labels.numpy()), 1.0)
    shares = np.array([*fractions, 1.0 - sum(fractions)])
    rng = np.random.default_rng(seed)
    if len(shares) ** len(counts) <= FEW:
        order, every = rng.permutation(len(counts)), product(range(len(shares)), repeat=len(counts))
        found = [_Division(counts, shares).placed(order, parts) for parts in every]
    else:
        found = [_Division(counts, shares).dealt(rng) for _ in range(max(STARTS, 1000 // len(counts)))]
    best = min(found, key=lambda division: (division.lacking, division.distance))
    parts = torch.from_numpy(best.place)[groups]
    return [(parts == part).nonzero().squeeze(1) for part in range(len(shares))]


def distance(counts: Values, shares: Values) -> float:
    """How far parts are from what was asked: chi-square of their classes, and of their sizes.

    Args:
        counts: images of each part and class, [parts, classes].
        shares: of the parts, [parts].
    """
    sizes = counts.sum(1)
    wanted, wanted_sizes = np.outer(shares, counts.sum(0)), shares * sizes.sum()
    of_classes = np.divide((counts - wanted) ** 2, wanted, out=np.zeros_like(counts), where=wanted > 0)
    return float(of_classes.sum() + ((sizes - wanted_sizes) ** 2 / wanted_sizes).sum())


class _Division:
    """Groups in parts, and how they are moved. A last column beside those of the classes counts all images."""

    def __init__(self, counts: Values, shares: Values) -> None:
        self._of_group = np.concatenate([counts, counts.sum(1, keepdims=True)], axis=1)
        wanted = np.outer(shares, self._of_group.sum(0))
        self._wanted, self._weights = wanted, np.divide(1.0, wanted, out=np.zeros_like(wanted), where=wanted > 0)
        self._squares = self._of_group**2 @ self._weights.T
        self._there = np.zeros_like(wanted)
        self.place = np.full(len(counts), -1)

    @property
    def distance(self) -> float:
        """See `distance`."""
        return float((self._weights * (self._there - self._wanted) ** 2).sum())

    @property
    def lacking(self) -> int:
        """How often a part lacks a class."""
        return int(((self._there == 0) & (self._wanted > 0)).sum())

    def placed(self, groups: NDArray[np.int64], parts: Sequence[int]) -> _Division:
        """Put each group into its part."""
        self.place[groups] = parts
        np.add.at(self._there, self.place, self._of_group)
        return self

    def dealt(self, rng: np.random.Generator) -> _Division:
        """Deal all groups out: those of rare classes first, of these the largest, in random order where alike."""
        classes = self._of_group[:, :-1] > 0
        rarest = np.where(classes, classes.sum(0), len(classes) + 1).min(1)
        for group in np.lexsort((rng.permutation(len(classes)), -self._of_group[:, -1], rarest)):
            lacks = ((self._there == 0) & (self._of_group[group] > 0)).sum(1)
            costs = self._squares[group] + 2 * self._pull() @ self._of_group[group]
            self._put(group, int(np.lexsort((costs, -lacks))[0]))
        while self._move() or (len(self.place) <= PAIRS and self._exchange()):
            pass
        return self

    def _pull(self) -> Values:
        """What one more image adds to the distance to first order, halved: [parts, columns]."""
        pull: Values = self._weights * (self._there - self._wanted)
        return pull

    def _put(self, group: int, part: int) -> None:
        if self.place[group] >= 0:
            self._there[self.place[group]] -= self._of_group[group]
        self._there[part] += self._of_group[group]
        self.place[group] = part

    def _gains(self) -> tuple[Values, Values]:
        """What the distance grows by when a group enters each part [groups, parts], and leaves its own [groups]."""
        slopes = 2 * self._of_group @ self._pull().T
        every = np.arange(len(self.place))
        return self._squares + slopes, (self._squares - slopes)[every, self.place]

    def _move(self) -> bool:
        """Move the group that helps the most and takes no part its last images of a class; False if there is none."""
        into, out = self._gains()
        change = into + out[:, None]
        change[np.arange(len(self.place)), self.place] = 0.0
        for group, part in _helpful(change):
            if not self._empties(group, self.place[group], None):
                self._put(group, part)
                return True
        return False

    def _exchange(self) -> bool:
        """Exchange the two groups that help the most, as `_move` does; False if there are none."""
        into, out = self._gains()
        cost = into[:, self.place]  # of the first group in the part of the second
        cross = self._of_group @ (self._of_group * self._weights[self.place]).T
        change = cost + cost.T + out[:, None] + out - 2 * (cross + cross.T)
        change[self.place[:, None] == self.place] = 0.0
        for first, second in _helpful(change):
            here, there = int(self.place[first]), int(self.place[second])
            if not self._empties(first, here, second) and not self._empties(second, there, first):
                self._put(first, there)
                self._put(second, here)
                return True
        return False

    def _empties(self, group: int, part: int, coming: int | None) -> bool:
        """Whether a part has no image of a class any more when a group leaves it, and perhaps another comes."""
        left = self._there[part] - self._of_group[group] + (0.0 if coming is None else self._of_group[coming])
        return bool(((left == 0) & (self._there[part] > 0)).any())


def _helpful(change: Values) -> Iterator[tuple[int, int]]:
    """The places at which a change makes the distance smaller, the most first."""
    flat = change.ravel()
    (useful,) = np.nonzero(flat < -1e-9)
    for place in useful[np.argsort(flat[useful], kind="stable")]:
        yield int(place // change.shape[1]), int(place % change.shape[1])
