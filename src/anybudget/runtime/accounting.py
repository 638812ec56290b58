"""What computing has cost: images forwarded, their MACs, and seconds; for training, evaluating and searching alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(slots=True)
class Spending:
    """What some work has cost so far: evaluations, images forwarded (calibration included), their MACs, and seconds.

    Images and MACs are counted as if every path were run alone, so that strategies compare whatever they share.
    """

    evaluations: int = 0
    images: int = 0
    macs: float = 0.0
    seconds: float = 0.0

    def __add__(self, other: Spending) -> Spending:
        return Spending(
            self.evaluations + other.evaluations,
            self.images + other.images,
            self.macs + other.macs,
            self.seconds + other.seconds,
        )

    def add(self, images: int, macs: float, seconds: float, evaluations: int = 0) -> None:
        """Count some more."""
        self.evaluations += evaluations
        self.images += images
        self.macs += macs
        self.seconds += seconds

    def to_dict(self) -> dict[str, float]:
        """Plain data."""
        return asdict(self)


@dataclass(slots=True)
class TrainingSpending:
    """What supernet training has cost: paths that were trained, and those that were only scored.

    Source: GreedyNAS Table 1, which corrects the images by the ratio of the two costs (3.33 there).
    """

    trained: Spending = field(default_factory=Spending)
    scored: Spending = field(default_factory=Spending)

    def to_dict(self) -> dict[str, float]:
        """Everything, with the measured cost ratio of a trained to a scored image and the total in trained images."""
        a, b = (part.seconds / part.images if part.images else 0.0 for part in (self.trained, self.scored))
        ratio = a / b if b else 0.0
        return {
            **{
                f"{figure}_{name}": getattr(part, figure)
                for figure in ("images", "macs", "seconds")
                for name, part in (("trained", self.trained), ("scored", self.scored))
            },
            "cost_ratio": ratio,
            "images_corrected": self.trained.images + (self.scored.images / ratio if ratio else 0.0),
        }

    def state_dict(self) -> dict[str, Any]:
        """What has been counted so far."""
        return asdict(self)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore such a state."""
        for name in ("trained", "scored"):
            for figure, value in state[name].items():
                setattr(getattr(self, name), figure, value)
