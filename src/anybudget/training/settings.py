"""How networks (`Schedule`) and supernets (`SupernetSchedule`) are trained by gradient descent; declared here once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

from pydantic import PlainValidator
from pydantic_core import PydanticCustomError

from anybudget.data.augmentation_settings import AugmentationSettings
from anybudget.settings import Count, Natural, Part, Share
from anybudget.training.optimiser_settings import OptimiserSettings


class Schedule(OptimiserSettings, AugmentationSettings):
    """How long a network is trained on which batches, by which optimiser and learning rate, on images changed how.

    `batch_size` is that of all processes together; each forwards its share in `accumulate` parts, see `train_on`.

    These are off where they are 0: `label_smoothing`, the share of the loss that asks for all classes alike; `ema`, the
    decay of the average of the weights that takes their place in the end, see `WeightAverage`; `class_balance`, how far
    classes count alike in the loss however many images they have, up to 1, see `class_weights`; `dropout`, the share of
    features that are dropped before the classifier; `drop_path`, how often the last residual block is, see `Dropping`.

    With `compile` = "try" a trial says whether a network that is trained alone is compiled, see `CompiledForward`.
    """

    UNSAID: ClassVar[frozenset[str]] = (
        OptimiserSettings.UNSAID
        | AugmentationSettings.UNSAID
        | {"label_smoothing", "ema", "class_balance", "dropout", "drop_path", "compile"}
    )

    epochs: Count
    accumulate: Count = 1
    label_smoothing: Part = 0.0
    ema: Part = 0.0
    class_balance: Share = 0.0
    dropout: Part = 0.0
    drop_path: Part = 0.0
    compile: Literal["never", "try"] = "never"

    @property
    def batch_shares(self) -> int:
        """Among how many networks each batch is cut."""
        return 1

    def problems(self, table: str) -> Iterator[str]:
        """See `Settings.problems`."""
        yield from super().problems(table)
        if self.warmup_epochs > self.epochs:
            yield (
                f"{table}.warmup_epochs: {self.warmup_epochs:g} are more than the {self.epochs} of {table}.epochs; "
                "take fewer"
            )


def _paths_per_step(value: Any) -> Any:
    """A whole number, or the word for all paths of a round."""
    if value == "round" or (type(value) is int and 1 <= value <= 10**9):
        return value
    raise PydanticCustomError("paths_per_step", 'input should be a whole number from 1 to 1000000000, or "round"')


PathsPerStep = Annotated[int | Literal["round"], PlainValidator(_paths_per_step)]


class SupernetSchedule(Schedule):
    """A schedule of a supernet.

    A step trains `paths_per_step` paths on one batch and adds up their gradients; with "round" it trains a whole round:
    a fair one, or the paths that greedy filtering keeps. With `same_paths = false` several processes train paths of
    their own in a step.

    With `share_batch` the paths of a step cut the batch between them instead, and their gradients are averaged: the
    step costs as much as one path on the whole batch. With `complexity_rate` the losses of small networks count ever
    less, and the learning rate falls as that of the largest; see `ComplexityRate`.

    With `spread_epoch` only the smallest operations are trained in so many epochs, and then spread into the larger ones
    that contain them; see `Spreading`.
    """

    UNSAID: ClassVar[frozenset[str]] = Schedule.UNSAID | {"spread_epoch"}

    paths_per_step: PathsPerStep = 1
    same_paths: bool = True
    share_batch: bool = False
    complexity_rate: bool = False
    spread_epoch: Natural = 0

    @property
    def batch_shares(self) -> int:
        """See `Schedule.batch_shares`; how many paths a round has is known to its sampler alone."""
        return self.paths_per_step if self.share_batch and self.paths_per_step != "round" else 1

    def problems(self, table: str) -> Iterator[str]:
        """See `Settings.problems`."""
        yield from super().problems(table)
        if self.share_batch and self.paths_per_step == 1:
            yield (
                f"{table}.share_batch: one path to a step ({table}.paths_per_step = 1) has the batch to itself; give "
                'a greater number of paths, or "round", or share_batch = false'
            )
        if self.drop_path:
            yield (
                f"{table}.drop_path: a supernet has no residual blocks of its own to drop; leave it out, or set "
                "retrain.drop_path"
            )
        if self.compile != "never":
            yield (
                f"{table}.compile: a supernet runs another path in every step, and each would have to be compiled; "
                "leave it out, or set retrain.compile"
            )
        if self.complexity_rate and self.annealing != "cosine":
            yield (
                f"{table}.complexity_rate: says itself how the learning rate falls, and {table}.annealing is "
                f"{self.annealing!r}; leave out one of the two"
            )
        if self.spread_epoch >= self.epochs:
            yield (
                f"{table}.spread_epoch: {self.spread_epoch} of the {self.epochs} epochs of {table}.epochs leave none "
                "in which large operations are trained; take fewer, or 0 to train all from the start"
            )
