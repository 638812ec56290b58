"""The race at the end of a search: the best networks are trained a little, round by round, and the better half goes on.

A supernet's scores tell the good networks from the bad, not the best from the second best. A short training of their
own does. From inherited weights, the answer comes with weights that are already good; from scratch, networks are told
apart by what a training from scratch makes of them.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from typing import Any

from torch import nn

from anybudget.architecture import Architecture
from anybudget.costs import build_costs
from anybudget.errors import BudgetError, TrainingError
from anybudget.evaluation.evaluator import Evaluator, evaluate, recalibrate
from anybudget.evaluation.metrics import Metrics, applicable
from anybudget.nets import build_network
from anybudget.nets.blocks import channels_last
from anybudget.runtime.accounting import Spending
from anybudget.runtime.distributed import Processes
from anybudget.runtime.process_state import seeded
from anybudget.runtime.progress import Progress, SilentProgress, Task
from anybudget.runtime.workers import Piece, Workers
from anybudget.search.race_field import Field
from anybudget.search.race_settings import RaceSettings
from anybudget.search.raced import Raced, Round, key
from anybudget.storage.checkpoint import Checkpoint
from anybudget.storage.journal import Journal
from anybudget.training.loop import Row, TrainingContext, keep_threads
from anybudget.training.retrain import train_along
from anybudget.training.rounds import course_of_rounds
from anybudget.training.settings import Schedule
from anybudget.training.sgd import Course


class MemoryCheckpoint(Checkpoint):
    """Keeps the last state in memory, so that a training can go on later in the same process."""

    def __init__(self) -> None:
        self._state: dict[str, Any] | None = None

    def load(self) -> dict[str, Any] | None:
        """See `Checkpoint.load`."""
        return copy.deepcopy(self._state)

    def save(self, state: Mapping[str, Any]) -> None:
        """See `Checkpoint.save`."""
        self._state = copy.deepcopy(dict(state))


@dataclass(frozen=True)
class RaceContext:
    """Where a race keeps what it has done.

    Args:
        training_context: who watches a training, by its name; it has to keep the training's state for the next round.
            In memory by default.
        journal: keeps figures of rounds on disk, and has those of a search that was interrupted.
        earlier: rounds of a network that earlier races have finished, from the first on.
        progress: where it says how far it is.
        workers: what trains several networks at once; where nobody gives a `training_context`, networks are trained in
            this process, which has their states.
    """

    training_context: Callable[[str], TrainingContext] | None = None
    journal: Journal | None = None
    earlier: Callable[[Architecture], Sequence[Round]] = lambda _architecture: ()
    progress: Progress = field(default_factory=SilentProgress)
    workers: Workers = field(default_factory=Workers)


class Race:
    """Trains networks from the supernet's weights, or from fresh ones, and says which is the best of some.

    What a network is after a round is a function of the network and the round alone: all see the same images in the
    same order, with a learning rate that falls to 0 in every round. So it does not matter for whom else, with whom or
    in which order it races; what several races share is trained once, and rounds that are known are not trained again.

    Args:
        evaluator: has the supernet, the data and the images that calibrate; none of its accounts are touched.
        schedule: the optimiser, the batches and the highest learning rate; its epochs mean nothing.
        settings: how long a round is, how many race, and by what.
        seed: draws the order of images and the augmentation.
        context: where it keeps what it has done.

    Source: Jamieson and Talwalkar 2016 (successive halving), Algorithm 1, with rounds of equal length.

    Example:
        >>> race = Race(run.evaluator, Schedule(epochs=1, batch_size=64, learning_rate=0.01))  # doctest: +SKIP
        >>> (raced,) = race.run([networks])  # doctest: +SKIP
        >>> network = race.network(raced.winner.architecture)  # doctest: +SKIP
    """

    def __init__(
        self,
        evaluator: Evaluator,
        schedule: Schedule,
        settings: RaceSettings | None = None,
        *,
        seed: int = 0,
        context: RaceContext | None = None,
    ) -> None:
        self.settings, self.schedule, self.seed = settings or RaceSettings(), schedule, seed
        self.context = context or RaceContext()
        alone = self.context.training_context is None
        self._workers = replace(self.context.workers, count=1) if alone else self.context.workers
        self._judge, self._metric = evaluator.subnet_evaluator, evaluator.metric
        self._macs = build_costs(evaluator.supernet.space, ("macs",))["macs"]
        batches = self._course(1).batches
        self._steps, self._images = batches.per_epoch, batches.per_epoch * batches.size  # of a round
        self._rounds: dict[Architecture, list[Round]] = {}
        self._kept: dict[str, MemoryCheckpoint] = {}

    def run(self, fields: Sequence[Sequence[Architecture]]) -> list[Raced]:
        """Race some networks for each of several budget sets; all share their trainings.

        Args:
            fields: for each budget set one or more different networks, in the order of their supernet scores.

        Raises:
            BudgetError: a field has no network.
            TrainingError: the loss of a training is not finite or diverges.
            Stopped: the race was asked to stop, and has been saved.
        """
        if not all(fields):
            raise BudgetError("a race needs at least one network for every budget set")
        races = [Field(field) for field in fields]
        for number in count(1):
            racing = [race for race in races if race.goes_on]
            if not racing:
                return [race.result(self.settings.by, self._rounds) for race in races]
            self._finish_round(number, list(dict.fromkeys(network for race in racing for network in race.left)))
            for race in racing:
                race.halve({a: key(self._rounds[a][number - 1].metrics, self.settings.by) for a in race.left})
        raise AssertionError  # the rounds are counted without end

    def network(self, architecture: Architecture, rounds: int | None = None) -> nn.Module:
        """A network with its weights after so many rounds, by default all that it has run, in evaluation mode.

        Its norms are calibrated as the evaluator calibrates those of the supernet.
        """
        with self._workers.computing():
            network, _ = self._trained(architecture, len(self.rounds(architecture)) if rounds is None else rounds)
        return network

    def rounds(self, architecture: Architecture) -> list[Round]:
        """What is known of a network's rounds, from the first on."""
        if architecture not in self._rounds:
            earlier = self.context.earlier(architecture)
            self._rounds[architecture] = [*earlier, *self._journalled(architecture, len(earlier) + 1)]
        return self._rounds[architecture]

    def _finish_round(self, number: int, networks: Sequence[Architecture]) -> None:
        """Train and score all that have not done this round."""
        new = [network for network in networks if len(self.rounds(network)) < number]
        if not new:
            return
        best = math.inf
        pieces = [Piece(f"{training_name(a)}, round {number}", partial(self._run_round, a, number)) for a in new]
        with self.context.progress.task(f"race, round {number}", len(new) * self._steps) as task:
            for index, (metrics, seconds) in self._workers.each(pieces, task, saving=True):
                self._keep_round(new[index], number, metrics, seconds)
                best = min(best, metrics.loss)
                task.advance(0, f"best validation loss {best:.3f}")

    def _run_round(self, architecture: Architecture, number: int, task: Task) -> tuple[Metrics, float]:
        """Train a network for one more round: its metrics then, and the seconds that it took."""
        network, rows = self._trained(architecture, number, _RoundProgress(task, (number - 1) * self._steps))
        started = time.perf_counter()
        data = self._judge.data
        metrics = replace(evaluate(network, data.validation, data, self._judge.batch_size), primary=self._metric)
        return metrics, rows[-1]["seconds"] + time.perf_counter() - started

    def _keep_round(self, architecture: Architecture, number: int, metrics: Metrics, seconds: float) -> None:
        self._rounds[architecture].append(self._round(architecture, metrics, seconds))
        journal = self.context.journal
        if journal is not None:
            journal.add([((number, *architecture.choices), {**metrics.to_dict(), "seconds": seconds})])
            journal.stop_if_asked()

    def _trained(
        self, architecture: Architecture, rounds: int, progress: Progress | None = None
    ) -> tuple[nn.Module, list[Row]]:
        """The network after so many rounds, with calibrated norms, and a row for each; trains what is missing."""
        name = training_name(architecture)
        rows: list[Row] = []
        context = replace(
            self._training_context(name),
            log=rows.append,
            progress=progress or SilentProgress(),
            choose_threads=keep_threads,
            notices=False,
        )
        with seeded(self.seed):  # what training draws besides its data, as for dropout
            network = channels_last(self._at_start(architecture))
            try:
                train_along(network, self._course(rounds), self.schedule, context, name=name)
            except TrainingError as error:
                raise TrainingError(f"{error}; what is not in [search.race] is as [retrain] says") from None
        if len(self._judge.calibration):
            recalibrate(network, self._judge.calibration, self._judge.data)
        return network, rows

    def _at_start(self, architecture: Architecture) -> nn.Module:
        """The network before its first round."""
        supernet = self._judge.supernet
        if self.settings.start == "supernet":
            return supernet.extract(architecture)
        device = next(supernet.parameters()).device
        return build_network(supernet.space.block_specs(architecture)).to(device)

    def _course(self, rounds: int) -> Course:
        share = self.settings.epochs_per_round
        return course_of_rounds(self._judge.data, self.schedule, share, rounds=rounds, seed=self.seed)

    def _training_context(self, name: str) -> TrainingContext:
        if self.context.training_context is not None:
            return self.context.training_context(name)
        device = next(self._judge.supernet.parameters()).device
        kept = self._kept.setdefault(name, MemoryCheckpoint())
        return TrainingContext(checkpoint=kept, processes=Processes(device))

    def _journalled(self, architecture: Architecture, first: int) -> Iterator[Round]:
        """The rounds of a network that the journal has from this one on, up to one that it has not."""
        entries = self.context.journal.entries if self.context.journal else {}
        names = applicable(self._judge.data.classes) if entries else ()
        for number in count(first):
            row = entries.get((number, *architecture.choices))
            if row is None or not row.keys() >= {*names, "loss", "seconds"}:
                return
            metrics = Metrics(row["loss"], {name: row[name] for name in names}, self._metric)
            yield self._round(architecture, metrics, row["seconds"])

    def _round(self, architecture: Architecture, metrics: Metrics, seconds: float) -> Round:
        """A round with what it has cost."""
        images, scored, macs = self._images, self._judge.images, self._macs.cost(architecture)
        return Round(metrics, Spending(0, images, images * macs, seconds), Spending(0, scored, scored * macs))


def training_name(architecture: Architecture) -> str:
    """By which the training of a network in a race is known."""
    return f"race {architecture.short_id}"


class _RoundProgress:
    """Shows the steps of a training in the task of its round, but for the `before` ones of earlier rounds."""

    def __init__(self, task: Task, before: int) -> None:
        self._task, self._before = task, before

    @contextmanager
    def task(self, name: str, total: int) -> Iterator[Task]:
        """The task of the round."""
        del name, total
        yield self

    def advance(self, steps: int = 1, figure: str = "") -> None:
        """See `Task.advance`."""
        counted = max(0, steps - self._before)
        self._before = max(0, self._before - steps)  # steps that are taken back come again
        if counted:
            self._task.advance(counted, figure)
