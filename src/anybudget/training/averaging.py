"""The exponential moving average of a model's weights over the steps of its training."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

_POWER = 2 / 3
"""How fast the decay rises: after n updates the average reaches back over about the last n ** (2/3)."""


def decay_at(update: int, decay: float) -> float:
    """How much of the average stays at an update, which count from 1: 0 at the first, then rising to `decay`.

    Without that rise, the random weights of the beginning would stay in the average for 1 / (1 - decay) steps.

    Example:
        >>> [round(decay_at(update, 0.9), 3) for update in (1, 2, 8, 1000)]
        [0.0, 0.37, 0.75, 0.9]

    Source: timm, `ModelEmaV3` with `use_warmup` and its defaults.
    """
    return min(decay, 1.0 - math.pow(update, -_POWER))


class WeightAverage(AveragedModel):
    """The average of a model's state over the steps of its training; `give_to` puts it into the model.

    With every update the average moves towards the present weights by `1 - decay_at(...)` of the way, and so it does
    for weights that the step has not touched, as those beside a single path: the average is of the whole model over
    the same steps everywhere, and a weight that rests is reached in the end. Running statistics are averaged like
    weights; what counts, and is no fraction, is copied.

    Args:
        model: whose state is averaged; it is copied.
        decay: the share of the average that stays at an update, once it has risen.

    Source: timm, `ModelEmaV3`, which averages all of the state, too.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        super().__init__(model, multi_avg_fn=self._move, use_buffers=True)
        self.requires_grad_(False)

    def _move(self, averages: Sequence[Tensor], present: Sequence[Tensor], _updates: Tensor | int) -> None:
        """Move averages of one type towards the present state."""
        if averages[0].is_floating_point():
            # Counted by the attribute: it stays on the CPU, where reading it waits for no device.
            move = get_ema_multi_avg_fn(decay_at(int(self.n_averaged) + 1, self.decay))
            move(list(averages), list(present), self.n_averaged)
        else:
            for average, value in zip(averages, present, strict=True):
                average.copy_(value)

    @torch.no_grad()
    def give_to(self, model: nn.Module) -> None:
        """Put the average into a model of the same kind; before the first update that is what it was made of."""
        model.load_state_dict(self.module.state_dict())
