"""`Overview`: what a data set holds, in figures and warnings, from what was found image by image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from anybudget.data.overview.contents import SPLITS, Contents, Item

SIDES = (32, 64, 128, 224)
"""Sides in pixels for which the memory is said."""

NAMED = 20
"""So many files of a kind are named."""

UNEVEN = 3.0
"""From so many times as many images as the smallest class has, the largest is said to be uneven."""

COLOUR_FREE = frozenset({"1", "L", "LA", "La", "I", "F"})
"""Modes of one channel, besides those that begin with `I;16`."""


@dataclass(frozen=True)
class Duplicates:
    """Images whose pixels are equal: `copies` is how many could go without losing a picture.

    `across` are copies whose picture is in more than one split; `conflicting` are pictures with more than one class.
    `examples` name some, each with all images of one picture.
    """

    copies: int
    across: int
    conflicting: int
    examples: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Overview:
    """What a data set holds.

    `counts` are the images of each class in each split, `drawn` the splits that are not shipped and are drawn. `sizes`
    are (width, height) of the images with the smallest, the median and the largest shorter side. `broken` and `ignored`
    name the first, `broken_count` and `ignored_count` count all. `memory_bytes` is what all images take, at each side
    in pixels. `refused` says why a run would not start on it, `warnings` what to know though it would.
    """

    source: str
    kind: str
    images: int
    classes: tuple[str, ...]
    counts: dict[str, dict[str, int]]
    drawn: tuple[str, ...]
    largest_class: str
    largest_class_percent: float
    imbalance: float
    sizes: dict[str, tuple[int, int]]
    modes: dict[str, int]
    formats: dict[str, int]
    channels: int
    duplicates: Duplicates
    broken_count: int
    broken: tuple[tuple[str, str], ...]
    ignored_count: int
    ignored: tuple[tuple[str, str], ...]
    memory_bytes: dict[int, int]
    refused: tuple[str, ...]
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def overview_of(found: Contents, sides: Iterable[int] = SIDES) -> Overview:
    """The figures of what was found; `sides` are those, in pixels, for which the memory is said."""
    items = found.items
    counts = {split: dict.fromkeys(found.class_names, 0) for split in SPLITS}
    for item in items:
        counts[item.split][found.class_names[item.label]] += 1
    totals = Counter(found.class_names[item.label] for item in items)
    named = totals.most_common()
    largest, most = named[0] if named else ("", 0)
    fewest = min((totals[name] for name in found.class_names), default=0)
    channels = 1 if all(_is_grey(item.facts.mode) for item in items) else 3
    duplicates = duplicates_of(items)
    return Overview(
        found.source,
        found.kind,
        len(items),
        found.class_names,
        counts,
        found.drawn,
        largest,
        100.0 * most / len(items) if items else 0.0,
        most / fewest if fewest else float(most),
        _sizes(items),
        dict(Counter(item.facts.mode for item in items).most_common()),
        dict(Counter(item.facts.format for item in items).most_common()),
        channels,
        duplicates,
        len(found.broken),
        tuple(found.broken[:NAMED]),
        len(found.ignored),
        tuple(found.ignored[:NAMED]),
        {side: len(items) * channels * side**2 for side in sides},
        tuple(found.refused),
        (*found.notices, *_warnings(found, duplicates, named, fewest)),
    )


def duplicates_of(items: Sequence[Item]) -> Duplicates:
    """Which images have the same pixels."""
    by_digest: dict[bytes, list[Item]] = {}
    for item in items:
        by_digest.setdefault(item.facts.digest, []).append(item)
    same = [alike for alike in by_digest.values() if len(alike) > 1]
    across = filter(_crosses, same)
    examples = sorted(same, key=lambda alike: (not _conflict(alike), not _crosses(alike)))
    return Duplicates(
        sum(len(alike) - 1 for alike in same),
        sum(len(alike) - 1 for alike in across),
        sum(map(_conflict, same)),
        tuple(tuple(item.name for item in alike[:NAMED]) for alike in examples[:NAMED]),
    )


def _crosses(alike: Sequence[Item]) -> bool:
    return len({item.split for item in alike}) > 1


def _conflict(alike: Sequence[Item]) -> bool:
    return len({item.label for item in alike}) > 1


def _sizes(items: Sequence[Item]) -> dict[str, tuple[int, int]]:
    """Width and height of the images with the smallest, the median and the largest shorter side."""
    sizes = sorted(
        ((item.facts.width, item.facts.height) for item in items), key=lambda size: (min(size), max(size), size)
    )
    if not sizes:
        return {}
    return {"smallest": sizes[0], "median": sizes[len(sizes) // 2], "largest": sizes[-1]}


def _is_grey(mode: str) -> bool:
    return mode in COLOUR_FREE or mode.startswith("I;16")


def _warnings(found: Contents, duplicates: Duplicates, named: list[tuple[str, int]], fewest: int) -> Iterable[str]:
    """What to know of a data set that can be used."""
    if duplicates.across:
        yield (
            f"{duplicates.across} image(s) have the same pixels as one in another split: what is measured there is too "
            "good; remove them, or keep copies together with a group column of a CSV"
        )
    if duplicates.conflicting:
        yield f"{duplicates.conflicting} picture(s) are there with more than one class: correct their labels"
    inside = duplicates.copies - duplicates.across
    if inside:
        yield f"{inside} image(s) have the same pixels as another one of their split"
    if fewest and named[0][1] >= UNEVEN * fewest:
        smallest = min(found.class_names, key=lambda name: dict(named).get(name, 0))
        yield (
            f"classes are uneven: {named[0][0]!r} has {named[0][1]} images and {smallest!r} {fewest}; choose networks "
            'by search.metric = "balanced_accuracy_percent", and weigh classes with class_balance in [supernet] and '
            "[retrain]"
        )
