"""The way from images on disk to splits, normalisation and training batches."""

from anybudget.data.balance import largest_class_percent
from anybudget.data.batches import Augmentation, EpochPosition, iterate_batches
from anybudget.data.facts import DataFacts
from anybudget.data.identity import Listing, what_differs
from anybudget.data.preparation import Preparation
from anybudget.data.sources import FASHION_MNIST_SUBSET, FolderSettings
from anybudget.data.splits import DataSplits, Draw, ImageSet, identify, load_splits

__all__ = [
    "FASHION_MNIST_SUBSET",
    "Augmentation",
    "DataFacts",
    "DataSplits",
    "Draw",
    "EpochPosition",
    "FolderSettings",
    "ImageSet",
    "Listing",
    "Preparation",
    "identify",
    "iterate_batches",
    "largest_class_percent",
    "load_splits",
    "what_differs",
]
