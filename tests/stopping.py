"""Work that is stopped after some steps, as by Ctrl-C or a batch system, and goes on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from anybudget.recipe import Recipe
from anybudget.runs.run import Run
from anybudget.runtime.signals import Stopped
from anybudget.storage.checkpoint import FileCheckpoint
from anybudget.testing.interruption import differing_files


def stop_after(steps: int, work: Callable[[], object]) -> None:
    """Do work that is asked to stop after some steps."""
    with pytest.MonkeyPatch.context() as patch:
        ticks = iter(range(1000))
        patch.setattr(FileCheckpoint, "stopping", property(lambda _self: next(ticks) >= steps))
        with pytest.raises(Stopped):
            work()


def check_stops(recipe: Recipe, folder: Path, *works: Callable[[Run], object], steps: Sequence[int] = (1, 4)) -> None:
    """Check that works which are stopped after some steps, and go on, leave the files of those that are not."""
    whole, broken = Run.create(recipe, folder / "whole"), folder / "broken"
    Run.create(recipe, broken)
    for work in works:
        work(whole)
        for count in steps:
            stop_after(count, lambda work=work: work(Run.open(broken)))
        work(Run.open(broken))
    assert not differing_files(whole.folder.path, broken)
