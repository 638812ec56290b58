"""The way from images to splits, normalisation and training batches, wherever the images lie."""

from anybudget.data.balance import largest_class_percent
from anybudget.data.batches import Augmentation, TrainingBatches
from anybudget.data.facts import DataFacts
from anybudget.data.identity import Draw, Listing, what_differs
from anybudget.data.loading import identify, load_splits
from anybudget.data.memory import from_dataset, from_tensors
from anybudget.data.preparation import Preparation
from anybudget.data.protocol import DataSource, ImageSet, Split
from anybudget.data.random import balanced_order
from anybudget.data.sources import CLUTTERED_FASHION, FASHION_MNIST_SUBSET, SOURCES, DataSettings, FolderSettings
from anybudget.data.splits import DataSplits

__all__ = [
    "CLUTTERED_FASHION",
    "FASHION_MNIST_SUBSET",
    "SOURCES",
    "Augmentation",
    "DataFacts",
    "DataSettings",
    "DataSource",
    "DataSplits",
    "Draw",
    "FolderSettings",
    "ImageSet",
    "Listing",
    "Preparation",
    "Split",
    "TrainingBatches",
    "balanced_order",
    "from_dataset",
    "from_tensors",
    "identify",
    "largest_class_percent",
    "load_splits",
    "what_differs",
]
