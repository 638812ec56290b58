"""The record of `anybudget export`: what was exported, how it was checked, and what it weighs."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, StrictBool

from anybudget.storage.records.schemas import Amount, ClassAnswers, Costs, Count, Limits, Network, Number, Record
from anybudget.storage.records.zoo import ZooBuilt

Described = Network | ZooBuilt
"""What `network.json` describes."""


class MeasuredResult(Record):
    """What exports need of a `result.json`: of a network of the run or of the zoo, or of one that has raced."""

    costs: Costs
    epochs: Count | None = None
    inherited: StrictBool = False
    test_top1_percent: Number | None = None
    test_classes: tuple[ClassAnswers, ...] = ()


class Interval(Record):
    """Test accuracy in percent, and where it lies with 95% confidence, given so many images (Wilson)."""

    top1_percent: Number
    low_percent: Number
    high_percent: Number
    images: Count


class Checked(Record):
    """A form beside PyTorch on the same images: the largest difference of logits, and how many answers are equal.

    `images_of` says which images: of the test split, or drawn at random where no data are at hand. `beyond_rounding` is
    on how many images logits differ by more than floating-point rounding.
    """

    images: Count
    images_of: Literal["test", "random"]
    largest_difference: Amount
    largest_logit: Amount
    beyond_rounding: Count
    equal_answers: Count


class Quantised(Record):
    """An int8 network beside the network of floats, both in ONNX Runtime with one thread and one image at a time.

    `agreement_percent` is the share of test images with equal answers.
    """

    calibration_images: Count
    agreement_percent: Number
    before: Interval
    after: Interval
    before_bytes: Count
    after_bytes: Count
    before_ms: Amount
    after_ms: Amount


class Form(Record):
    """One form of a network: its files with their sizes in bytes, what its input is, and how it was checked."""

    files: dict[str, Count]
    input: str
    checked: Checked
    quantised: Quantised | None = None


class LatencyOf(Record):
    """A latency in milliseconds by a profile of the run: as predicted, and as promised; `note` says on what.

    `measured` is what the exported network took there, where that is known.
    """

    predicted: Number
    promised: Number
    note: str
    measured: Number | None = None


class Export(Record):
    """`export.json`: a network that was exported, and its forms by name.

    `weights` says where they come from: training of its own, a race, or the supernet; `digest` is their SHA-256.
    `images` are those of each split. `budgets` are those that the run answered with it. `seeds` are test top-1 in
    percent of further trainings of the same architecture.
    """

    version: str
    run: str
    network: Described
    data: dict[str, Any]
    weights: Literal["retrained", "raced", "inherited"]
    digest: str
    images: dict[str, Count] = Field(default_factory=dict)
    budgets: tuple[Limits, ...] = ()
    costs: Costs
    epochs: Count | None = None
    test: Interval | None = None
    seeds: tuple[Number, ...] = ()
    latency: dict[str, LatencyOf] = Field(default_factory=dict)
    forms: dict[str, Form] = Field(default_factory=dict)
