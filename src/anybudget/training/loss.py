"""`TrainingLoss`: the cross-entropy that a training lowers, with smoothed labels and weighted classes."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True, eq=False)
class TrainingLoss:
    """The mean cross-entropy of logits `[B, C]` and labels `[B]`, or shares of classes `[B, C]`, in nats.

    A mean over images, whose weights are not divided by their sum in the batch: so a batch that is cut into parts has
    the same gradients.

    Args:
        label_smoothing: the share of the loss that asks for all classes alike.
        class_weights: what the loss of an image of each class is multiplied by, `[C]`; 1 if None.
    """

    label_smoothing: float = 0.0
    class_weights: Tensor | None = None

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The loss, a number with gradients."""
        return self._mean(logits, labels, self.label_smoothing)

    def reported(self, loss: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
        """What is said of a forward with this `loss`: that of plain labels, which can be compared with guessing's."""
        if not self.label_smoothing or not loss.isfinite():
            return loss
        return self._mean(logits.detach(), labels, 0.0)

    def _mean(self, logits: Tensor, labels: Tensor, label_smoothing: float) -> Tensor:
        if self.class_weights is None:
            return F.cross_entropy(logits, labels, label_smoothing=label_smoothing)
        losses = F.cross_entropy(logits, labels, reduction="none", label_smoothing=label_smoothing)
        weights = self.class_weights.to(losses)
        return (losses * (weights[labels] if labels.ndim == 1 else labels.to(losses) @ weights)).mean()
