"""Opening a run: a new folder, one that is resumed, or one that is resumed with a changed recipe."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from anybudget.data import DataSource
from anybudget.data.sources import READING_KEYS
from anybudget.errors import RunError
from anybudget.recipe import Recipe, parse_recipe, reproducibility_settings, resolved
from anybudget.runs.context import RunContext
from anybudget.runs.data_identity import IN_PYTHON
from anybudget.runs.data_loading import placed
from anybudget.runs.dependencies import WEIGHTS, affected
from anybudget.runs.work import FOLDER
from anybudget.runtime.progress import Progress
from anybudget.storage.changes import differences
from anybudget.storage.run_folder import RunFolder

log = logging.getLogger(__name__)


def create_run(
    recipe: Recipe, path: Path, progress: Progress | None = None, *, data: DataSource | None = None
) -> RunContext:
    """Start a run at `path`, or resume the one that is there: see `_change` where the recipe has changed.

    Args:
        recipe: what to do.
        path: the run folder.
        progress: where its work reports.
        data: instead of what `data.source` of the recipe names. The run is tied to their content; who opens it again
            hands the same data over.

    Raises:
        RunError: weights that are there depend on settings that have changed; lists what differs.
    """
    if data is not None:
        section = recipe.data.model_copy(update={"source": IN_PYTHON})
        recipe = recipe.model_copy(update={"data": section})
    run = RunContext(RunFolder(path), recipe, progress, data=data)
    run.begin()
    folder, recipe = run.folder, run.recipe
    if not folder.writes and not folder.exists():  # the main process is about to begin it
        return run
    # Parsed first, so that a run from before a key existed has its default.
    there = parse_recipe(folder.recipe(), str(path / "recipe.toml"))
    changed = differences(reproducibility_settings(there), reproducibility_settings(recipe))
    if there.data.source != recipe.data.source:
        run.moved = placed(recipe.data.source)
        if run.tie.facts() is None:  # nothing says that they are the same data
            changed.append(f"data.source: {there.data.source!r} -> {recipe.data.source!r}")
    if not folder.writes:  # the main process speaks
        return run
    if changed:
        _change(run, changed)
        return run
    nothing = tuple(f"data.{key}:" for key in ("source", *READING_KEYS))  # these change no result
    otherwise = [said for said in differences(resolved(there), resolved(recipe)) if not said.startswith(nothing)]
    if otherwise:
        log.warning("%s: resumes with %s; results may differ in rounding", path, "; ".join(otherwise))
    return run


def _change(run: RunContext, changed: Sequence[str]) -> None:
    """Resume with a changed recipe: what does not depend on the changes is kept, other stages run again.

    The former recipe is kept as `recipe.1.toml` and so on; answers, baselines and retrained networks stay.

    Raises:
        RunError: the search space is another, or trained weights that are there, finished or not, depend on a
            changed key.
    """
    folder, search = run.folder, run.recipe.search
    stages = affected(changed, run.recipe.generator.cost, raced=search.race.enabled, strategy=search.strategy)
    spaces = [said for said in changed if said.startswith("space.name:")]
    if spaces:
        raise RunError(f"{folder.path}: holds a run with another search space ({spaces[0]}); choose another --out")
    for stage in WEIGHTS:
        begun = folder.finished(stage) or (folder.path / FOLDER / f"{stage}.checkpoint").exists()
        if stage in stages and begun:
            raise RunError(
                f"{folder.path}: holds a run with other settings ({'; '.join(stages[stage])}), on which its "
                f"{stage} stage depends, whose weights are kept; choose another --out, or the same settings. Other "
                f"budgets are answered by: anybudget generate {folder.path}, and networks trained by: anybudget "
                f"retrain {folder.path}"
            )
    with folder.locked():
        again = folder.forget(stages)
        folder.keep("recipe.toml", copy=True)
        folder.write_recipe(resolved(run.recipe), run.files)
    said = f"runs {', '.join(again)} again, keeping all other stages" if again else "keeps all finished stages"
    log.warning("%s: %s changed; the run %s", folder.path, "; ".join(changed), said)


def open_run(path: Path, progress: Progress | None = None, *, data: str | DataSource | None = None) -> RunContext:
    """Open the run at `path`.

    Args:
        path: the run folder.
        progress: where its work reports.
        data: where its data lie now, if not where they lay before, or the data themselves. They have to be the same,
            which is checked when they are first read; the next work keeps the place in the run folder.

    Raises:
        RunError: there is none, or its recipe is damaged.
    """
    folder = RunFolder.open(path)
    recipe = parse_recipe(folder.recipe(), str(path / "recipe.toml"))
    return RunContext(folder, recipe, progress, data=data)
