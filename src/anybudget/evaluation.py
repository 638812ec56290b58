"""Owns the judge: validation top-1 of an architecture with the supernet's weights, after recalibrating its norms."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anybudget.architecture import Architecture
from anybudget.data import DataSplits, ImageSet
from anybudget.nets import Supernet
from anybudget.nets.blocks import channels_last
from anybudget.nets.norms import reset_statistics


@dataclass(frozen=True, slots=True)
class Score:
    """How well a network classifies: top-1 accuracy in percent and mean cross-entropy in nats."""

    top1_percent: float
    loss: float


class Evaluator:
    """Scores architectures of one supernet on the validation split; each architecture is evaluated once.

    Every score comes from a stand-alone copy whose norm statistics are averaged anew over the same calibration
    images, so it never depends on what was evaluated before.
    """

    def __init__(
        self,
        supernet: Supernet,
        data: DataSplits,
        *,
        calibration_images: int = 1024,
        batch_size: int = 512,
        seed: int = 0,
    ) -> None:
        self.supernet = supernet
        self.batch_size = batch_size
        self.evaluations = 0
        self.images = 0
        self._scores: dict[Architecture, Score] = {}
        self._data = data
        order = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(seed))
        self._calibration = data.train.subset(order[:calibration_images])

    def score(self, architecture: Architecture) -> Score:
        """Validation score of `architecture` with inherited weights."""
        if architecture not in self._scores:
            network = self.network(architecture)
            self._scores[architecture] = evaluate(network, self._data.validation, self._data, self.batch_size)
            self.evaluations += 1
            self.images += len(self._calibration) + len(self._data.validation)
        return self._scores[architecture]

    def network(self, architecture: Architecture) -> nn.Sequential:
        """The stand-alone network with inherited weights and recalibrated norms, in evaluation mode."""
        network = channels_last(self.supernet.extract(architecture))
        recalibrate(network, self._calibration, self._data, self.batch_size)
        return network


@torch.no_grad()
def recalibrate(network: nn.Module, images: ImageSet, data: DataSplits, batch_size: int = 512) -> None:
    """Average the norms' running statistics anew over `images`; leaves the network in evaluation mode."""
    reset_statistics(network)
    network.eval()
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.train()
    for batch in images.images.split(batch_size):
        network(_prepare(batch, data, network))
    network.eval()


@torch.no_grad()
def evaluate(network: nn.Module, images: ImageSet, data: DataSplits, batch_size: int = 512) -> Score:
    """Top-1 and loss of a network in evaluation mode on `images`."""
    correct, loss = 0.0, 0.0
    for batch, labels in zip(images.images.split(batch_size), images.labels.split(batch_size), strict=True):
        logits = network(_prepare(batch, data, network)).float().cpu()
        correct += float((logits.argmax(1) == labels).sum())
        loss += float(F.cross_entropy(logits, labels, reduction="sum"))
    return Score(100.0 * correct / len(images), loss / len(images))


def _prepare(batch: Tensor, data: DataSplits, network: nn.Module) -> Tensor:
    device = next(network.parameters()).device
    return data.normalise(batch.to(device)).contiguous(memory_format=torch.channels_last)
