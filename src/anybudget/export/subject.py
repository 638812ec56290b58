"""`Subject`: a trained network with all that its exported forms say of it."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from anybudget.budgets import Budget, BudgetSet, format_quantity
from anybudget.data import DataFacts
from anybudget.data.preparation import normalise
from anybudget.spaces import BlockSpec
from anybudget.spaces.blocks import FLOAT_BITS
from anybudget.storage.records import Described, Export, Interval, Network

FORMAT = "anybudget export"
"""The key of an exported file's metadata under which all is found that `anybudget.load` needs."""

_NORMAL_95 = 1.959963984540054


@dataclass(frozen=True)
class Subject:
    """A trained network, and what is known of it.

    `network` is in evaluation mode on the CPU and consists of the blocks of `specs`. `record` is `export.json` without
    its forms.
    """

    network: nn.Sequential
    specs: tuple[BlockSpec, ...]
    facts: DataFacts
    record: Export

    @property
    def name(self) -> str:
        """The short id of its architecture, or its name in the zoo."""
        return name_of(self.record.network)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width in pixels of an image."""
        preparation = self.facts.preparation
        return preparation.channels, preparation.height, preparation.width

    @property
    def is_quantised(self) -> bool:
        """Whether it rounds to the grids of quantisers of its own."""
        return any(conv.weight_bits < FLOAT_BITS for spec in self.specs for conv in spec.convolutions())

    @torch.inference_mode()
    def logits(self, images: Tensor) -> Tensor:
        """What PyTorch computes for images uint8 [N, C, H, W]."""
        logits: Tensor = self.network(normalise(images, self.facts.mean, self.facts.std))
        return logits.float()

    def about(self) -> tuple[str, str]:
        """What it is, in a title and some sentences."""
        record, facts = self.record, self.facts
        macs = record.costs.get("macs")
        size = f" of {format_quantity(macs)} multiply-adds" if macs else ""
        limits = " or ".join(
            str(BudgetSet(tuple(Budget(cost, limit) for cost, limit in limits.items()))) for limits in record.budgets
        )
        found = f"The network that a search found for {limits}. " if limits else ""
        tested = record.test
        accuracy = f"Top-1 {tested.top1_percent:.2f}% on {tested.images:,} test images. " if tested else ""
        return (
            f"An image classifier{size} for {facts.classes} classes",
            f"{found}{accuracy}Network {self.name}, run {record.run}, written by anybudget {record.version}.",
        )

    def metadata(self) -> dict[str, str]:
        """What a file says of its network, as texts: lists and objects are JSON."""
        record, facts, network = self.record, self.facts, self.record.network
        values: dict[str, Any] = {
            "architecture": network.architecture.to_dict() if isinstance(network, Network) else None,
            "class_names": facts.class_names or tuple(map(str, range(facts.classes))),
            "mean": facts.mean,
            "std": facts.std,
            "input_size": self.shape,
            "budgets": record.budgets,
            "costs": record.costs,
        }
        said = {key: json.dumps(value, ensure_ascii=False) for key, value in values.items()}
        return {"name": self.name, "anybudget_version": record.version, **said, FORMAT: self.description()}

    def description(self) -> str:
        """The record as JSON: what it takes to build the network again, and to give it images."""
        return json.dumps(self.record.to_json(), ensure_ascii=False)


def name_of(network: Described) -> str:
    """The short id of an architecture, or a name of the zoo."""
    return network.architecture.short_id if isinstance(network, Network) else network.zoo


def interval(right: int, images: int) -> Interval:
    """Accuracy with its Wilson interval at 95%: in percent.

    Args:
        right: images that were answered correctly.
        images: all of them, at least 1.

    Source: Wilson 1927, the score interval, which stays within 0 and 100 and holds for small numbers, too.

    Example:
        >>> found = interval(80, 100)
        >>> round(found.low_percent, 1), found.top1_percent, round(found.high_percent, 1)
        (71.1, 80.0, 86.7)
    """
    share, z2 = right / images, _NORMAL_95**2
    centre = (share + z2 / (2 * images)) / (1 + z2 / images)
    half = _NORMAL_95 / (1 + z2 / images) * math.sqrt(share * (1 - share) / images + z2 / (4 * images**2))
    low, high = max(0.0, 100 * (centre - half)), min(100.0, 100 * (centre + half))
    return Interval(top1_percent=100.0 * share, low_percent=low, high_percent=high, images=images)
