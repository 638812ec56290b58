"""Random numbers of data as functions of a seed and of what they are for, with no state to keep.

A key is a 64-bit number: the output of SplitMix64 at a place that the index of an image says. So any image's numbers
are found without those of the others, and those of many images at once.

Source: Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (OOPSLA 2014), SplitMix64.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

Keys = NDArray[np.uint64]

_GAMMA = np.uint64(0x9E3779B97F4A7C15)


class Use(IntEnum):
    """What random numbers are for: those of different uses have nothing to do with each other."""

    ORDER = 0
    AUGMENTATION = 1
    COMPOSITION = 2
    IMAGE = 3
    ERASING = 4
    MIXING = 5
    DROPPING = 6


def image_keys(seed: int, epoch: int, indices: NDArray[np.int64], use: Use) -> Keys:
    """A key for each image, decided by the seed, the epoch, its index and the use alone: uint64 of `indices`' shape."""
    start = np.random.SeedSequence([seed % 2**64, epoch, use]).generate_state(1, np.uint64)
    return _outputs(start.astype(np.uint64), indices)


def uniform(keys: Keys, count: int) -> NDArray[np.float64]:
    """`count` numbers in [0, 1) for each of the keys [n]: [n, count]. Equal keys give equal numbers."""
    bits = _outputs(keys[:, None], np.arange(count))
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


@contextmanager
def drawing(key: int) -> Iterator[None]:
    """Within, the global generators of Python, NumPy and torch (on the CPU) start from a key; then they are as before.

    For transforms of other libraries, which draw from these and take no other.
    """
    import torch  # the rest of this module needs none

    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(key)
    np.random.seed([key & 0xFFFFFFFF, key >> 32])
    torch.default_generator.manual_seed(key)
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])


def epoch_order(count: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """The order of `count` images in an epoch: a permutation [count]."""
    return np.argsort(image_keys(seed, epoch, np.arange(count), Use.ORDER), kind="stable")


def balanced_order(labels: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """All indices of `labels` `[N]` in random order, but with classes taking turns.

    In the first n indices every class occurs equally often, give or take one, until it has no image left.
    """
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    turn = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        members = labels[shuffled] == label
        turn[members] = np.arange(members.sum())
    return shuffled[np.argsort(turn, kind="stable")]


def _outputs(start: Keys, places: NDArray[np.int64]) -> Keys:
    """What SplitMix64 gives at each place, counted from 0, when started with `start`."""
    z: Keys = start + (places.astype(np.uint64) + np.uint64(1)) * _GAMMA
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
