"""The number of threads of a run: as the recipe or the environment says, or the fastest of its first training."""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch

from anybudget.runtime.threads import candidates, fastest_threads, set_by_caller, usable_cores
from anybudget.storage.records import Threads, checked, read_record
from anybudget.storage.run_folder import RunFolder

log = logging.getLogger(__name__)

THREADS = "threads.json"
"""Where a run folder keeps what its first training has found: another number would round otherwise."""

_WAY_OUT = "put the file back as it was, or delete it to compute with as many threads as torch takes"


class RunThreads:
    """How many threads a run computes with.

    In this order: `threads` of the recipe; what the caller has set, by `OMP_NUM_THREADS`, `MKL_NUM_THREADS` or
    `torch.set_num_threads`; the number in the run folder; and where there is none yet, what `choose` finds.

    Args:
        folder: the run folder.
        said: `threads` of the recipe; 0 says nothing.
    """

    def __init__(self, folder: RunFolder, said: int) -> None:
        self._folder, self._said = folder, said

    def kept(self) -> int | None:
        """The number in the run folder; None where no training has found one.

        Raises:
            RunError: the file is damaged.
        """
        record = read_record(self._folder.path / THREADS, Threads, _WAY_OUT)
        return None if record is None else record.threads

    def count(self) -> int:
        """The number to compute with; 0 for as many as torch has now. A notice says so where another was kept.

        Raises:
            RunError: the number in the run folder is damaged.
        """
        kept, caller = self.kept(), set_by_caller()
        if not self._said and not caller:
            return kept or 0
        count = self._said or torch.get_num_threads()
        if kept is not None and count != kept:
            log.warning(
                "%s: computes with threads = %d, as %s says, and was begun with %d; results may differ in rounding",
                self._folder.path,
                count,
                "the recipe" if self._said else caller,
                kept,
            )
        return self._said

    def of_pieces(self) -> int:
        """The number that pieces of work compute with that depend on no other, such as trainings of several networks.

        Where nobody has said another, one: as many pieces as there are cores are done at once (`runs.workers`).
        """
        return self._said or (torch.get_num_threads() if set_by_caller() else 1)

    def choose(self, work: Callable[[], float]) -> None:
        """Have torch compute with the number of threads that does `work` soonest, where nothing says how many.

        The number is kept in the run folder, for later stages and for work that is resumed.

        Args:
            work: see `fastest_threads`.
        """
        cores = usable_cores()
        if self._said or cores == 1 or set_by_caller() or self.kept() is not None:
            return
        found = fastest_threads(work, candidates(cores))
        self._folder.write_json(THREADS, checked({**found.to_dict(), "cores": cores}, Threads, THREADS).to_json())
        torch.set_num_threads(found.count)
        log.info("threads = %d on %d cores: a step takes %s", found.count, cores, found)
