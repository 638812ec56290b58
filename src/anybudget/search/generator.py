"""Owns the generator strategy: train the architecture generator once, then answer any budget with a forward pass."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from anybudget.architecture import Architecture
from anybudget.budgets import BudgetSet
from anybudget.costs import CostModel, CostTerms
from anybudget.data import DataSplits, iterate_batches
from anybudget.errors import TrainingError
from anybudget.evaluation import Evaluator
from anybudget.nets import Supernet
from anybudget.nets.generator import ArchitectureGenerator, gumbel_softmax
from anybudget.progress import Progress, SilentProgress
from anybudget.search.decoding import decode, optimum, reachable
from anybudget.search.strategy import Strategy
from anybudget.spaces import SearchSpace
from anybudget.training.loop import Log, cosine_factor, no_log


@dataclass(frozen=True, slots=True)
class GeneratorSchedule:
    """How the generator is trained.

    `penalty` weighs the expected squared gap between cost and budget, in units of the reachable interval of the cost,
    so that one value serves every space. The learning rate falls to 0 along half a cosine.

    Source: SGNAS §4.1 and supplement C: Adam 0.001 (0.5, 0.999), temperature 5.0 annealed by 0.95 per epoch.
    Differs: the paper's λ = 0.0003 per MMAC² is tied to ImageNet, where over an interval of 400 MMACs it would be a
    penalty of 48, and has to hold the budget alone; here decoding does that, and the penalty only has to point the way.
    The paper keeps the learning rate constant and picks the best epoch.
    """

    epochs: int = 50
    batch_size: int = 128
    learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.5, 0.999)
    temperature: float = 5.0
    temperature_decay: float = 0.95
    penalty: float = 10.0
    straight_through: bool = False
    budgets_per_step: int = 16
    networks_per_step: int = 1


_ATTEMPTS = 4
"""How many times more often than candidates are wanted a query may decode; small spaces may not have as many."""
_NOISE_GROWTH = 1.2
"""Factor of the Gumbel noise from one attempt to the next."""


def train_generator(
    generator: ArchitectureGenerator,
    supernet: Supernet,
    cost: CostModel,
    data: DataSplits,
    schedule: GeneratorSchedule,
    *,
    seed: int = 0,
    progress: Progress | None = None,
    log: Log = no_log,
) -> None:
    """Train the generator on the validation split against the frozen supernet.

    Each step draws budgets uniformly over the reachable interval of `cost` and a random prior for each, and lowers
    cross-entropy plus the budget term of the relaxed architectures.

    Source: SGNAS §3.2, Eq. 10 and Algorithm 1.

    Raises:
        TrainingError: the loss is not finite.
    """
    device = next(supernet.parameters()).device
    relaxed = supernet.eval().relaxed().train()
    low, high = reachable({cost.name: cost.terms}, cost.name)
    optimiser = torch.optim.Adam(generator.parameters(), lr=schedule.learning_rate, betas=schedule.betas)
    draws = torch.Generator().manual_seed(seed)
    rng = np.random.default_rng(seed)
    steps_per_epoch = max(1, len(data.validation) // schedule.batch_size)
    decay = torch.optim.lr_scheduler.LambdaLR(optimiser, cosine_factor(schedule.epochs * steps_per_epoch))
    temperature = schedule.temperature
    generator.train()
    with (progress or SilentProgress()).task("generator", schedule.epochs * steps_per_epoch) as task:
        for epoch in range(1, schedule.epochs + 1):
            started = time.perf_counter()
            totals = np.zeros(2)
            batches = iterate_batches(
                data.validation,
                schedule.batch_size,
                generator=draws,
                augment=None,
                normalise=data.normalise,
                device=device,
            )
            for steps, (images, labels) in enumerate(batches, start=1):
                images = images.contiguous(memory_format=torch.channels_last)
                budgets = torch.rand(schedule.budgets_per_step, generator=draws).to(device)
                priors = random_priors(generator, supernet.space, len(budgets), rng)
                log_probabilities = generator(budgets, priors)
                gaps = budget_gaps(cost.terms, log_probabilities.exp(), low + budgets * (high - low))
                gaps = gaps / (high - low) ** 2
                samples = gumbel_softmax(
                    log_probabilities[: schedule.networks_per_step],
                    temperature,
                    hard=schedule.straight_through,
                    generator=draws,
                )
                cross_entropy = torch.stack([F.cross_entropy(relaxed(images, sample), labels) for sample in samples])
                loss = cross_entropy.mean() + schedule.penalty * gaps.mean()
                _check(float(loss.detach()), epoch)
                optimiser.zero_grad(set_to_none=True)
                loss.backward()
                optimiser.step()
                decay.step()
                totals += [float(cross_entropy.mean().detach()), float(gaps.mean().sqrt().detach())]
                task.advance(1, f"epoch {epoch}/{schedule.epochs} loss {totals[0] / steps:.3f}")
            log(_row(epoch, totals / steps, temperature, time.perf_counter() - started))
            temperature *= schedule.temperature_decay
    generator.eval()


def _check(loss: float, epoch: int) -> None:
    if not math.isfinite(loss):
        raise TrainingError(f"generator: the loss became {loss} in epoch {epoch}; lower generator.learning_rate")


def _row(
    epoch: int, means: np.ndarray[Any, np.dtype[np.float64]], temperature: float, seconds: float
) -> dict[str, float]:
    """Metrics of an epoch; `means` holds the cross-entropy and the budget gap as a share of the interval."""
    return {
        "epoch": epoch,
        "cross_entropy": float(means[0]),
        "budget_gap_percent": 100.0 * float(means[1]),
        "temperature": temperature,
        "seconds": seconds,
    }


def budget_gaps(terms: CostTerms, probabilities: Tensor, budgets: Tensor) -> Tensor:
    """Expected squared difference `[B]` between a drawn architecture's cost and its budget, in closed form.

    With independent decisions this is (mean - budget)² plus the variance of the cost, so the budget term needs no
    sample and no network: many budgets per step cost next to nothing.
    """
    mean, variance = terms.moments(probabilities)
    return (mean - budgets).square() + variance


def random_priors(generator: ArchitectureGenerator, space: SearchSpace, count: int, rng: np.random.Generator) -> Tensor:
    """`count` priors `[count, decisions, slots * operations]`: one-hot maps of random architectures."""
    choices = torch.tensor([space.sample(rng).choices for _ in range(count)], device=generator.encoding.device)
    return generator.prior(choices)


class GeneratorStrategy(Strategy):
    """Answers budgets with a trained generator, exact decoding, and the supernet as the judge.

    For each budget set, `priors` random priors give as many distributions. They are decoded to `candidates` different
    architectures within all budgets that use at least `min_use` of what the generator's own cost may reach, and the
    one with the highest validation top-1 is returned. A `min_use` of 0 lets the distributions alone decide how much
    of a budget is used.
    """

    name = "generator"

    def __init__(
        self,
        generator: ArchitectureGenerator,
        cost: CostModel,
        costs: Mapping[str, CostModel],
        evaluator: Evaluator,
        *,
        priors: int = 8,
        candidates: int = 40,
        min_use: float = 0.985,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> None:
        super().__init__(evaluator, costs, seed=seed, progress=progress)
        self.generator = generator
        self.cost = cost
        self.candidates = candidates
        self.min_use = min_use
        self._priors = random_priors(generator, self.space, priors, np.random.default_rng(seed))
        self._decoded: dict[Architecture, float] = {}

    def log_probabilities(self, budgets: BudgetSet) -> list[list[np.ndarray[tuple[int], np.dtype[np.float64]]]]:
        """For each prior, the log-probabilities of every decision's choices at this budget set.

        The generator is asked for the greatest value of its own cost that all the budgets together allow.

        Raises:
            BudgetError: no architecture meets the budgets.
        """
        low, high = reachable(self.terms, self.cost.name)
        position = (self._attainable(budgets) - low) / (high - low) if high > low else 1.0
        with torch.inference_mode():
            budget = torch.full((len(self._priors),), position, device=self._priors.device)
            maps = self.generator(budget, self._priors).double().cpu().numpy()
        return [[row[: len(d.choices)] for row, d in zip(rows, self.space.decisions, strict=True)] for rows in maps]

    def decode(self, budgets: BudgetSet) -> dict[Architecture, float]:
        """The distinct candidates that the priors lead to, each with its greatest log-probability.

        First the most probable architecture of every prior; then, until there are enough different ones, the most
        probable after adding Gumbel noise to every log-probability (perturb and maximise), which draws from the
        generator's distribution among the architectures that meet the budgets. The noise grows from round to round,
        since confident priors draw the same few again and again; the number of rounds is bounded.

        Where the canonical form of a network is cheaper than the choices that were decoded (dead edges of a cell), it
        may use less than `min_use`; such networks are returned only when there are not enough others.

        Raises:
            BudgetError: no architecture meets the budgets.
        """
        floors = {self.cost.name: self.min_use * self._attainable(budgets)} if self.min_use else None
        distributions = self.log_probabilities(budgets)
        rng = np.random.default_rng(self.seed)
        found: dict[Architecture, float] = {}
        spare: dict[Architecture, float] = {}
        for attempt in range(_ATTEMPTS * -(-self.candidates // len(distributions))):
            scale = _NOISE_GROWTH**attempt if attempt else 0.0
            for rows in distributions:
                noisy = [row + scale * rng.gumbel(size=row.shape) for row in rows]
                (decoded,) = decode(noisy, self.terms, budgets, floors=floors)
                score = sum(float(row[choice]) for row, choice in zip(rows, decoded.choices, strict=True))
                architecture = self.space.simplified(Architecture(self.space.name, decoded.choices))
                kept = found
                if floors and self.cost.cost(architecture) < min(floors[self.cost.name], self._used(decoded.choices)):
                    kept = spare
                kept[architecture] = max(score, kept.get(architecture, -math.inf))
                if len(found) == self.candidates:
                    return found
        return dict([*found.items(), *spare.items()][: self.candidates])

    def find(self, budgets: BudgetSet) -> Architecture:
        """See `Strategy.find`."""
        self._decoded = self.decode(budgets)
        return self.best(list(self._decoded))

    def log_probability(self, architecture: Architecture) -> float:
        """See `Strategy.log_probability`; the greatest over the priors."""
        return self._decoded[architecture]

    def _attainable(self, budgets: BudgetSet) -> float:
        """The most of the generator's own cost that the budgets allow, to within 1%."""
        limits = budgets.limits()
        most = reachable(self.terms, self.cost.name)[1]
        if set(limits) != {self.cost.name}:
            found = optimum(self.terms, self.cost.name, budgets, largest=True, gap=0.01)
            # Jointly unreachable: decoding says so, with the intervals.
            most = found if found is not None else most
        return min(most, limits.get(self.cost.name, most))

    def _used(self, choices: tuple[int, ...]) -> float:
        """The generator's own cost of these very choices; under the floor where no architecture meets it."""
        return self.terms[self.cost.name].cost(choices)
