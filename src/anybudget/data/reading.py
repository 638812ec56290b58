"""The pass over all images of a data set: into memory, or to look at each once and leave it where it is."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import torch
from torch import Tensor

from anybudget.data.on_disk import KeptSplit, StoredSplit
from anybudget.data.protocol import ImageSet, Split
from anybudget.data.readers import Readers
from anybudget.data.sources import KEPT_SHARE, Reading, Source, check_memory, image_bytes
from anybudget.data.statistics import ValueCounts
from anybudget.runtime.memory import free_bytes
from anybudget.runtime.progress import SilentProgress, Task
from anybudget.runtime.threads import usable_cores

log = logging.getLogger(__name__)

ENOUGH_READERS = 8
"""Processes that read, where nobody says how many."""

SAID = 2**26
"""Bytes from which it is said that images are kept in memory."""

AT_ONCE = 128
"""Images that are read at a time in the pass."""


def read_splits(
    name: str, opened: Source, chosen: Mapping[str, Tensor], reading: Reading, draw: str
) -> tuple[dict[str, Split], ValueCounts]:
    """The splits of a data set, and the values of the training images; see `Reading`.

    Args:
        name: of the data set, in messages.
        opened: has the images.
        chosen: which of them are in the split of each name, int64 [n].
        reading: whether they are kept in memory, and who reads them.
        draw: tells these splits from others.

    Raises:
        DataError: an image cannot be read, or they do not fit into memory where they are to be kept there.
    """
    images, counts = opened.images, ValueCounts(opened.images.shape[0])
    total = sum(map(len, chosen.values()))
    if images.in_memory:
        check_memory(name, total, images.shape)
        kept = {split: ImageSet(images.read(part), images.labels[part]) for split, part in chosen.items()}
        counts.add(kept["train"].images)
        return dict(kept), counts
    kept_there = _keep(name, total, images.shape, reading)
    readers = Readers(images, _readers(reading), reading.patience)
    stored = {split: StoredSplit(readers, part) for split, part in chosen.items()}
    known = opened.index.counts(draw) if opened.index else None
    if known is not None:
        counts.counts = torch.tensor(known)
    if known is not None and not kept_there:
        return dict(stored), counts
    splits: dict[str, Split] = {}
    with (reading.progress or SilentProgress()).task(f"{name}: images looked at", total) as task:
        for split, there in stored.items():
            counted = counts if split == "train" and known is None else None
            splits[split] = _looked_at(there, counted, task, keep=kept_there)
    if opened.index and opened.found and known is None:
        opened.index.note(opened.found, draw, counts.counts.tolist())
    return splits, counts


def _looked_at(split: StoredSplit, counts: ValueCounts | None, task: Task, *, keep: bool) -> Split:
    """A split all of whose images have been decoded once: themselves, or in memory if they are to be kept."""
    images = torch.empty(len(split) if keep else 0, *split.shape, dtype=torch.uint8)
    start = 0
    parts = torch.arange(len(split)).split(AT_ONCE)
    for read in map(split.read, parts) if keep else split.read_batches(parts):  # few images are not worth a process
        if keep:
            images[start : start + len(read)] = read
        if counts is not None:
            counts.add(read)
        start += len(read)
        task.advance(len(read))
    return KeptSplit(images, split.labels, split) if keep else split


def _keep(name: str, count: int, shape: tuple[int, int, int], reading: Reading) -> bool:
    """Whether images are kept in memory; says so.

    Raises:
        DataError: they are to be, and do not fit.
    """
    if reading.keep == "memory":
        check_memory(name, count, shape, 'set data.keep = "disk", a smaller image size, or use fewer images')
        return True
    free, wanted = free_bytes(), image_bytes(count, shape) * reading.processes
    kept = reading.keep == "auto" and wanted <= KEPT_SHARE * free
    if kept and wanted < SAID:
        return True
    where = "are kept in memory" if kept else "are read from disk when they are wanted"
    log.info(
        "%s: %s images of %s %s: %.3g GiB in all, and %.3g GiB of memory are free",
        name,
        f"{count:,}",
        "×".join(map(str, shape)),
        where,
        wanted / 2**30,
        free / 2**30,
    )
    return kept


def _readers(reading: Reading) -> int:
    """How many processes read."""
    if reading.readers is not None:
        return reading.readers
    return max(1, min(ENOUGH_READERS, usable_cores()) // reading.processes)
