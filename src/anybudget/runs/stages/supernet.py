"""Stage `supernet`: train the shared weights."""

from __future__ import annotations

from dataclasses import replace

from anybudget.errors import ConfigError
from anybudget.runs.context import RunContext
from anybudget.runs.snapshots import Snapshots
from anybudget.runtime.batch_parts import batch_problem
from anybudget.storage.records import SupernetSpent, checked
from anybudget.training import SAMPLERS
from anybudget.training.supernet import length_of, train_supernet


def train(run: RunContext) -> None:
    """Train the supernet.

    Writes `supernet.csv`, `supernet.json` (what it cost), `supernet.safetensors`, and `pool.jsonl` of a
    sampler that has a pool; in between `snapshots`, see `Snapshots`.

    Raises:
        ConfigError: a batch of this or a later training cannot be cut into the parts that the recipe asks for.
    """
    section, data = run.recipe.supernet, run.data
    _check_batches(run)
    rows: list[dict[str, float]] = []
    with run.stage("supernet") as work:
        supernet = run.build_supernet()
        snapshots = Snapshots(run.folder, section.snapshots)
        snapshots.announce(supernet, section.epochs)
        context = replace(work.training_context(rows.append, section.rollbacks), keep=snapshots.keep)
        length = length_of(data, section, run.processes.count)
        sampler = SAMPLERS[section.sampler](run.space, section.sampler_settings, length)
        spent = train_supernet(supernet, sampler, data, section, seed=run.recipe.seed, context=context)
        run.replace("supernet")
        run.folder.write_csv("supernet.csv", rows)
        run.folder.write_json("supernet.json", checked(spent.to_dict(), SupernetSpent, "supernet.json").to_json())
        if sampler.pool is not None:
            run.folder.write_lines("pool.jsonl", [member.to_json() for member in sampler.pool.to_records()])
        snapshots.finish(len(rows))
        run.folder.save_weights("supernet.safetensors", supernet)


def _check_batches(run: RunContext) -> None:
    """Check, before any training, that batches can be cut as all the trainings of the recipe will cut them.

    Raises:
        ConfigError: one cannot; see `batch_problem`.
    """
    recipe, train, validation = run.recipe, run.data.train, run.data.validation
    trainings = [
        ("supernet", recipe.supernet.batch_size, (recipe.supernet.accumulate, recipe.supernet.batch_shares), train),
        ("retrain", recipe.retrain.batch_size, (recipe.retrain.accumulate, 1), train),
    ]
    if recipe.strategy.needs_generator:
        trainings.insert(1, ("generator", recipe.generator.batch_size, (1, 1), validation))
    for name, size, cuts, images in trainings:
        problem = batch_problem(min(size, len(images)), run.processes.count, *cuts, section=name)
        if problem:
            few = f"; there are only {len(images)} images to train on" if len(images) < size else ""
            raise ConfigError(f"{problem}{few}")
