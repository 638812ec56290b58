"""Owns the judge: validation top-1 of an architecture with the supernet's weights, after recalibrating its norms."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from anybudget.architecture import Architecture
from anybudget.costs import build_costs
from anybudget.data import DataSplits, ImageSet
from anybudget.nets import Supernet
from anybudget.nets.blocks import channels_last
from anybudget.nets.norms import calibrating, restore, statistics
from anybudget.nets.trie import Node, plant, walk
from anybudget.progress import Task


@dataclass(frozen=True, slots=True)
class Score:
    """How well a network classifies: top-1 accuracy in percent and mean cross-entropy in nats."""

    top1_percent: float
    loss: float


@dataclass(slots=True)
class Spending:
    """What judging has cost so far: evaluations, images forwarded (calibration included), their MACs, and seconds.

    Images and MACs are counted as if every path were run alone, so that strategies compare whatever they share.
    """

    evaluations: int = 0
    images: int = 0
    macs: float = 0.0
    seconds: float = 0.0

    def __add__(self, other: Spending) -> Spending:
        return Spending(
            self.evaluations + other.evaluations,
            self.images + other.images,
            self.macs + other.macs,
            self.seconds + other.seconds,
        )

    def to_dict(self) -> dict[str, float]:
        """Plain data."""
        return asdict(self)


class Evaluator:
    """Scores architectures of one supernet on the validation split; each architecture is evaluated once.

    Every score comes from weights whose norm statistics are averaged anew over the same calibration images, so it never
    depends on what was evaluated before.

    Args:
        supernet: the judge.
        data: the splits; validation images are scored, training images calibrate.
        calibration_images: how many training images the norms' statistics are averaged over.
        batch_size: of both; the most that is forwarded at once is one chunk of validation images and all calibration
            images.
        seed: draws the calibration images.
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
        self.spent = Spending()
        self._scores: dict[Architecture, Score] = {}
        self._data = data
        self._macs = build_costs(supernet.space, ("macs",))["macs"]
        order = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(seed))
        self._calibration = data.train.subset(order[:calibration_images])

    def score(self, architecture: Architecture) -> Score:
        """Validation score of `architecture` with inherited weights."""
        return self.scores([architecture])[0]

    def scores(self, architectures: Sequence[Architecture], progress: Task | None = None) -> list[Score]:
        """Validation scores of all, in order; what architectures share at their start is computed once.

        Args:
            architectures: any number, also repeated ones.
            progress: advanced by one for every architecture that is new.
        """
        new = [a for a in dict.fromkeys(architectures) if a not in self._scores]
        started = time.perf_counter()
        if len(new) == 1:
            network = self.network(new[0])
            self._scores[new[0]] = evaluate(network, self._data.validation, self._data, self.batch_size)
            if progress is not None:
                progress.advance()
        elif new:
            self._scores.update(self._shared(new, progress))
        self._spend(new, started)
        return [self._scores[architecture] for architecture in architectures]

    def per_image(
        self, architectures: Sequence[Architecture], progress: Task | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """What `scores` adds up, image by image, judged anew and not kept: for scores on parts of the validation split.

        Args:
            architectures: any number, also repeated ones.
            progress: advanced by one for every architecture.

        Returns:
            Cross-entropies in nats and whether the answer was correct, both `[architectures, validation images]`.
        """
        started = time.perf_counter()
        shape = len(architectures), len(self._data.validation)
        losses, correct = np.zeros(shape), np.zeros(shape, dtype=np.bool_)
        for index, chunk, logits in self._logits(architectures, progress):
            labels = self._data.validation.labels[chunk]
            losses[index, chunk] = F.cross_entropy(logits, labels, reduction="none").numpy()
            correct[index, chunk] = (logits.argmax(1) == labels).numpy()
        self._spend(list(dict.fromkeys(architectures)), started)
        return losses, correct

    @property
    def scored(self) -> Mapping[Architecture, Score]:
        """Every architecture judged so far, in order, with its score."""
        return self._scores

    def network(self, architecture: Architecture) -> nn.Sequential:
        """The stand-alone network with inherited weights and recalibrated norms, in evaluation mode."""
        network = channels_last(self.supernet.extract(architecture))
        recalibrate(network, self._calibration, self._data, self.batch_size)
        return network

    def _spend(self, architectures: Sequence[Architecture], started: float) -> None:
        """Count what judging these has cost since `started`."""
        images = len(self._calibration) + len(self._data.validation)
        self.spent.evaluations += len(architectures)
        self.spent.images += images * len(architectures)
        self.spent.macs += images * sum(map(self._macs.cost, architectures))
        self.spent.seconds += time.perf_counter() - started

    def _shared(self, architectures: Sequence[Architecture], progress: Task | None) -> dict[Architecture, Score]:
        """Scores of several architectures by one walk over their trie."""
        correct, loss = np.zeros(len(architectures)), np.zeros(len(architectures))
        validation = self._data.validation
        for index, chunk, logits in self._logits(architectures, progress):
            labels = validation.labels[chunk]
            correct[index] += float((logits.argmax(1) == labels).sum())
            loss[index] += float(F.cross_entropy(logits, labels, reduction="sum"))
        count = len(validation)
        return {
            architecture: Score(100.0 * float(hits) / count, float(nats) / count)
            for architecture, hits, nats in zip(architectures, correct, loss, strict=True)
        }

    @torch.no_grad()
    def _logits(
        self, architectures: Sequence[Architecture], progress: Task | None
    ) -> Iterator[tuple[int, slice, Tensor]]:
        """Walk the trie of architectures: the index of one, a chunk of the validation images, its logits there.

        At every block the norms are calibrated on what the calibration images are there, and kept, so that the
        validation images can follow in chunks.
        """
        net = copy.deepcopy(self.supernet).eval()
        nodes = plant(net, architectures)
        calibration = [prepare(b, self._data, net) for b in self._calibration.images.split(self.batch_size)]
        kept: dict[Node, list[tuple[nn.Module, dict[str, Tensor]]]] = {}
        for first in range(0, len(self._data.validation), self.batch_size):
            chunk = slice(first, first + self.batch_size)
            images = prepare(self._data.validation.images[chunk], self._data, net)

            def advance(node: Node, state: tuple[list[Tensor], Tensor]) -> tuple[list[Tensor], Tensor]:
                batches, hidden = state
                run, module = node.step.run, node.step.module
                if node not in kept:
                    with calibrating(module):
                        batches = [run(batch) for batch in batches]
                    kept[node] = statistics(module)
                else:
                    restore(kept[node])
                return batches, run(hidden)

            for index, (_, logits) in walk(nodes, (calibration if first == 0 else [], images), advance):
                yield index, chunk, logits.float().cpu()
                if first == 0 and progress is not None:
                    progress.advance()


@torch.no_grad()
def recalibrate(network: nn.Module, images: ImageSet, data: DataSplits, batch_size: int = 512) -> None:
    """Average the norms' running statistics anew over `images`; leaves the network in evaluation mode."""
    network.eval()
    with calibrating(network):
        for batch in images.images.split(batch_size):
            network(prepare(batch, data, network))


@torch.no_grad()
def evaluate(network: nn.Module, images: ImageSet, data: DataSplits, batch_size: int = 512) -> Score:
    """Top-1 and loss of a network in evaluation mode on `images`."""
    correct, loss = 0.0, 0.0
    for batch, labels in zip(images.images.split(batch_size), images.labels.split(batch_size), strict=True):
        logits = network(prepare(batch, data, network)).float().cpu()
        correct += float((logits.argmax(1) == labels).sum())
        loss += float(F.cross_entropy(logits, labels, reduction="sum"))
    return Score(100.0 * correct / len(images), loss / len(images))


def prepare(batch: Tensor, data: DataSplits, network: nn.Module) -> Tensor:
    """Images uint8 `[N, C, H, W]` as a network takes them: normalised, channels last, on its device."""
    device = next(network.parameters()).device
    return data.normalise(batch.to(device)).contiguous(memory_format=torch.channels_last)
