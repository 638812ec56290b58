"""Stage `generator`: train the architecture generator against the trained supernet."""

from __future__ import annotations

from anybudget.runs.context import RunContext
from anybudget.runs.strategies import generator_schedule
from anybudget.search.generator import train_generator


def train(run: RunContext) -> None:
    """Train the generator; writes `generator.csv`, `.json` and `.safetensors`."""
    data = run.data
    rows: list[dict[str, float]] = []
    with run.evaluating("generator", stage=True) as work:
        # Joins the processes, so that each loads the supernet onto its own device.
        context = work.training_context(rows.append, run.recipe.generator.rollbacks)
        supernet, generator = run.supernet, run.build_generator()
        spent = train_generator(
            generator,
            supernet,
            run.cost,
            data,
            generator_schedule(run.recipe),
            seed=run.recipe.seed,
            context=context,
        )
        run.replace("generator")
        run.folder.write_csv("generator.csv", rows)
        run.folder.write_json("generator.json", spent.to_dict())
        run.folder.save_weights("generator.safetensors", generator)
