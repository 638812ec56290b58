"""What is kept of work that has not ended: checkpoints and journals, whole or damaged, and whether they still fit."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal

from anybudget.errors import RunError
from anybudget.recipe import Recipe, reproducibility_settings
from anybudget.runs.context import RunContext
from anybudget.runs.work import FOLDER
from anybudget.storage import checkpoint as checkpoints
from anybudget.storage import journal
from anybudget.storage.changes import conflict
from anybudget.storage.run_folder import RunFolder

State = Literal["ok", "note", "problem"]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at; what was found of a problem ends with what helps."""

    check: str
    state: State
    found: str


class UnfinishedWork:
    """The checkpoints and journals of a run folder; `recipe` and `run` are None where the recipe is damaged."""

    def __init__(self, folder: RunFolder, recipe: Recipe | None, run: RunContext | None) -> None:
        self.folder, self.path, self.recipe, self.run = folder, folder.path, recipe, run
        self.stages: Collection[str] = ()
        self.sizes: dict[str, list[int]] = {}
        """Bytes of the checkpoints that are there, by the name of the last one."""

    def checks(self, stages: Collection[str]) -> Iterator[Check]:
        """A check for each file; `stages` are the finished ones."""
        self.stages = stages
        folder = self.path / FOLDER
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            look = self._journal if path.suffix == ".jsonl" else self._checkpoint
            if not path.name.startswith("."):
                found = look(path)
                # Work that runs meanwhile removes its files when it is done.
                if found.state != "problem" or path.exists():
                    yield found

    def _checkpoint(self, path: Path) -> Check:
        check = partial(Check, f"{FOLDER}/{path.name}")
        last = path.with_name(path.name.removesuffix(".previous"))
        previous = last.with_name(f"{last.name}.previous")
        if last.suffix != ".checkpoint":
            return check("note", "no file of anybudget")
        try:
            found = path.stat()
            self.sizes.setdefault(last.name, []).append(found.st_size)
            state = checkpoints.read(path)
            settings = checkpoints.settings_of(path)
        except (checkpoints.DamagedError, OSError) as error:
            if path != last and _is_whole(last):
                return check("note", f"{error}; not needed, as {last.name} is whole")
            if path == last and _is_whole(previous):
                return check("note", f"{error}; work resumes from {previous.name}, which is whole")
            return check("problem", f"{error}; delete {last}* to start this work anew")
        try:
            where = f"epoch {state['loop']['epoch']}, step {state['loop']['step']}"
        except (KeyError, TypeError):
            where = "of a training unknown here"
        saved = datetime.fromtimestamp(found.st_mtime).isoformat(" ", timespec="seconds")
        return self._begun(check, settings, f"whole: {where}, saved {saved}")

    def _journal(self, path: Path) -> Check:
        check = partial(Check, f"{FOLDER}/{path.name}")
        try:
            found = journal.read(path)
        except RunError as error:
            return check("problem", str(error))
        lost = f"; damaged from line {len(found.whole) + 1} on ({found.lost} line(s)), which is evaluated again"
        return self._begun(check, found.settings, f"{len(found.entries)} scores{lost if found.lost else ''}")

    def _begun(self, check: Callable[[State, str], Check], settings: Mapping[str, Any], said: str) -> Check:
        """Whether work that was begun with these settings can be resumed."""
        stage = settings.get("stage")
        if stage in self.stages:
            return check("note", f"{said}; left by the stage {stage}, which is finished: may be deleted")
        changed = self._changes(settings)
        if changed:
            return check("problem", f"{said}, with {changed}")
        return check("note", f"{said}; {stage}: the same command resumes it")

    def _changes(self, settings: Mapping[str, Any]) -> str:
        """In what the run differs from what work was begun with, and what helps; "" if in nothing."""
        now = dict(settings)
        if self.recipe and isinstance(settings.get("recipe"), dict):
            now["recipe"] = reproducibility_settings(self.recipe)
        weights = "supernet.safetensors"
        if "supernet" in settings and (self.path / weights).is_file():
            now["supernet"] = self.folder.digest(weights)
        with suppress(RunError):  # said where the data are looked at
            facts = self.run.tie.facts() if self.run else None
            if facts is not None and "data" in settings:
                now["data"] = facts.settings()
        return conflict(settings, now)


def _is_whole(path: Path) -> bool:
    try:
        checkpoints.read(path)
    except checkpoints.DamagedError:
        return False
    return True
