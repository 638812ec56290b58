"""From distributions to candidates: different probable architectures within the budgets."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from anybudget.architecture import Architecture
from anybudget.decoding.feasible import FeasibleSampler

Distribution = Sequence[NDArray[np.float64]]
"""For every decision, the log-probability of each of its choices."""

_ATTEMPTS = 4
"""How many times more often than candidates are wanted a query may decode; small spaces may not have as many."""
_NOISE_GROWTH = 1.2
"""Factor of the Gumbel noise from one attempt to the next."""


def candidates_of(
    distributions: Sequence[Distribution],
    sampler: FeasibleSampler,
    *,
    candidates: int,
    seed: int,
    draws: int = 1,
) -> dict[Architecture, float]:
    """Up to `candidates` distinct architectures within the budgets, each with its greatest log-probability.

    First the most probable architecture of every distribution; then, until there are enough different ones, the most
    probable after adding Gumbel noise to every log-probability (perturb and maximise). Without budgets and with noise
    of scale 1 that would be a draw from the distribution. Among the architectures that meet the budgets it is one in
    spirit only: noise of each choice is not noise of each architecture, and it is 1.2 times as large and grows from
    round to round, since confident distributions draw the same few again and again. A round takes `draws` from every
    distribution; the number of rounds is bounded.

    All of them are what `sampler` allows. Where the canonical form of a network is cheaper than the choices that were
    decoded (dead edges of a cell), it may miss the floor and is left out; where none is left, a random network of
    `sampler` is returned.

    Raises:
        BudgetError: no architecture meets the budgets.
    """
    space, decoder = sampler.space, sampler.decoder
    rng = np.random.default_rng(seed)
    found: dict[Architecture, float] = {}
    for attempt in range(_ATTEMPTS * -(-candidates // (draws * len(distributions)))):
        scale = _NOISE_GROWTH**attempt if attempt else 0.0
        for rows in [*distributions] * (draws if attempt else 1):
            noisy = [row + scale * rng.gumbel(size=row.shape) for row in rows]
            (decoded,) = decoder.decode(noisy)
            architecture = space.simplified(Architecture(space.name, decoded.choices))
            if sampler.allows(architecture):
                score = _log_probability(rows, decoded.choices)
                found[architecture] = max(score, found.get(architecture, -math.inf))
            if len(found) == candidates:
                return found
    return found or _drawn(distributions, sampler, seed)


def most_probable(
    distributions: Sequence[Distribution], sampler: FeasibleSampler, *, seed: int
) -> tuple[Architecture, float]:
    """The most probable architecture of all distributions within the budgets, and its log-probability there.

    The first of the candidates of `candidates_of` that has the greatest probability of those without noise. The most
    that anything has in a distribution, whatever it costs, bounds what decoding finds in it: distributions are decoded
    in that order until none can have more. Of a trained generator's that is one or two.

    Args:
        distributions: one or more.
        sampler: says what is allowed.
        seed: draws the network that is returned where none that was decoded is allowed, see `candidates_of`.

    Raises:
        BudgetError: no architecture meets the budgets.
    """
    space, best = sampler.space, dict[Architecture, float]()
    most = [sum(float(row.max()) for row in rows) for rows in distributions]
    for index in sorted(range(len(most)), key=most.__getitem__, reverse=True):
        if most[index] <= max(best.values(), default=-math.inf):
            break
        (decoded,) = sampler.decoder.decode(distributions[index])
        architecture = space.simplified(Architecture(space.name, decoded.choices))
        score = _log_probability(distributions[index], decoded.choices)
        if sampler.allows(architecture) and score > max(best.values(), default=-math.inf):
            best = {architecture: score}
    ((architecture, score),) = (best or _drawn(distributions, sampler, seed)).items()
    return architecture, score


def _drawn(distributions: Sequence[Distribution], sampler: FeasibleSampler, seed: int) -> dict[Architecture, float]:
    """A random network that is allowed, with its greatest log-probability."""
    drawn = sampler.sample(1, np.random.default_rng(seed))
    return {a: max(_log_probability(rows, a.choices) for rows in distributions) for a in drawn}


def _log_probability(rows: Distribution, choices: Sequence[int]) -> float:
    return sum(float(row[choice]) for row, choice in zip(rows, choices, strict=True))
