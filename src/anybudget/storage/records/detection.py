"""The record of `anybudget detect`: a detector on a found network, and how well it finds boxes."""

from __future__ import annotations

from typing import Any, Literal

from anybudget.storage.records.export import Described
from anybudget.storage.records.schemas import Amount, Count, Number, Record


class ClassBoxes(Record):
    """The boxes of one class, and their average precision in percent; None where there is none."""

    name: str
    boxes: Count
    map_percent: Number | None


class BoxAccuracy(Record):
    """COCO's metric in percent on so many images and boxes: over IoU 0.5 to 0.95, at 0.5 and 0.75, and by area.

    Boxes are small below 32² pixels, large from 96² on. A figure is None where there is no such box.
    """

    images: Count
    boxes: Count
    map_percent: Number | None
    map50_percent: Number | None
    map75_percent: Number | None
    small_percent: Number | None
    medium_percent: Number | None
    large_percent: Number | None
    classes: tuple[ClassBoxes, ...]


class FoundBox(Record):
    """A box that was found: left, top, right, bottom in pixels, and how sure the detector is of its class, 0 to 1."""

    name: str
    score: Number
    box: tuple[Number, Number, Number, Number]


class Detected(Record):
    """`detect/ID/result.json`: a detector that was trained, what decided it, and what it reaches.

    `network` and `facts` are those of the backbone: its description, and how it takes images. `weights` says where it
    began. `dropped` names boxes that were left out. `accuracy` is that of the split `judged_on`. `origin` is all that
    decides the result: digests of the data and of the weights, the settings and the seed.
    """

    version: str
    network: Described
    facts: dict[str, Any]
    weights: Literal["retrained", "raced", "inherited", "random"]
    class_names: tuple[str, ...]
    settings: dict[str, Any]
    origin: dict[str, Any]
    images: dict[str, Count]
    dropped: tuple[str, ...]
    judged_on: Literal["test", "validation"]
    accuracy: BoxAccuracy
    seconds: Amount
