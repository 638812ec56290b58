"""When a training has failed: losses that are no numbers, and losses that diverge."""

from __future__ import annotations

import math
from collections import deque
from typing import Any

from anybudget.errors import TrainingError

# A loss this many times that of guessing is not noise: the weights have left the region where they can recover.
DIVERGED = 5.0
# How many steps in a row it takes to say so.
PATIENCE = 20


class LossWatch:
    """Raises an error where a loss is not finite or diverges.

    Args:
        name: of the training, in errors.
        classes: how many the labels have, which says what the loss of guessing is.
    """

    def __init__(self, name: str, classes: int) -> None:
        self._name, self._ceiling = name, DIVERGED * math.log(classes)
        self._recent: deque[float] = deque(maxlen=PATIENCE)

    def check(self, loss: float, where: str) -> None:
        """Look at the loss of one more step.

        Raises:
            TrainingError: it is not finite, or the losses have stayed far above that of guessing.
        """
        self._recent.append(loss)
        if not math.isfinite(loss):
            raise TrainingError(
                f"{self._name}: the loss became {loss} in {where}; lower learning_rate (try a third) or add "
                "warmup_epochs, check the images for constant or corrupt ones, or set rollbacks to go on by itself "
                "with a lower rate; what was saved before is kept"
            )
        if len(self._recent) == PATIENCE and min(self._recent) > self._ceiling:
            raise TrainingError(
                f"{self._name}: the loss diverges, above {min(self._recent):.1f} for {PATIENCE} steps up to {where}, "
                f"where guessing gives {self._ceiling / DIVERGED:.1f}; lower learning_rate (try a third) or add "
                "warmup_epochs"
            )

    def state_dict(self) -> dict[str, Any]:
        """The last losses."""
        return {"recent": list(self._recent)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore such a state."""
        self._recent.clear()
        self._recent.extend(state["recent"])
