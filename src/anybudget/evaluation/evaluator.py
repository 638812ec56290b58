"""The evaluator: validation top-1 of an architecture with the supernet's weights, after recalibrating its norms."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from anybudget.architecture import Architecture
from anybudget.costs import build_costs
from anybudget.data import DataSource, ImageSet, Split, largest_class_percent
from anybudget.errors import ConfigError, DataError
from anybudget.evaluation.confusion import Confusion
from anybudget.evaluation.metrics import TOP1, TOP5, Metrics, Tally, applicable
from anybudget.evaluation.parts import Part, Timed, named, share_out, timed
from anybudget.evaluation.settings import EvaluatorSettings
from anybudget.nets import Supernet
from anybudget.nets.blocks import channels_last
from anybudget.nets.folding import fold_norms
from anybudget.nets.norms import calibrating, restore, statistics
from anybudget.nets.prefix_tree import Node, build_prefix_tree, run_prefix_tree
from anybudget.runtime.accounting import Spending
from anybudget.runtime.batch_parts import FEWEST
from anybudget.runtime.device import moved
from anybudget.runtime.progress import SILENT, Task
from anybudget.runtime.workers import Piece, Workers
from anybudget.storage.journal import Journal


class SubnetEvaluator:
    """Scores architectures with the weights of one supernet; what `Evaluator` keeps accounts of.

    Calibration: in every norm of an architecture, mean and variance are those of all calibration images as one batch.
    The images pass the network together, block by block, and every norm sees what the earlier ones gave for all of
    them. So a score depends neither on what was evaluated before nor on how images were cut into batches: another
    `batch_size` changes it by rounding only.

    Cost: one forward of the calibration images, and memory for all of them in the widest block and after every block of
    a path. That is bounded by `calibration_images`, not by `batch_size`.

    Args:
        supernet: has the weights.
        data: the splits; validation images are scored, training images calibrate.
        settings: how it calibrates and forwards; the defaults if not given.

    Raises:
        ConfigError: `calibration_images` is 1 or negative.
        DataError: the training split has fewer than 2 images.

    Source: SPOS §3.4 recalculates the statistics on some training images for every architecture.
    Differs: the usual average over batches depends on their size, and gives a small last batch too much weight.
    """

    def __init__(self, supernet: Supernet, data: DataSource, settings: EvaluatorSettings | None = None) -> None:
        settings = settings or EvaluatorSettings()
        self.supernet, self.data, self.batch_size = supernet, data, settings.batch_size
        self.calibration = draw_calibration(
            data, settings.calibration_images, settings.seed, balanced=settings.balanced
        )

    @property
    def images(self) -> int:
        """How many images one evaluation forwards, calibration included."""
        return len(self.calibration) + len(self.data.validation)

    def scores(
        self, architectures: Sequence[Architecture], progress: Task | None = None
    ) -> dict[Architecture, Metrics]:
        """The score of each of some different architectures; what they share at their start is computed once.

        Scores are the same to the last bit in any company: one alone is walked like many, since the stand-alone network
        may round otherwise.

        Args:
            architectures: one or more, none twice.
            progress: advanced by one for each.
        """
        labels = self.data.validation.labels
        tallies = [Tally.empty(labels.numpy(), self.data.classes) for _ in architectures]
        for index, chunk, logits in self.logits(architectures, progress):
            count_answers(tallies[index], logits, labels[chunk])
        return {a: tally.metrics() for a, tally in zip(architectures, tallies, strict=True)}

    def network(self, architecture: Architecture) -> nn.Sequential:
        """The stand-alone network with inherited weights and calibrated norms, in evaluation mode, fit to train."""
        network = channels_last(self.supernet.extract(architecture)).eval()
        if len(self.calibration):
            recalibrate(network, self.calibration, self.data)
        return network

    def per_image(self, architectures: Sequence[Architecture], progress: Task | None = None) -> PerImage:
        """The answers to every validation image of some architectures; see `scores`."""
        validation = self.data.validation
        shape = len(architectures), len(validation)
        found = PerImage(np.zeros(shape), np.zeros(shape, dtype=np.bool_), np.zeros(shape, dtype=np.bool_))
        for index, chunk, logits in self.logits(architectures, progress):
            labels = validation.labels[chunk]
            found.losses[index, chunk] = F.cross_entropy(logits.double(), labels, reduction="none").numpy()
            found.correct[index, chunk] = (logits.argmax(1) == labels).numpy()
            found.top5[index, chunk] = among_highest(logits, labels).numpy()
        return found

    @torch.no_grad()
    def logits(
        self, architectures: Sequence[Architecture], progress: Task | None = None
    ) -> Iterator[tuple[int, slice, Tensor]]:
        """Walk the prefix tree of architectures: the index of one, a chunk of the validation images, its logits there.

        At every block the norms are calibrated on what the calibration images are there, and kept, so that the
        validation images can follow in chunks.
        """
        net = copy.deepcopy(self.supernet).eval()
        fold_norms(net)
        nodes = build_prefix_tree(net, architectures)
        calibration = prepare(self.calibration.images, self.data, net) if len(self.calibration) else None
        kept: dict[Node, list[tuple[nn.Module, dict[str, Tensor]]]] = {}
        for number, (stored, _) in enumerate(self.data.validation.batches(self.batch_size)):
            first = number * self.batch_size
            chunk = slice(first, first + self.batch_size)
            images = prepare(stored, self.data, net)

            def advance(node: Node, state: tuple[Tensor | None, Tensor]) -> tuple[Tensor | None, Tensor]:
                calibrating_images, hidden = state
                run, module = node.step.run, node.step.module
                if node in kept:
                    restore(kept[node])
                elif calibrating_images is not None:
                    with calibrating(module):
                        calibrating_images = run(calibrating_images)
                    kept[node] = statistics(module)
                return calibrating_images, run(hidden)

            for index, (_, logits) in run_prefix_tree(nodes, (calibration if first == 0 else None, images), advance):
                yield index, chunk, logits.float().cpu()
                if first == 0 and progress is not None:
                    progress.advance()


Engine = Callable[[Sequence[Sequence[Architecture]]], Iterator[Mapping[Architecture, Metrics]]]
"""Evaluates groups of architectures somewhere; gives each group's scores as they come, in any order."""

GROUP = 64
"""Architectures evaluated together: as many as are lost in a kill, and as an engine's worker takes at once."""


T = TypeVar("T")


class PerImage(NamedTuple):
    """Answers of networks to each validation image, `[architectures, images]`: cross-entropies in nats, whether the
    answer was correct, and whether the label was among the 5 highest logits.
    """

    losses: NDArray[np.float64]
    correct: NDArray[np.bool_]
    top5: NDArray[np.bool_]


class Evaluator:
    """Keeps accounts of an evaluator: each architecture is evaluated once, every evaluation is counted.

    Args:
        supernet: see `SubnetEvaluator`.
        data: see `SubnetEvaluator`.
        settings: see `SubnetEvaluator`.
        journal: keeps every score on disk, and has those of an interrupted search, which count as if evaluated now.
        engine: evaluates elsewhere; on this machine if None.
        metric: the primary metric of all scores, by which networks are chosen.
        workers: what evaluates on this machine; this process if not given.
    """

    def __init__(
        self,
        supernet: Supernet,
        data: DataSource,
        settings: EvaluatorSettings | None = None,
        *,
        journal: Journal | None = None,
        engine: Engine | None = None,
        metric: str = TOP1,
        workers: Workers | None = None,
    ) -> None:
        self.subnet_evaluator = SubnetEvaluator(supernet, data, settings)
        self.supernet = supernet
        self.spent = Spending()
        self.metric = metric
        self._scores: dict[Architecture, Metrics] = {}
        self._macs = build_costs(supernet.space, ("macs",))["macs"]
        self._journal, self._engine, self._workers = journal, engine, workers or Workers()

    def with_weights(self, supernet: Supernet) -> Evaluator:
        """An evaluator as this one is, of another supernet of its space; it has evaluated nothing and keeps no journal.

        It evaluates on this machine: whatever else evaluates for this one has this one's weights.
        """
        other = copy.copy(self)
        other.subnet_evaluator = copy.copy(self.subnet_evaluator)
        other.supernet = other.subnet_evaluator.supernet = supernet
        other.spent, other._scores = Spending(), {}
        other._journal = other._engine = None
        return other

    def score(self, architecture: Architecture) -> Metrics:
        """Validation score of `architecture` with inherited weights."""
        return self.scores([architecture])[0]

    def scores(self, architectures: Sequence[Architecture], progress: Task | None = None) -> list[Metrics]:
        """Validation scores of all, in order.

        Args:
            architectures: any number, also repeated ones.
            progress: advanced by one for every architecture that is new.

        Raises:
            Stopped: the search was asked to stop; all scores are in the journal.
        """
        new = [a for a in dict.fromkeys(architectures) if a not in self._scores]
        if new:
            known = self._known(new)
            if progress is not None:
                progress.advance(len(known))
            for found, seconds in self._evaluated([a for a in new if a not in known], progress):
                share = seconds / len(found)
                known |= {architecture: (metrics, share) for architecture, metrics in found.items()}
                if self._journal is not None:
                    self._journal.add((a.choices, {**m.to_dict(), "seconds": share}) for a, m in found.items())
                    self._journal.stop_if_asked()
            self._scores |= {architecture: replace(known[architecture][0], primary=self.metric) for architecture in new}
            self._spend(new, sum(known[architecture][1] for architecture in new))
        return [self._scores[architecture] for architecture in architectures]

    def per_image(self, architectures: Sequence[Architecture], progress: Task | None = None) -> PerImage:
        """What `scores` adds up, image by image, evaluated anew and not kept: for scores on parts of the split.

        Args:
            architectures: any number, also repeated ones.
            progress: advanced by one for every architecture.
        """
        results = dict(self._shared_out(self.subnet_evaluator.per_image, [architectures], progress))
        self._spend(list(dict.fromkeys(architectures)), sum(result.seconds for result in results.values()))
        parts = [results[index].value for index in sorted(results)]
        return PerImage(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))

    @property
    def scored(self) -> Mapping[Architecture, Metrics]:
        """Every architecture evaluated so far, in order, with its score."""
        return self._scores

    @property
    def largest_class_percent(self) -> float:
        """The share of the largest class of the validation images, in percent: what any top-1 has to beat."""
        return largest_class_percent(self.subnet_evaluator.data.validation.labels)

    def network(self, architecture: Architecture) -> nn.Sequential:
        """See `SubnetEvaluator.network`."""
        return self.subnet_evaluator.network(architecture)

    def _known(self, architectures: Sequence[Architecture]) -> dict[Architecture, tuple[Metrics, float]]:
        """Scores that the journal has whole, and the seconds that they took."""
        entries = self._journal.entries if self._journal is not None else {}
        rows = [(architecture, entries.get(architecture.choices)) for architecture in architectures]
        names = applicable(self.subnet_evaluator.data.classes) if entries else ()
        return {
            architecture: (Metrics(row["loss"], {name: row[name] for name in names}), row["seconds"])
            for architecture, row in rows
            if row is not None and row.keys() >= {*names, "loss", "seconds"}  # an older version kept fewer figures
        }

    def _evaluated(
        self, architectures: Sequence[Architecture], progress: Task | None
    ) -> Iterator[tuple[Mapping[Architecture, Metrics], float]]:
        """Scores of groups as they come, and the seconds that they took. Neighbours share the most of their start.

        On this machine seconds are those of computing, in all workers; of an engine's, those since the last came.
        """
        ordered = sorted(architectures, key=lambda architecture: architecture.choices)
        groups = [ordered[first : first + GROUP] for first in range(0, len(ordered), GROUP)]
        if self._engine is None:
            for _, found in self._shared_out(self.subnet_evaluator.scores, groups, progress):
                yield found.value, found.seconds
            return
        started = time.perf_counter()
        for scores in self._engine(groups):
            if progress is not None:
                progress.advance(len(scores))
            now = time.perf_counter()
            yield scores, now - started
            started = now

    def _shared_out(
        self, evaluate: Callable[[Part, Task], T], groups: Sequence[Part], progress: Task | None
    ) -> Iterator[tuple[int, Timed[T]]]:
        """What `evaluate` gives for groups of architectures, which are cut where there are workers for more parts.

        The place of a part among all, and its result, as they come.
        """
        several = self._workers.count > 1 and any(groups)
        parts = share_out(groups, self._workers.count) if several else groups
        pieces = [Piece(named(part), partial(timed, partial(evaluate, part))) for part in parts]
        return self._workers.each(pieces, progress or SILENT)

    def _spend(self, architectures: Sequence[Architecture], seconds: float) -> None:
        """Count what evaluating these has cost."""
        images, count = self.subnet_evaluator.images, len(architectures)
        self.spent.add(images * count, images * sum(map(self._macs.cost, architectures)), seconds, count)


def draw_calibration(data: DataSource, count: int, seed: int, *, balanced: bool = False) -> ImageSet:
    """The `count` training images that calibrate, or all where there are fewer; none if `count` is 0.

    With `balanced` every class comes equally often, give or take one, until it has no image left.

    Raises:
        ConfigError: `count` is 1 or negative.
        DataError: there are fewer than 2 images.
    """
    if count == 1 or count < 0:
        raise ConfigError(f"calibration_images: {count} images have no variance; take 2 or more, or 0 for none")
    train = data.train
    if not count:
        return ImageSet(torch.empty(0, *data.input_shape, dtype=torch.uint8), train.labels[:0])
    if len(train) < FEWEST:
        raise DataError(
            f"the training split has {len(train)} image(s), and norms need at least {FEWEST} to be calibrated on; add "
            "images"
        )
    return train.sample(count, seed, balanced=balanced)


@torch.no_grad()
def recalibrate(network: nn.Module, images: ImageSet, data: DataSource) -> None:
    """Make the norms' running statistics those of all `images` as one batch; leaves the network in evaluation mode.

    Momentum and modes of the norms stay as they are, so the network can be trained on in any loop. After an error it
    has its old statistics. Needs memory for all images in the widest layer.
    """
    network.eval()
    with calibrating(network):
        network(prepare(images.images, data, network))


@torch.no_grad()
def evaluate(
    network: nn.Module, images: Split, data: DataSource, batch_size: int = 512, confusion: Confusion | None = None
) -> Metrics:
    """The metrics of a network in evaluation mode on `images`; `batch_size` of them are forwarded at once.

    Its answers are added to a confusion matrix, if one is given.
    """
    tally = Tally.empty(images.labels.numpy(), data.classes)
    for batch, labels in images.batches(batch_size):
        logits = network(prepare(batch, data, network)).float().cpu()
        count_answers(tally, logits, labels)
        if confusion is not None:
            confusion.add(labels.numpy(), logits.argmax(1).numpy())
    return tally.metrics()


def count_answers(tally: Tally, logits: Tensor, labels: Tensor) -> None:
    """Add the answers to some images to a tally: logits `[N, C]` and labels `[N]`, on the CPU."""
    classes = len(tally.images)
    tally.hits += torch.bincount(labels[logits.argmax(1) == labels], minlength=classes).numpy()
    if classes > TOP5:
        tally.top5_hits += torch.bincount(labels[among_highest(logits, labels)], minlength=classes).numpy()
    tally.loss += float(F.cross_entropy(logits.double(), labels, reduction="sum"))


def among_highest(logits: Tensor, labels: Tensor) -> Tensor:
    """Whether the label `[N]` is among the 5 highest logits `[N, C]`, or all where there are fewer: bool `[N]`."""
    return (logits.topk(min(TOP5, logits.shape[1]), dim=1).indices == labels.unsqueeze(1)).any(1)


def prepare(batch: Tensor, data: DataSource, network: nn.Module) -> Tensor:
    """Images uint8 `[N, C, H, W]` as a network takes them: normalised, channels last, on its device."""
    device = next(network.parameters()).device
    return data.normalise(moved(batch, device)).contiguous(memory_format=torch.channels_last)
