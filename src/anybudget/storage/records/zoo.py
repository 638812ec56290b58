"""The schemas of what a run keeps of published networks that it has trained."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from anybudget.storage.records.schemas import ClassAnswers, Count, Number, Record, TrainedFigures

Positive = Annotated[int, Field(strict=True, ge=1)]


class ZooTrained(TrainedFigures):
    """`zoo/NAME/result.json`: a network of the zoo, where it was published, and what it reaches on the run's data."""

    zoo: str
    title: str
    source: str
    settings: dict[str, Any]
    test_classes: tuple[ClassAnswers, ...] = ()
    test_top5_percent: Number | None = None


class ZooImages(Record):
    """What a network of the zoo was built for: channels and size in pixels of images, and the number of classes."""

    channels: Positive
    size: Positive
    classes: Count


class ZooBuilt(Record):
    """`zoo/NAME/network.json`: what it takes to build the network again."""

    format: str
    version: int
    zoo: str
    images: ZooImages
