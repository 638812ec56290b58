"""Architectures trained alone and measured: the training that all stages share, and figures kept to be used again."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from torch import nn

from anybudget.architecture import Architecture
from anybudget.data import DataFacts, DataSource, largest_class_percent
from anybudget.errors import RunError
from anybudget.evaluation.confusion import Confusion
from anybudget.evaluation.evaluator import evaluate
from anybudget.evaluation.metrics import LOSS, TOP1, written
from anybudget.nets import build_network
from anybudget.nets.blocks import channels_last
from anybudget.runs.context import RunContext
from anybudget.runs.teaching import teacher_of, teacher_origin, trained_on
from anybudget.runs.work import Work
from anybudget.runtime.process_state import seeded
from anybudget.runtime.progress import Progress, StepsOf, Task
from anybudget.runtime.workers import Piece
from anybudget.spaces import BlockSpec, derive
from anybudget.storage.changes import differences
from anybudget.storage.records import TrainedAlone, checked, read_record
from anybudget.training.loop import TrainingContext, keep_threads
from anybudget.training.retrain import train_network
from anybudget.training.settings import Schedule
from anybudget.training.sgd import training_batches

FOLDER = "worth/trained"
"""Where a run keeps the figures of its trainings."""

TRAIN_AGAIN = "delete that file, and the network is trained again"


@dataclass(frozen=True, slots=True)
class Training:
    """One training of one architecture, from scratch.

    `seed` is that of the weights, of the order of images and of how these are augmented; `epochs` are the recipe's if
    None.
    """

    architecture: Architecture
    seed: int
    epochs: int | None = None


@dataclass(frozen=True, slots=True)
class Measurement:
    """A trained network, a row of metrics for each epoch, and metrics of both splits, whose keys name the split.

    `classes` are the answers to the test images class by class, see `Confusion.by_class`.
    """

    network: nn.Module
    rows: list[dict[str, float]]
    figures: dict[str, float]
    classes: list[dict[str, Any]]


def train_each(run: RunContext, trainings: Sequence[Training], name: str = "train") -> list[TrainedAlone]:
    """Train architectures alone, from scratch, as `[retrain]` says, and measure them; what has been is taken from disk.

    As many are trained at once as the run has workers. Every training saves itself, and its figures are written when it
    ends: after a kill, the same call resumes.

    Args:
        run: the run; nothing of its supernet is used.
        trainings: what to train, begun in this order; one that comes twice is trained once.
        name: what the bar over all of them is called.

    Returns:
        The figures, one for each of `trainings`.

    Raises:
        ArchitectureError: an architecture is not one of this run's space.
        RunError: a file of figures is damaged; names it.
        TrainingError: a loss is not finite or diverges.
        Stopped: asked to stop; all that was done is saved.

    Example:
        >>> train_each(run, [Training(found, seed) for seed in range(2)])  # doctest: +SKIP
    """
    distinct = list(dict.fromkeys(trainings))
    for training in distinct:  # what is wrong is to be noticed before the work, not after
        run.space.validate(training.architecture)
        trained_before(run, training)
    found: dict[Training, TrainedAlone] = {}
    metric, steps = compared_by(run), {t: steps_of(run, _schedule(run, t)) for t in distinct}
    with run.work(FOLDER) as work, run.progress.task(name, sum(steps.values())) as task:
        bar = StepsOf(task)

        def keep(training: Training, result: TrainedAlone, done: int = 0) -> None:
            found[training] = result
            figure = written(metric, result.test_figure(metric))
            bar.said = f"{len(found)} of {len(distinct)} trained, last test {figure}"
            bar.advance(done)

        for training in distinct:
            result = trained_before(run, training)
            if result is not None:
                work.discard(_name(run, training))
                keep(training, result, steps[training])
        missing = [training for training in distinct if training not in found]
        _ = run.processes  # joined once, and not by each worker
        pieces = [Piece(_said(training), partial(_train, run, training)) for training in missing]
        for index, result in run.workers.each(pieces, bar, saving=True):
            keep(missing[index], result)
    return [found[training] for training in trainings]


def steps_of(run: RunContext, schedule: Schedule, data: DataSource | None = None) -> int:
    """How many steps a training takes, on data other than those of `[retrain]` if any are given."""
    return schedule.epochs * training_batches(data or trained_on(run), schedule, run.recipe.seed).per_epoch


def compared_by(run: RunContext) -> str:
    """The metric that trained networks are compared by: the run's, or top-1 where that is the loss, no percentage."""
    metric = run.recipe.search.metric
    return TOP1 if metric == LOSS else metric


def trained_before(run: RunContext, training: Training) -> TrainedAlone | None:
    """The figures of a training that has been done with the settings and on the data of now; None if there are none.

    Raises:
        RunError: their file is damaged, or holds another training.
    """
    settings = training_settings(run, training)
    path = run.folder.path / f"{_name(run, training)}.json"
    result = read_record(path, TrainedAlone, TRAIN_AGAIN)
    if result is None:
        return None
    changed = differences(result.settings, settings)
    if (result.architecture, result.seed) != (training.architecture, training.seed) or changed:
        listed = f" ({'; '.join(changed)})" if changed else ""
        raise RunError(f"{path}: holds another training than its name says{listed}; {TRAIN_AGAIN}")
    return result


def training_settings(run: RunContext, training: Training) -> dict[str, Any]:
    """All that decides the figures of a training besides architecture and seed."""
    recipe = run.recipe
    section = recipe.retrain.model_dump(mode="json", exclude={"picks", "inherit"})
    settings = {
        "precision": recipe.precision,
        "space": recipe.space.model_dump(mode="json"),
        "retrain": {**section, "epochs": recipe.retrain.epochs if training.epochs is None else training.epochs},
        "data": DataFacts.of(run.listing, run.data).settings(),
        **teacher_origin(run),
    }
    plain: dict[str, Any] = json.loads(json.dumps(settings))  # as it is read back
    return plain


def network_specs(run: RunContext, architecture: Architecture) -> tuple[BlockSpec, ...]:
    """The blocks of the network that is trained for an architecture: derived, where `[retrain]` says so."""
    section = run.recipe.retrain
    blocks = run.space.block_specs(architecture)
    return derive(blocks, activation=section.activation or None, se_reduction=section.se_reduction)


def trained_costs(run: RunContext, architecture: Architecture) -> dict[str, Any]:
    """`costs` and `derived` of the network that is trained for an architecture, as records have them."""
    derived = bool(run.recipe.retrain.activation or run.recipe.retrain.se_reduction)
    specs = network_specs(run, architecture)
    costs = {name: model.count(specs) if derived else model.cost(architecture) for name, model in run.costs.items()}
    return {"costs": costs, "derived": derived}


def train_and_measure(
    run: RunContext,
    work: Work,
    build: Callable[[], nn.Module],
    schedule: Schedule,
    *,
    name: str,
    seed: int,
    progress: Progress,
) -> Measurement:
    """Train a network on the run's device, and measure it on the test split, and on the validation split if held out.

    Args:
        run: the run, whose data and processes train it.
        work: saves the training.
        build: gives the network as it is to begin.
        schedule: how it is trained.
        name: in progress and errors.
        seed: of the order of images and of how they are augmented.
        progress: where the training says how far it is.
    """
    rows: list[dict[str, float]] = []
    # Joins the processes, so that each builds the network on its own device.
    context = work.training_context(rows.append, run.recipe.retrain.rollbacks)
    data = trained_on(run)
    network = train_alone(run, context, build, schedule, data, name=name, seed=seed, progress=progress)
    figures: dict[str, float] = {}
    answers = {split: Confusion.empty(run.data.classes) for split in ("validation", "test")}
    # Images that have been trained on say nothing of others.
    apart = {"validation": run.data.validation} if data is run.data else {}
    for split, images in ({**apart, "test": run.data.test()}).items():
        figures |= evaluate(network, images, run.data, confusion=answers[split]).to_dict(split)
        figures[f"{split}_largest_class_percent"] = largest_class_percent(images.labels)
    return Measurement(network, rows, figures, answers["test"].by_class(run.data.class_names))


def train_alone(
    run: RunContext,
    context: TrainingContext,
    build: Callable[[], nn.Module],
    schedule: Schedule,
    data: DataSource,
    *,
    name: str,
    seed: int,
    progress: Progress,
) -> nn.Module:
    """A network that is built and trained on the run's device, watched over by `context`; see `train_and_measure`."""
    # What depends on no other training computes with the threads of workers, and chooses none.
    context = replace(context, progress=progress, choose_threads=keep_threads)
    network = channels_last(build().to(run.device))
    train_network(network, data, schedule, name=name, seed=seed, context=context, teacher=teacher_of(run))
    return network


def _train(run: RunContext, training: Training, task: Task) -> TrainedAlone:
    """Train one architecture and keep its figures."""
    settings, started = training_settings(run, training), time.perf_counter()
    work_name, architecture, schedule = _name(run, training), training.architecture, _schedule(run, training)
    with run.work(work_name, training=settings, seed=training.seed) as work, seeded(training.seed):
        name, progress = _said(training), StepsOf(task)
        build = partial(build_network, network_specs(run, architecture))
        done = train_and_measure(run, work, build, schedule, name=name, seed=training.seed, progress=progress)
        result = {
            "architecture": architecture.to_dict(),
            **trained_costs(run, architecture),
            **done.figures,
            "seed": training.seed,
            "epochs": schedule.epochs,
            "seconds": time.perf_counter() - started,
            "settings": settings,
        }
        record = checked(result, TrainedAlone, work_name)
        run.folder.write_json(f"{work_name}.json", record.to_json())
    return record


def _schedule(run: RunContext, training: Training) -> Schedule:
    section = run.recipe.retrain
    return section if training.epochs is None else section.model_copy(update={"epochs": training.epochs})


def _said(training: Training) -> str:
    """Names a training in messages."""
    return f"train {training.architecture.short_id}, seed {training.seed}"


def _name(run: RunContext, training: Training) -> str:
    """Names the work of a training, and the file of its figures in the run folder."""
    settings = json.dumps(training_settings(run, training), sort_keys=True)
    digest = hashlib.sha256(settings.encode()).hexdigest()[:8]
    return f"{FOLDER}/{training.architecture.short_id}-{training.seed}-{digest}"
