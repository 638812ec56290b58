"""Stage `generator`: train the architecture generator against the trained supernet."""

from __future__ import annotations

from anybudget.data import TrainingBatches
from anybudget.generator.training import MixtureLoss, train_generator
from anybudget.runs.context import RunContext


def train(run: RunContext) -> None:
    """Train the generator; writes `generator.csv`, `.json` and `.safetensors`."""
    data = run.data
    rows: list[dict[str, float]] = []
    with run.evaluating("generator", stage=True) as work:
        # Joins the processes, so that each loads the supernet onto its own device.
        context = work.training_context(rows.append, run.recipe.generator.rollbacks)
        supernet, generator = run.supernet, run.build_generator()
        schedule, seed = run.recipe.generator, run.recipe.seed
        batches = TrainingBatches(
            data, data.validation, schedule.batch_size, seed, class_balance=schedule.class_balance
        )
        loss = MixtureLoss(supernet, batches.class_weights)
        spent = train_generator(generator, loss, run.cost.terms, batches, schedule, seed=seed, context=context)
        run.replace("generator")
        run.folder.write_csv("generator.csv", rows)
        run.folder.write_json("generator.json", spent.to_dict())
        run.folder.save_weights("generator.safetensors", generator)
