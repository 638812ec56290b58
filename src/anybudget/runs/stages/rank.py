"""How well the supernet orders networks: on few images, and against truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from anybudget.evaluation.ranking import RankSettings, rank_run
from anybudget.runs.context import RunContext
from anybudget.runs.judging import evaluator_settings, scored_data
from anybudget.runs.snapshots import load_snapshots
from anybudget.runs.stages.retrain import retrained
from anybudget.storage.records import Ranking, checked
from anybudget.tabular.tables import load_table


def rank(
    run: RunContext,
    paths: int,
    image_counts: Sequence[int],
    table: Path | None = None,
    *,
    snapshots: bool = False,
) -> dict[str, Any]:
    """How well the supernet orders random networks; `rank_run` says what is returned, and `rank.json` keeps it.

    With `snapshots` also how well it did so while it was trained, after the epochs that `supernet.snapshots` has kept.

    Raises:
        ConfigError: fewer than three paths.
        DataError: the table cannot be read, or is not of this run's space.
        RunError: there are no snapshots, or one is damaged.
    """
    truth = load_table(table, run.space) if table else None
    settings = RankSettings(
        **asdict(evaluator_settings(run.recipe, run.recipe.seed)), paths=paths, image_counts=tuple(image_counts)
    )
    with run.evaluating("rank"):
        found = rank_run(
            run.supernet,
            scored_data(run.recipe, run.data),
            settings,
            retrained=retrained(run),
            truth=truth,
            snapshots=load_snapshots(run) if snapshots else None,
            progress=run.progress,
            workers=run.workers,
        )
        run.folder.write_result("rank.json", checked(found, Ranking, "rank.json").to_json())
    return found
