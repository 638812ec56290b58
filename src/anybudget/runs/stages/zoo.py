"""Published networks trained on a run's data as its recipe retrains, beside what was found."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from anybudget.data import DataFacts
from anybudget.nets import build_network
from anybudget.runs.context import RunContext
from anybudget.runs.data_identity import FACTS
from anybudget.runs.teaching import teacher_origin
from anybudget.runs.trained import NETWORK, WEIGHTS, ZOO_FOLDER, describe_zoo
from anybudget.runs.trainings import steps_of, train_and_measure
from anybudget.runtime.progress import StepsOf, Task
from anybudget.runtime.workers import Piece
from anybudget.storage.records import ZooTrained, checked, read_record
from anybudget.training.distillation_settings import SUPERNET
from anybudget.zoo import ZOO, Images, ZooNetwork

TRAIN_AGAIN = "delete that file, and train the network again to have it back"

NOT_APPLIED = frozenset({"picks", "inherit", "activation", "se_reduction"})
"""Keys of `[retrain]` that say what becomes of architectures of the run; a published network is what it is."""


def train_zoo(run: RunContext, names: Sequence[str], *, epochs: int | None = None) -> list[dict[str, Any]]:
    """Train networks of the zoo from scratch and measure them on the test split; writes `zoo/NAME/` of each.

    A network is built for the run's channels, size of images and classes, and trained as `[retrain]` says, without what
    that would add to it. As many are trained at once as the run has workers.

    Args:
        run: the run.
        names: which; one that comes twice is trained once.
        epochs: how long; the recipe says when None.

    Returns:
        The record of each, see `ZooTrained`.

    Raises:
        ConfigError: a name is unknown, or images are so small that a stride would be applied to a single pixel.
        RunError: a result of earlier work is damaged; names it.
        TrainingError: a loss is not finite or diverges.
        Stopped: asked to stop; all that was done is saved.

    Example:
        >>> train_zoo(run, ["sgnas-a", "mobilenetv2"])[0]["test_top1_percent"]  # doctest: +SKIP
    """
    section = run.recipe.retrain
    schedule = section if epochs is None else section.model_copy(update={"epochs": epochs})
    distinct = [ZOO[name] for name in dict.fromkeys(names)]
    for network in distinct:  # what is wrong is to be noticed before the work, not after
        network.specs(images_of(run))
        read_result(run, network.name)
    title = f"train {distinct[0].name}" if len(distinct) == 1 else f"train {len(distinct)} networks"
    results: dict[str, dict[str, Any]] = {}
    with run.work(ZOO_FOLDER) as _, run.progress.task(title, len(distinct) * steps_of(run, schedule)) as task:
        _ = run.processes  # joined once, and not by each worker
        if section.teacher.model == SUPERNET:
            _ = run.supernet
        pieces = [Piece(f"train {n.name}", partial(_train, run, n, schedule.epochs)) for n in distinct]
        for index, result in run.workers.each(pieces, task, saving=True):
            results[distinct[index].name] = result
    return [results[name] for name in names]


def images_of(run: RunContext) -> Images:
    """What networks of a run are built for."""
    channels, size, _ = run.space.input_shape
    return Images(channels, size, run.space.classes)


def read_result(run: RunContext, name: str) -> ZooTrained | None:
    """What training this network gave; None if it has not been trained here."""
    return read_record(run.folder.path / ZOO_FOLDER / name / "result.json", ZooTrained, TRAIN_AGAIN)


def _train(run: RunContext, network: ZooNetwork, epochs: int, task: Task) -> dict[str, Any]:
    """Train one network, and write all that is kept of it."""
    started, images = time.perf_counter(), images_of(run)
    schedule = run.recipe.retrain.model_copy(update={"epochs": epochs})
    origin = teacher_origin(run)
    said = schedule.model_dump(mode="json", exclude=set(NOT_APPLIED))
    settings = {**said, "images": asdict(images), **origin}
    name, specs = f"{ZOO_FOLDER}/{network.name}", network.specs(images)
    with run.work(name, epochs=epochs, **origin) as work:
        build = partial(build_network, specs)
        title, progress = f"train {network.name}", StepsOf(task)
        done = train_and_measure(run, work, build, schedule, name=title, seed=run.recipe.seed, progress=progress)
        result = {
            "zoo": network.name,
            "title": network.title,
            "source": network.published.source,
            "costs": {cost: model.count(specs) for cost, model in run.costs.items() if model.counts_any},
            **done.figures,
            "test_classes": done.classes,
            "settings": settings,
            "epochs": epochs,
            "seconds": time.perf_counter() - started,
        }
        record, folder, former = checked(result, ZooTrained, name), run.folder, read_result(run, network.name)
        if former is not None and former.settings != settings:
            folder.keep(name)
        folder.write_csv(f"{name}/retrain.csv", done.rows)
        folder.save_weights(f"{name}/{WEIGHTS}", done.network)
        folder.write_json(f"{name}/{NETWORK}", describe_zoo(network.name, images))
        folder.write_json(f"{name}/{FACTS}", DataFacts.of(run.listing, run.data).to_dict())
        folder.write_json(f"{name}/result.json", record.to_json())
    return record.to_json()
