"""`FreeDistribution`: a distribution over architectures with a parameter for every choice, for one budget alone."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from anybudget.spaces import SearchSpace


class FreeDistribution(nn.Module):
    """One distribution over architectures with a logit of its own for every choice; uniform at first."""

    absent: Tensor  # [decisions, choices]: padding of decisions with fewer choices than the widest

    def __init__(self, space: SearchSpace) -> None:
        super().__init__()
        sizes = torch.tensor([len(decision.choices) for decision in space.decisions])
        self.logits = nn.Parameter(torch.zeros(len(sizes), int(sizes.max())))
        self.register_buffer("absent", torch.arange(int(sizes.max())) >= sizes[:, None], persistent=False)

    def forward(self, positions: Tensor, priors: Tensor) -> Tensor:  # noqa: ARG002 - called as the generator is
        """The same log-probabilities `[B, decisions, choices]` for every of `B` positions; padding has `-inf`."""
        rows = self.logits.masked_fill(self.absent, -torch.inf).log_softmax(-1)
        return rows.expand(len(positions), -1, -1)
