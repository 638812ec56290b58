"""Search strategies of a run, made as its recipe sets them."""

from __future__ import annotations

from anybudget.architecture import Architecture
from anybudget.generator.network import ArchitectureGenerator
from anybudget.runs.answers import architecture_of, read_object, with_hint
from anybudget.runs.context import RunContext
from anybudget.runs.strategies import STRATEGIES, Parts
from anybudget.runs.work import Work
from anybudget.runtime.accounting import Spending
from anybudget.runtime.distributed import Processes
from anybudget.search.base import Strategy
from anybudget.storage.records import Record
from anybudget.training.loop import TrainingContext
from anybudget.training.pool import CandidatePool


def make_strategy(run: RunContext, name: str, work: Work | None = None, *, part: str = "") -> Strategy:
    """A search strategy as the recipe sets it, with its own evaluator; the generator's counts its training in.

    Args:
        run: the run.
        name: which, by its registered name.
        work: what it is searching for, so that it is saved; None saves nothing.
        part: tells several strategies of one work apart.
    """

    def context(name: str) -> TrainingContext:
        # A search runs in one process, whatever trained the supernet.
        processes = Processes(run.device)
        if work is None:
            return TrainingContext(processes=processes, progress=run.progress)
        return work.training_context(part=f"{part} {name}", processes=processes)

    parts = Parts(
        run.recipe,
        run.data,
        run.costs,
        run.cost,
        run.new_evaluator(work.journal(part) if work else None),
        run.progress,
        lambda: _trained_generator(run),
        lambda: _pool(run),
        context,
    )
    return STRATEGIES[name](parts)


def _trained_generator(run: RunContext) -> tuple[ArchitectureGenerator, Spending]:
    """The generator, and what its training cost."""
    trained = run.generator
    with with_hint(f"delete {run.folder.path / 'stages.json'} and run again to train anew"):
        spent = read_object(run, run.folder.path / "generator.json")
        evaluations, images = int(spent.number("evaluations")), int(spent.number("images"))
        return trained, Spending(evaluations, images, spent.number("macs"), spent.number("seconds"))


def _pool(run: RunContext) -> list[Architecture]:
    """The candidate pool of greedy training, best first; empty where none was kept."""
    rows, path = run.folder.read_lines("pool.jsonl"), str(run.folder.path / "pool.jsonl")
    members = CandidatePool.from_rows(rows, len(rows), path)
    for number, row in enumerate(rows, start=1):
        architecture_of(run, Record(f"{path}, entry {number}", row))
    return list(members)
