"""Which trainings of a run are compiled: as a trial found once, and the note of it in the run folder."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict

from anybudget.storage.files import append_whole
from anybudget.storage.run_folder import RunFolder
from anybudget.training.compiling import CompileTrial, as_the_trial_says

log = logging.getLogger(__name__)

COMPILED = "compile.jsonl"
"""Where a run folder keeps what trials found, a line for each training, by its name."""


class RunCompiling:
    """Whether the trainings of a run are compiled.

    Args:
        folder: the run folder.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._path, self._writes = folder.path / COMPILED, folder.writes

    def choose(self, name: str, trial: Callable[[], CompileTrial]) -> bool:
        """As the run folder says of a training of this name; otherwise as a trial finds, which is kept there."""
        kept = self.kept(name)
        if kept is not None:
            log.info("%s: %s, as %s says", name, "compiled" if kept else "not compiled", self._path)
            return kept
        found: list[CompileTrial] = []

        def noted() -> CompileTrial:
            found.append(trial())
            return found[0]

        chosen = as_the_trial_says(name, noted)
        if self._writes:
            line = json.dumps({"training": name, "compiled": chosen, **asdict(found[0])})
            append_whole(self._path, line.encode() + b"\n")
        return chosen

    def kept(self, name: str) -> bool | None:
        """What was chosen for a training of this name; None if nothing was. A damaged line decides nothing."""
        chosen = None
        with suppress(FileNotFoundError):
            for line in self._path.read_bytes().splitlines():
                with suppress(ValueError, KeyError, TypeError):
                    said = json.loads(line)
                    chosen = bool(said["compiled"]) if said["training"] == name else chosen
        return chosen
