"""How well a network classifies: a `Tally` counts its answers, registered metrics read it, `Metrics` holds the figures.

Torch-free, so that a recipe can be checked without it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anybudget.errors import ConfigError
from anybudget.registry import Registry

TOP1 = "top1_percent"
"""The primary metric unless another is asked for."""

BALANCED = "balanced_accuracy_percent"
"""The metric in which all classes count alike."""

LOSS = "loss"
"""The mean cross-entropy as the primary metric: the only one of which less is better."""

TOP5 = 5
"""How many answers top-5 accuracy accepts; it says nothing where there are no more classes."""


@dataclass(slots=True)
class Tally:
    """Answers counted by class, int64 `[C]` each: images, correct ones, and those with the label among the highest 5.

    `loss` is the sum of the cross-entropies, in nats.
    """

    images: NDArray[np.int64]
    hits: NDArray[np.int64]
    top5_hits: NDArray[np.int64]
    loss: float = 0.0

    @classmethod
    def empty(cls, labels: NDArray[np.int64], classes: int) -> Tally:
        """Nothing answered yet, for images with these `labels` `[N]`."""
        images = np.bincount(labels, minlength=classes)
        return cls(images, np.zeros_like(images), np.zeros_like(images))

    def metrics(self) -> Metrics:
        """The loss and every registered metric that applies."""
        measured = {name: metric(self) for name, metric in METRICS.items()}
        figures = {name: value for name, value in measured.items() if value is not None}
        return Metrics(self.loss / int(self.images.sum()), figures)


def top1_percent(tally: Tally) -> float:
    """The share of images that are answered correctly, in percent."""
    return 100.0 * int(tally.hits.sum()) / int(tally.images.sum())


def top5_percent(tally: Tally) -> float | None:
    """The share of images with the label among the 5 highest logits, in percent; None with 5 classes or fewer."""
    if len(tally.images) <= TOP5:
        return None
    return 100.0 * int(tally.top5_hits.sum()) / int(tally.images.sum())


def balanced_accuracy_percent(tally: Tally) -> float:
    """The mean over classes of the share of their images that are answered correctly (the recall), in percent.

    It is top-1 as it would be if all classes had equally many images. A class without images does not count. Always
    answering with one class gives 100 / C.
    """
    there = tally.images > 0
    return float(100.0 * (tally.hits[there] / tally.images[there]).mean())


Metric = Callable[[Tally], float | None]
"""Reads a tally; higher is better; None where it does not apply."""

METRICS: Registry[Metric] = Registry(
    "metric",
    "anybudget.metrics",
    {name: f"{__name__}:{name}" for name in ("top1_percent", "balanced_accuracy_percent", "top5_percent")},
)
"""Every metric by name, which records have and which says the unit: `register(metric, name="worst_class_percent")`."""


def applicable(classes: int) -> tuple[str, ...]:
    """The names of the metrics that apply to so many classes."""
    answered = Tally.empty(np.arange(classes), classes)
    return tuple(name for name, metric in METRICS.items() if metric(answered) is not None)


def title(metric: str) -> str:
    """A metric's name for people: `top-1`, `balanced accuracy`, `loss`."""
    return re.sub(r"^top(?=\d)", "top-", metric.removesuffix("_percent")).replace("_", " ")


def written(metric: str, value: float) -> str:
    """A figure as people read it, with its name: `top-1 93.21%`, `loss 0.412`."""
    return f"loss {value:.3f}" if metric == LOSS else f"{title(metric)} {value:.2f}%"


def metric_names() -> tuple[str, ...]:
    """What networks can be chosen by: every registered metric, and the loss."""
    return (*METRICS, LOSS)


def check_metric(name: str, classes: int, where: str = "search.metric") -> None:
    """Check that networks can be chosen by a metric.

    Raises:
        ConfigError: there is no such metric, or it does not apply to so many classes.
    """
    if name == LOSS:
        return
    if METRICS[name](Tally.empty(np.arange(classes), classes)) is None:
        raise ConfigError(
            f"{where}: {name} does not apply to {classes} classes; take {' or '.join((*applicable(classes), LOSS))}"
        )


@dataclass(frozen=True, slots=True)
class Metrics:
    """How well a network classifies: mean cross-entropy in nats, and the figure of each metric, higher being better.

    `primary` names the metric that networks are chosen by, or is `loss`.
    """

    loss: float
    figures: Mapping[str, float]
    primary: str = TOP1

    @property
    def value(self) -> float:
        """The figure of the primary metric; less is better where that is the loss, see `merit`."""
        return self.loss if self.primary == LOSS else self.figures[self.primary]

    @property
    def merit(self) -> float:
        """The figure of the primary metric such that higher is better: the loss with a minus."""
        return -self.value if self.primary == LOSS else self.value

    @property
    def rank(self) -> tuple[float, float]:
        """The sort key by which networks are chosen: the primary metric, then a low loss; the highest is the best."""
        return self.merit, -self.loss

    @property
    def top1_percent(self) -> float:
        """Top-1 accuracy in percent."""
        return self.figures[TOP1]

    @property
    def top5_percent(self) -> float | None:
        """Top-5 accuracy in percent; None with 5 classes or fewer."""
        return self.figures.get("top5_percent")

    @property
    def balanced_accuracy_percent(self) -> float:
        """Balanced accuracy in percent."""
        return self.figures["balanced_accuracy_percent"]

    def __str__(self) -> str:
        """The primary metric, as progress shows it."""
        return written(self.primary, self.value)

    def to_dict(self, prefix: str = "") -> dict[str, float]:
        """Plain data as records have it: `top1_percent` or, with a prefix, `test_top1_percent`, and so on."""
        named = {**self.figures, "loss": self.loss}
        return {f"{prefix}_{name}" if prefix else name: value for name, value in named.items()}
