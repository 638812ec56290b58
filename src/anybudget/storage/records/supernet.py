"""The schemas of what supernet training leaves beside its weights, and of the threads that a run computes with."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from anybudget.storage.records.schemas import Amount, AnArchitecture, Count, Number, Record


class SupernetSpent(Record):
    """`supernet.json`: what training has cost, of paths that were trained and of those that were only scored.

    `cost_ratio` is how much longer a trained image took than a scored one, and `images_corrected` are all in trained
    images, as GreedyNAS's Table 1 counts them.
    """

    images_trained: Count
    images_scored: Count
    macs_trained: Amount
    macs_scored: Amount
    seconds_trained: Amount
    seconds_scored: Amount
    cost_ratio: Amount
    images_corrected: Amount


class PoolMember(Record):
    """A line of `pool.jsonl`: an architecture of the candidate pool, and its latest loss."""

    architecture: AnArchitecture
    loss: Number


class Threads(Record):
    """`threads.json`: how many threads a run computes with, and what a step took with each number that was tried."""

    threads: Annotated[int, Field(strict=True, ge=1, le=1024)]
    milliseconds: dict[str, Amount] = Field(default_factory=dict)
    cores: Annotated[int, Field(strict=True, ge=1)] | None = None
