"""The stages whose growth `benchmarks/growth.py` measures: what is run for each size, and how fast it may grow.

Networks are narrow and images small, so that what grows with layers, choices and budgets is seen on one core.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Literal

import numpy as np
import torch

from anybudget.architecture import Architecture
from anybudget.budgets import Budget, BudgetSet
from anybudget.costs import CostTerms, build_costs
from anybudget.data import DataSplits, TrainingBatches, from_tensors
from anybudget.decoding.decoder import Decoder
from anybudget.decoding.feasible import FeasibleSampler
from anybudget.decoding.reachability import attainable, reachable
from anybudget.evaluation.evaluator import Evaluator
from anybudget.evaluation.metrics import TOP1, Metrics
from anybudget.evaluation.settings import EvaluatorSettings
from anybudget.generator.network import ArchitectureGenerator
from anybudget.generator.settings import GeneratorSchedule
from anybudget.generator.training import MixtureLoss, train_generator
from anybudget.nets import Supernet, build_supernet
from anybudget.nets.blocks import channels_last
from anybudget.runtime.progress import Task
from anybudget.search import STRATEGIES
from anybudget.search.base import SearchContext, TrainedGenerator
from anybudget.search.direct import DirectSettings
from anybudget.search.evolution import EvolutionSettings
from anybudget.search.generator import GeneratorSettings
from anybudget.search.instant import InstantGenerator, ProposalSettings
from anybudget.search.random import RandomSettings
from anybudget.search.refined import RefinedSettings
from anybudget.settings import Settings
from anybudget.spaces import MBConvSettings, MBConvSpace, SearchSpace, UnifiedSettings, UnifiedSpace, stages
from anybudget.testing import PlantedEvaluator
from steps import training_step

Work = Callable[[], Any]
Axis = Literal["layers", "choices", "pixels of a side", "images", "candidates", "budgets"]

LAYERS = (5, 10, 20, 40)
BUDGETS = (1, 3, 10, 30, 100)
BATCH, SIDE, CLASSES = 8, 16, 10
UNIFIED: Mapping[int, tuple[tuple[int, ...], int]] = {
    7: ((3, 5), 3),
    16: ((3, 5, 7), 3),
    31: ((3, 5, 7), 4),
    52: ((3, 5, 7), 5),
    80: ((3, 5, 7), 6),
}
"""Kernel sizes and highest expansion rate of unified layers, by their number of choices."""
CHOICES = tuple(UNIFIED)
MACRO: Mapping[str, Any] = {
    "input_channels": 3,
    "classes": CLASSES,
    "stem_width": 8,
    "stem_stride": 1,
    "head_width": 32,
}


@dataclass(frozen=True)
class Curve:
    """One stage along one axis.

    `works` gives what is run for a size: one or several equal pieces, of which the mean counts and, with `worst`, the
    dearest. What it does before is not measured. With the unit ms processor time is measured, with MB the peak of
    tensor memory; for others each piece returns its figure. `most` is the exponent that is expected, at most.
    """

    stage: str
    axis: Axis
    sizes: tuple[int, ...]
    most: float
    works: Callable[[int], Sequence[Work]]
    unit: str = "ms"
    worst: bool = False


@cache
def unified(layers: int = 10, choices: int = 80, side: int = SIDE) -> UnifiedSpace:
    """A unified space of so many layers, a multiple of 5."""
    kernels, expansion = UNIFIED[choices]
    repeats = layers // 5
    widths = stages(*((width, repeats, stride) for width, stride in ((8, 1), (8, 2), (12, 1), (12, 2), (16, 1))))
    return UnifiedSpace(
        UnifiedSettings(input_size=side, stages=widths, kernels=kernels, max_expansion=expansion, **MACRO)
    )


@cache
def separate(choices: int) -> MBConvSpace:
    """5 layers with a block of its own for every choice, whatever else there is to choose from."""
    operations = tuple(f"k{kernel}_e{expansion}" for expansion in range(1, 17) for kernel in (3, 5, 7, 9, 11))[:choices]
    return MBConvSpace(
        MBConvSettings(
            input_size=SIDE, stages=stages((8, 3, 1), (12, 2, 2)), first_width=0, operations=operations, **MACRO
        )
    )


@cache
def supernet_of(space: SearchSpace) -> Supernet:
    torch.manual_seed(0)
    return channels_last(build_supernet(space))


@cache
def data(images: int = 64, side: int = SIDE) -> DataSplits:
    """So many validation images, and as many to train and to test on; noise, since only the time counts."""
    draws = torch.Generator().manual_seed(0)

    def part() -> tuple[torch.Tensor, torch.Tensor]:
        pixels = torch.randint(0, 256, (images, 3, side, side), dtype=torch.uint8, generator=draws)
        return pixels, torch.arange(images) % CLASSES

    return from_tensors(*part(), validation=part(), test=part())


def path_step(space: SearchSpace) -> list[Work]:
    """Forward, backward and the optimiser's step of the path that takes every first choice."""
    supernet = supernet_of(space).train()
    path = space.simplified(Architecture(space.name, (0,) * len(space.decisions)))
    images = torch.randn(BATCH, *space.input_shape).contiguous(memory_format=torch.channels_last)
    labels = torch.arange(BATCH) % CLASSES
    return [training_step(supernet, partial(supernet, path=path), images, labels)]


def generator_of(space: SearchSpace) -> ArchitectureGenerator:
    torch.manual_seed(0)
    return ArchitectureGenerator([decision.encoding() for decision in space.decisions])


def generator_training(space: SearchSpace) -> list[Work]:
    """One epoch of 8 steps of the generator, one mixture each."""
    supernet, generator, terms = supernet_of(space), generator_of(space), build_costs(space, ["macs"])["macs"].terms
    images = data(8 * BATCH, space.input_shape[1])
    batches = TrainingBatches(images, images.validation, BATCH, 0)
    schedule = GeneratorSchedule(epochs=1, batch_size=BATCH)
    return [partial(train_generator, generator, MixtureLoss(supernet), terms, batches, schedule)]


def mixture_step(space: SearchSpace) -> list[Work]:
    """Forward and backward of one mixture, down to its probabilities."""
    loss = MixtureLoss(supernet_of(space))
    widest = max(len(decision.choices) for decision in space.decisions)
    images = torch.randn(BATCH, *space.input_shape).contiguous(memory_format=torch.channels_last)

    def step() -> None:
        logits = torch.zeros(len(space.decisions), widest, requires_grad=True)
        loss(images, torch.arange(BATCH) % CLASSES, logits.softmax(-1)).backward()

    return [step]


def terms_of(space: SearchSpace) -> dict[str, CostTerms]:
    return {name: model.terms for name, model in build_costs(space, ("macs", "params")).items()}


def budgets_met(terms: Mapping[str, CostTerms], names: Sequence[str], rng: np.random.Generator) -> BudgetSet:
    """Budgets anywhere above what some random network costs, so that they can be met together."""
    choices = [int(rng.integers(len(row))) for row in terms[names[0]].unary]
    least = {name: terms[name].cost(choices) for name in names}
    return BudgetSet(tuple(Budget(name, rng.uniform(least[name], reachable(terms, name)[1])) for name in names))


def decodings(space: SearchSpace, names: Sequence[str], use: float = 0.0, trials: int = 8) -> list[Work]:
    """Random distributions decoded within random budgets, everything made anew, as for the first query."""
    terms, rng = terms_of(space), np.random.default_rng(0)

    def decode(budgets: BudgetSet, scores: Sequence[np.ndarray]) -> None:
        floors = {names[0]: use * attainable(terms, names[0], budgets)} if use else {}
        Decoder(terms, budgets, floors).decode(scores)

    works = list[Work]()
    for number in range(trials):
        sharpness = (0.05, 0.3, 1.0, 5.0)[number % 4]
        scores = [np.log(rng.dirichlet(np.full(len(d.choices), sharpness)) + 1e-30) for d in space.decisions]
        works.append(partial(decode, budgets_met(terms, names, rng), scores))
    return works


def proposals(budgets: int = 10, layers: int = 10, names: Sequence[str] = ("macs",)) -> list[Work]:
    """So many budget sets answered by a generator alone, without judging."""
    space = unified(layers)
    terms, rng = terms_of(space), np.random.default_rng(0)
    generator = InstantGenerator(space, build_costs(space), generator_of(space).eval(), ProposalSettings("macs"))
    return [partial(generator.propose, [budgets_met(terms, names, rng) for _ in range(budgets)])]


class _Judge(PlantedEvaluator):
    """Planted scores at once: what is left is the search itself."""

    def scores(self, architectures: Sequence[Architecture], progress: Task | None = None) -> list[Metrics]:  # noqa: ARG002 - quick
        for architecture in architectures:
            if architecture not in self._planted:
                top1 = self.top1(architecture)
                self._planted[architecture] = Metrics(-top1, {TOP1: top1, "balanced_accuracy_percent": top1})
                self.spent.evaluations += 1
        return [self._planted[architecture] for architecture in architectures]


SETTINGS: Mapping[str, Settings] = {
    "generator": GeneratorSettings(priors=4, candidates=8),
    "refined": RefinedSettings(priors=4, candidates=8, rounds=2, per_round=4),
    "evolution": EvolutionSettings(population=20, generations=5),
    "random": RandomSettings(count=20),
    "direct": DirectSettings(epochs=1, batch_size=32, candidates=8),
}
ONE = 2 * 64
"""Images that judge one network: as many for calibration as for validation."""


def searching(strategy: str, count: int) -> list[Work]:
    """A search for so many budgets whose scores cost nothing; returns the images that judging and training take."""
    space = unified(5)
    terms = terms_of(space)
    low, high = reachable(terms, "macs")
    budgets = [BudgetSet((Budget("macs", low + (high - low) * (i + 1) / (count + 1)),)) for i in range(count)]

    def search() -> float:
        generator = generator_of(space)
        spent = _generator_spent(space) if strategy in ("generator", "refined") else 0
        judge = _Judge(space, supernet=supernet_of(space))
        context = SearchContext(
            judge,
            build_costs(space),
            min_use=0.9,
            data=data(),
            generator=lambda: TrainedGenerator(generator.eval(), type(judge.spent)()),
        )
        found = STRATEGIES[strategy](context, SETTINGS[strategy])
        assert len(found.search(budgets)) == count
        return float(spent + found.training.images + ONE * judge.spent.evaluations)

    return [search]


@cache
def _generator_spent(space: SearchSpace) -> int:
    """Images of as long a training of the generator as `direct` has for one budget."""
    schedule = GeneratorSchedule(epochs=1, batch_size=32)
    batches = TrainingBatches(data(), data().validation, 32, 0)
    terms = build_costs(space, ["macs"])["macs"].terms
    return train_generator(generator_of(space), MixtureLoss(supernet_of(space)), terms, batches, schedule).images


def sampling(count: int) -> list[Work]:
    """20 random networks for each of so many budgets, as the random baseline draws them."""
    space = unified(10)
    costs = build_costs(space, ("macs", "params"))
    low, high = reachable({"macs": costs["macs"].terms}, "macs")
    limits = [low + (high - low) * (i + 1) / (count + 1) for i in range(count)]

    def sample() -> None:
        for limit in limits:
            sampler = FeasibleSampler(space, costs, BudgetSet((Budget("macs", limit),)), floor=0.9 * limit)
            assert sampler.sample(20, np.random.default_rng(0))

    return [sample]


def judging(candidates: int = 1, layers: int = 5, images: int = 64) -> list[Work]:
    """So many random candidates judged by an evaluator that has not judged any."""
    space = unified(layers)
    supernet, rng = supernet_of(space).eval(), np.random.default_rng(0)
    asked = [space.sample(rng) for _ in range(candidates)]

    def judge() -> None:
        Evaluator(supernet, data(images), EvaluatorSettings(calibration_images=images)).scores(asked)

    return [judge]
