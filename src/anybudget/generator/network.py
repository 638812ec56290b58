"""The architecture generator network: a budget and a random prior in, choice logits of every decision out."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


class ArchitectureGenerator(nn.Module):
    """A small convolutional network over the map `decisions x (slots * operations)`.

    The prior, a one-hot map of a random architecture, and the budget, expanded to constant maps, pass 3x3 convolutions
    of their own and are added; a body of 3x3 convolutions with a residual from that sum follows, and a last
    convolution gives one value per slot and operation. A choice's logit is the sum of the values of its operations.

    Differs: SGNAS reads the map as independent distributions of every sub-block; here each decision is one
    distribution over its distinct choices (80 for a unified block), so that no probability falls on encodings that
    forced sampling excludes.

    Convolutions start He-normal with PyTorch's fan-out and the last one's bias at 0, as in the authors' code.

    Args:
        encodings: for every decision, which operations each choice uses, `[choices, slots * operations]` of 0 and 1
            (`Decision.encoding`); `numpy.eye(choices)` where choices have nothing in common.
        hidden: channels of the convolutions.
        budget_channels: constant maps that the budget is expanded to.
        depth: convolutions of the body, beyond one.
        random_prior: whether priors are those of architectures, see `prior`.
        fixed_prior: draws the one architecture whose prior all budgets have, as in SGNAS; each has its own if None.

    Source: SGNAS §3.2, Fig. 2, and supplement A.3 and C.
    """

    encoding: Tensor  # [decisions, choices, slots * operations]
    absent: Tensor  # [decisions, choices]: padding of decisions with fewer choices than the widest

    def __init__(
        self,
        encodings: Sequence[NDArray[np.floating]],
        hidden: int = 32,
        budget_channels: int = 10,
        depth: int = 3,
        *,
        random_prior: bool = True,
        fixed_prior: int | None = None,
    ) -> None:
        super().__init__()
        self.budget_channels = budget_channels
        self.random_prior = random_prior
        self.fixed_prior = fixed_prior
        choices, columns = (max(encoding.shape[axis] for encoding in encodings) for axis in (0, 1))
        table = np.zeros((len(encodings), choices, columns), dtype=np.float32)
        absent = np.ones((len(encodings), choices), dtype=bool)
        for row, encoding in enumerate(encodings):
            table[row, : encoding.shape[0], : encoding.shape[1]] = encoding
            absent[row, : encoding.shape[0]] = False
        self.register_buffer("encoding", torch.from_numpy(table), persistent=False)
        self.register_buffer("absent", torch.from_numpy(absent), persistent=False)
        self.budget_head = nn.Sequential(*_convs([budget_channels, hidden, hidden, hidden]))
        self.prior_head = nn.Sequential(*_convs([1, hidden, hidden]))
        self.body = nn.Sequential(*_convs([hidden] * (depth + 2)))
        self.tail = nn.Conv2d(hidden, 1, 3, padding=1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out")
        nn.init.zeros_(cast(Tensor, self.tail.bias))

    def prior(self, choices: Tensor) -> Tensor:
        """One-hot maps `[B, decisions, slots * operations]` of the choice indices `[B, decisions]`.

        The same map for all where the generator was made without a random prior (the ablation of SGNAS Fig. 7): one of
        zeros would leave a network without biases, whose logits can only grow with the budget, all in proportion.
        """
        rows = torch.arange(len(self.encoding), device=choices.device)
        maps = self.encoding[rows, choices]
        return maps if self.random_prior else torch.full_like(maps, 0.5)

    @property
    def sizes(self) -> list[int]:
        """How many choices every decision has."""
        return [int(size) for size in (~self.absent).sum(1)]

    def random_priors(self, count: int, rng: np.random.Generator) -> Tensor:
        """Priors `[count, decisions, slots * operations]` of random architectures, every choice drawn uniformly.

        With a `fixed_prior` all are that one, and `rng` is not asked.
        """
        sizes = self.sizes
        if self.fixed_prior is None:
            drawn = [[int(rng.integers(size)) for size in sizes] for _ in range(count)]
        else:
            fixed = np.random.default_rng(self.fixed_prior)
            drawn = [[int(fixed.integers(size)) for size in sizes]] * count
        return self.prior(torch.tensor(drawn, device=self.encoding.device))

    def log_probabilities(self, position: float, priors: Tensor) -> list[list[NDArray[np.float64]]]:
        """For each prior and each decision, the log-probability of every choice, as a `Decoder` takes them.

        Args:
            position: of the budget in the reachable interval of the cost, 0 the least and 1 the most.
            priors: `[B, decisions, slots * operations]`, from `prior` or `random_priors`.
        """
        with torch.inference_mode():
            rows = self(torch.full((len(priors),), position, device=priors.device), priors).double().cpu().numpy()
        return [[row[:size] for row, size in zip(maps, self.sizes, strict=True)] for maps in rows]

    def forward(self, budget: Tensor, prior: Tensor) -> Tensor:
        """Log-probabilities `[B, decisions, choices]`; padded choices have `-inf`.

        Args:
            budget: `[B]`, scaled so that 0 is the least reachable cost and 1 the greatest.
            prior: `[B, decisions, slots * operations]`, from `prior`.
        """
        maps = budget.view(-1, 1, 1, 1).expand(-1, self.budget_channels, *prior.shape[1:])
        joined = self.prior_head(prior.unsqueeze(1)) + self.budget_head(maps)
        values = self.tail(self.body(joined) + joined).squeeze(1)
        logits = torch.einsum("brv,rcv->brc", values, self.encoding)
        return logits.masked_fill(self.absent, -torch.inf).log_softmax(-1)


def _convs(widths: list[int]) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.ReLU(inplace=True)]
    return layers


def gumbel_softmax(log_probabilities: Tensor, temperature: float, *, hard: bool, generator: torch.Generator) -> Tensor:
    """A relaxed sample of every decision; with `hard` one-hot values that have the relaxed sample's gradient.

    Args:
        log_probabilities: `[..., choices]`; choices of `-inf` are never drawn.
        temperature: above 0; the lower, the nearer to one-hot.
        hard: one-hot values (the straight-through estimator).
        generator: draws the noise, on the CPU, so that every device has the same.

    Returns:
        `[..., choices]`, rows that add up to 1.

    Source: FBNet §3.3; SGNAS §3.1.
    Differs: SGNAS's Eq. 2 as printed. As in the authors' code (`torch.nn.functional.gumbel_softmax` of the generator's
    values), noise is added to the logarithms and the sum is divided by the temperature: then the greatest of a row is a
    draw from the distribution at every temperature. The authors draw for every sub-block, here it is for every layer.
    """
    uniform = torch.rand(log_probabilities.shape, generator=generator).to(log_probabilities)
    noise = -torch.log(-torch.log(uniform.clamp(1e-10, 1 - 1e-7)))
    soft = ((log_probabilities + noise) / temperature).softmax(-1)
    if not hard:
        return soft
    one_hot = nn.functional.one_hot(soft.argmax(-1), soft.shape[-1]).to(soft)
    return one_hot + (soft - soft.detach())  # in this order the values are 0 and 1 to the last bit
