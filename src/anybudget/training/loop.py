"""The loop that every training goes through: epochs of batches that can be stopped, killed and resumed."""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from anybudget.errors import DataError, TrainingError
from anybudget.runtime.distributed import Processes
from anybudget.runtime.progress import Progress, SilentProgress
from anybudget.storage.checkpoint import Checkpoint, Stateful, TorchRandom
from anybudget.training.batches import Batches
from anybudget.training.compiling import ChooseCompiled, as_the_trial_says
from anybudget.training.guessing import no_better_than_guessing
from anybudget.training.waiting import WAITING, Waits, say_if_long

logger = logging.getLogger(__name__)

Row = dict[str, float]
Log = Callable[[Row], None]
"""Receives one row of metrics per epoch."""


def no_log(_row: Row) -> None:
    """Keep no metrics."""


Keep = Callable[[int, nn.Module], None]
"""Receives the model at the end of every epoch, by its number from 1."""


def keep_nothing(_epoch: int, _model: nn.Module) -> None:
    """Keep no weights."""


OpenLoggers = Callable[[str], AbstractContextManager[Log]]
"""Opens what else receives rows, for a training by its name, until it ends."""


def no_loggers(_name: str) -> AbstractContextManager[Log]:
    """Open none."""
    return nullcontext(no_log)


ChooseThreads = Callable[[Callable[[], float]], None]
"""Decides with how many threads torch computes, given work that can be timed: it returns the seconds that it took."""


def keep_threads(_work: Callable[[], float]) -> None:
    """Leave the number of threads as it is."""


ROLLBACK_RATE = 0.5
"""What the learning rate is multiplied by after a rollback."""


@dataclass(frozen=True, slots=True)
class TrainingContext:
    """What watches over a training: where it saves itself, which processes share it, who hears of it.

    `choose_threads` is given a step of a training that begins, on the CPU and in one process, before it does;
    `choose_compiled` a trial of one that may be compiled.
    `rollbacks` is how often a loss that is not finite may send training back to the start of its epoch with half the
    learning rate; 0 stops at the first. `notices` says whether a training tells where it resumes and that it is no
    better than guessing, and whether `loggers` are opened, by its name, which get its rows as `log` does; one of many
    short ones does not. `keep` gets the model as training would leave it at the end of each epoch; of an epoch that is
    trained again after a kill it gets the same once more.
    """

    checkpoint: Checkpoint = field(default_factory=Checkpoint)
    processes: Processes = field(default_factory=Processes)
    progress: Progress = field(default_factory=SilentProgress)
    log: Log = no_log
    keep: Keep = keep_nothing
    rollbacks: int = 0
    choose_threads: ChooseThreads = keep_threads
    choose_compiled: ChooseCompiled = as_the_trial_says
    notices: bool = True
    loggers: OpenLoggers = no_loggers


@dataclass(frozen=True, slots=True)
class Figures:
    """What a step adds to its epoch: named `sums`, and the `loss` that is watched."""

    loss: float
    sums: Mapping[str, float]


Step = Callable[[Tensor, Tensor], Figures]
"""Trains on this process's part of a batch, images `[B, C, H, W]` and labels `[B]`; raises what stops training."""


class EpochLoop:
    """Epochs of shuffled batches, saved between steps and resumed to the last bit.

    All that decides what comes next is in `parts` and in the loop's own position: epoch and step say which images come,
    and how they are augmented.

    Args:
        batches: of what is trained on.
        context: who watches.
        name: in progress and errors.
        epochs: how many.
    """

    def __init__(self, batches: Batches, context: TrainingContext, *, name: str, epochs: int) -> None:
        self.batches, self.context = batches, context
        self.name, self.epochs = name, epochs
        self.steps_per_epoch = batches.per_epoch
        self.epoch = 1
        self.rate = 1.0
        """What the learning rate is multiplied by, after rollbacks."""
        self._step = 0  # of the epoch, the last one that has been begun
        self._rows: list[Row] = []
        self._sums: dict[str, float] = {}
        self._seconds = 0.0
        self._waits = Waits()
        self._rolled_back = 0
        self._epoch_start: dict[str, Any] | None = None
        self.begins: Callable[[Callable[[], Callable[[], float]], int], None] | None = None
        """Told of a training that begins, and is not resumed: what gives a step to be timed, and how many there are."""
        self.ended: Callable[[int], None] | None = None
        """Told of each epoch that has ended, by its number."""
        self._parts: dict[str, Stateful] = {
            "torch": TorchRandom(),
            "processes": context.processes,
        }

    @property
    def where(self) -> str:
        """Epoch and step, for messages."""
        return f"epoch {self.epoch}, step {self._step}"

    def scale_rate(self, optimiser: torch.optim.Optimizer, schedule: LRScheduler) -> None:
        """Set the learning rate that the schedule has come to, times what rollbacks have left of it."""
        for group, rate in zip(optimiser.param_groups, schedule.get_last_lr(), strict=True):
            group["lr"] = self.rate * rate

    def run(
        self,
        model: nn.Module,
        parts: Mapping[str, Stateful],
        step: Step,
        row: Callable[[int, Mapping[str, float]], Row],
        finished: Callable[[], bool] = lambda: False,
        *,
        loss: str | None = "loss",
    ) -> None:
        """Train to the end, from the checkpoint where there is one.

        A notice says so if the last epoch is no better than guessing.

        Args:
            model: what is trained.
            parts: what else has a state, by name: optimiser, schedule, samplers, sources of randomness.
            step: trains on one batch.
            row: the metrics of an epoch, from its number and the sums of its steps (`steps` is among them).
            finished: asked after each step whether to end before the last epoch.
            loss: which metric of a row is the mean cross-entropy in nats; None if none is, and nothing can be guessed.

        Raises:
            TrainingError: the loss is not finite, and no rollback is left.
            Stopped: training was asked to stop, and has been saved.
        """
        self._begin(model, parts, step)
        with self._opened_log() as log:
            for done in self._rows:
                log(done)
            with self.context.progress.task(self.name, self.epochs * self.steps_per_epoch) as task:
                task.advance((self.epoch - 1) * self.steps_per_epoch + self._step)
                # One that has ended early within an epoch still has that epoch's metrics to give.
                while self.epoch <= self.epochs and (self._step or not finished()):
                    if self.context.rollbacks and not self._step:
                        self._epoch_start = copy.deepcopy(self._state())
                    try:
                        self._epoch(step, task, finished)
                    except TrainingError as error:
                        task.advance(-self._step)
                        self._roll_back(error)
                        continue
                    log(self._end_epoch(row))
                    if self.ended is not None:
                        self.ended(self.epoch - 1)
                # What follows may be interrupted, too, and then begins with a finished training.
                self._save()
        if loss is not None:
            self._compare_with_guessing(loss)
        if self.context.processes.main and self.context.notices:
            say_if_long(self.name, self._rows)

    def _begin(self, model: nn.Module, parts: Mapping[str, Stateful], step: Step) -> None:
        """Resume where there is something to resume, or else choose how steps are computed."""
        context = self.context
        context.processes.check_batch(self.batches.size)
        self._model = model
        self._parts |= {"model": model, **parts}
        saved = context.checkpoint.load()
        if saved is not None and not self._is_beyond(saved):
            self._load(saved)
            if context.notices:
                logger.info("%s: resumes from %s", self.name, self.where)
            return
        with suppress(TrainingError):  # training will meet it again, and says more about it
            if context.processes.count == 1 and context.processes.device.type == "cpu":
                context.choose_threads(self._trial(step))
            if self.begins is not None:
                self.begins(partial(self._trial, step), self.epochs * self.steps_per_epoch)

    def _end_epoch(self, row: Callable[[int, Mapping[str, float]], Row]) -> Row:
        """The metrics of the epoch that is done; the next one begins."""
        waited = round(self._waits.seconds, 3)
        self._rows.append({**row(self.epoch, self._sums), "seconds": self._seconds, WAITING: waited})
        self._sums, self._seconds, self._step, self._waits = {}, 0.0, 0, Waits()
        self.epoch += 1
        return self._rows[-1]

    @contextmanager
    def _opened_log(self) -> Iterator[Log]:
        """What gets the rows of this training."""
        context = self.context
        opened = context.loggers if context.notices and context.processes.main else no_loggers
        with opened(self.name) as also:

            def log(row: Row) -> None:
                context.log(row)
                also(row)

            yield log

    def _compare_with_guessing(self, loss: str) -> None:
        """Say so if the last epoch was no better than guessing: all that builds on it would be in vain."""
        if not self._rows or not self.context.processes.main or not self.context.notices:
            return
        last = self._rows[-1]
        top1, weights = last.get("train_top1_percent"), self.batches.class_weights
        reached = no_better_than_guessing(self.batches.labels, last[loss], top1, weights)
        if reached:
            logger.warning(
                "%s: training has ended no better than guessing, with %s after %d epochs on %d images; what builds on "
                "it is worth little; try a lower or higher learning_rate (a third, three times), more epochs, or more "
                "images",
                self.name,
                reached,
                len(self._rows),
                len(self.batches.labels),
            )

    def _epoch(self, step: Step, task: Any, finished: Callable[[], bool]) -> None:
        """The rest of an epoch."""
        if finished():
            return
        checkpoint, processes = self.context.checkpoint, self.context.processes
        started = time.perf_counter()
        for images, labels in self._batches():
            figures = step(images, labels)
            for key, value in {**figures.sums, "steps": 1}.items():
                self._sums[key] = self._sums.get(key, 0.0) + value
            task.advance(1, f"epoch {self.epoch}/{self.epochs} loss {figures.loss:.3f}{self._waits}")
            # One of several processes may have been asked to stop alone, or look at the clock a step earlier.
            due, stop = processes.mean([checkpoint.due(), checkpoint.stopping])
            if due > 0 or stop > 0:
                self._seconds += time.perf_counter() - started
                started = time.perf_counter()
                self._save()
            if stop > 0:
                checkpoint.stop()
            if finished():
                break
        self._seconds += time.perf_counter() - started

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """This process's part of every batch that the epoch still has."""
        processes = self.context.processes
        coming = self.batches.epoch(self.epoch, processes.device, start=self._step, share=processes.share)
        for images, labels in self._waits.watched(self._saved_before(coming)):
            self._step += 1
            if images.ndim == 4:  # others are somebody else's, such as sequences
                images = images.contiguous(memory_format=torch.channels_last)
            yield images, labels

    def _saved_before(self, coming: Iterator[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches; where one cannot be read, all steps before it are saved first, so that they are not lost."""
        try:
            yield from coming
        except DataError:
            self._save()
            raise

    def _trial(self, step: Step) -> Callable[[], float]:
        """The first step, as often as it is called, without a trace: all state is put back; returns its seconds."""
        before = copy.deepcopy(self._state())

        def trial() -> float:
            started = time.perf_counter()
            try:
                step(*next(self._batches()))
                return time.perf_counter() - started
            finally:
                self._load(copy.deepcopy(before))

        return trial

    def _save(self) -> None:
        if not all(bool(torch.isfinite(parameter).all()) for parameter in self._model.parameters()):
            raise TrainingError(
                f"{self.name}: weights are not finite after {self.where}, though the loss was; lower learning_rate or "
                "set rollbacks; the last checkpoint is kept"
            )
        state = self._state()
        if self.context.processes.main:
            self.context.checkpoint.save(state | {"epoch_start": self._epoch_start})

    def _state(self) -> dict[str, Any]:
        own = {
            "epoch": self.epoch,
            "rate": self.rate,
            "step": self._step,
            "rows": self._rows,
            "sums": self._sums,
            "seconds": self._seconds,
            WAITING: self._waits.seconds,
            "rolled_back": self._rolled_back,
        }
        return {"loop": own, **{name: part.state_dict() for name, part in self._parts.items()}}

    def _load(self, state: Mapping[str, Any]) -> None:
        own = state["loop"]
        self.epoch, self._step, self.rate, self._rolled_back = (
            own[key] for key in ("epoch", "step", "rate", "rolled_back")
        )
        # One that is older did not look at waiting.
        self._rows = [{**row, WAITING: row.get(WAITING, 0.0)} for row in own["rows"]]
        self._sums, self._seconds, self._waits = dict(own["sums"]), own["seconds"], Waits(own.get(WAITING, 0.0))
        for name, part in self._parts.items():
            part.load_state_dict(state[name])
        self._epoch_start = state.get("epoch_start", self._epoch_start)

    def _is_beyond(self, state: Mapping[str, Any]) -> bool:
        """Whether a state is of a longer training of the same kind, which is further than this one will ever be."""
        return (state["loop"]["epoch"], state["loop"]["step"]) > (self.epochs + 1, 0)

    def _roll_back(self, error: TrainingError) -> None:
        """Back to the start of the epoch with half the learning rate.

        Raises:
            TrainingError: this has been done as often as it may be, or may not be done at all.
        """
        if self._epoch_start is None or self._rolled_back >= self.context.rollbacks:
            raise error
        rate, count = self.rate * ROLLBACK_RATE, self._rolled_back + 1
        self._load(copy.deepcopy(self._epoch_start))
        self.rate, self._rolled_back = rate, count
        logger.warning(
            "%s; rolled back to the start of epoch %d with %g times the learning rate (rollback %d of %d)",
            error,
            self.epoch,
            self.rate,
            count,
            self.context.rollbacks,
        )
