"""The way from images to splits, normalisation and training batches, wherever the images lie."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anybudget.data.augmentation import ImageAugmentation
    from anybudget.data.balance import class_weights, largest_class_percent
    from anybudget.data.balanced import BalancedValidation
    from anybudget.data.batches import Augmentation, TrainingBatches
    from anybudget.data.facts import DataFacts
    from anybudget.data.identity import Draw, Listing, what_differs
    from anybudget.data.loading import identify, load_splits
    from anybudget.data.memory import from_dataset, from_tensors
    from anybudget.data.preparation import Preparation
    from anybudget.data.protocol import DataSource, ImageSet, Split
    from anybudget.data.random import balanced_order
    from anybudget.data.sources import (
        CLUTTERED_FASHION,
        FASHION_MNIST_SUBSET,
        SOURCES,
        DataSettings,
        FolderSettings,
        Reading,
    )
    from anybudget.data.splits import DataSplits

__all__ = [
    "CLUTTERED_FASHION",
    "FASHION_MNIST_SUBSET",
    "SOURCES",
    "Augmentation",
    "BalancedValidation",
    "DataFacts",
    "DataSettings",
    "DataSource",
    "DataSplits",
    "Draw",
    "FolderSettings",
    "ImageAugmentation",
    "ImageSet",
    "Listing",
    "Preparation",
    "Reading",
    "Split",
    "TrainingBatches",
    "balanced_order",
    "class_weights",
    "from_dataset",
    "from_tensors",
    "identify",
    "largest_class_percent",
    "load_splits",
    "what_differs",
]

_NAMES = {
    "augmentation": "ImageAugmentation",
    "balance": "class_weights largest_class_percent",
    "balanced": "BalancedValidation",
    "batches": "Augmentation TrainingBatches",
    "facts": "DataFacts",
    "identity": "Draw Listing what_differs",
    "loading": "identify load_splits",
    "memory": "from_dataset from_tensors",
    "preparation": "Preparation",
    "protocol": "DataSource ImageSet Split",
    "random": "balanced_order",
    "sources": "CLUTTERED_FASHION FASHION_MNIST_SUBSET SOURCES DataSettings FolderSettings Reading",
    "splits": "DataSplits",
}
"""What each module gives, as type checkers find it above."""

_HOMES = {name: f"anybudget.data.{module}" for module, names in _NAMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    """Import a name when it is first used: reading a recipe takes the names of data sources, and no torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'anybudget.data' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
