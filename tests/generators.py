"""How tests make and train generators."""

from __future__ import annotations

from anybudget.costs import build_costs
from anybudget.data import DataSource, TrainingBatches
from anybudget.generator.network import ArchitectureGenerator
from anybudget.generator.settings import GeneratorSchedule
from anybudget.generator.training import MixtureLoss, train_generator
from anybudget.nets import Supernet
from anybudget.runtime.accounting import Spending
from anybudget.spaces import SearchSpace
from anybudget.training.loop import TrainingContext


def generator_for(space: SearchSpace, hidden: int = 32, *, random_prior: bool = True) -> ArchitectureGenerator:
    return ArchitectureGenerator([d.encoding() for d in space.decisions], hidden, random_prior=random_prior)


def train_for(
    generator: ArchitectureGenerator,
    supernet: Supernet,
    data: DataSource,
    schedule: GeneratorSchedule,
    seed: int = 0,
    context: TrainingContext | None = None,
) -> Spending:
    """Train a generator on the macs of one of our supernets, as the stage does."""
    terms = build_costs(supernet.space)["macs"].terms
    batches = TrainingBatches(data, data.validation, schedule.batch_size, seed)
    return train_generator(generator, MixtureLoss(supernet), terms, batches, schedule, seed=seed, context=context)
