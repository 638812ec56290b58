"""How the recipe's sections become schedules of training."""

from __future__ import annotations

from anybudget.data import Augmentation
from anybudget.recipe import TrainingSection
from anybudget.training.sgd import Schedule


def schedule_of(section: TrainingSection) -> Schedule:
    """How a section of the recipe has a network trained."""
    augment = section.crop_padding or section.flip
    return Schedule(
        epochs=section.epochs,
        batch_size=section.batch_size,
        learning_rate=section.learning_rate,
        momentum=section.momentum,
        weight_decay=section.weight_decay,
        nesterov=section.nesterov,
        warmup_epochs=section.warmup_epochs,
        accumulate=section.accumulate,
        augmentation=Augmentation(section.crop_padding, section.flip) if augment else None,
    )
