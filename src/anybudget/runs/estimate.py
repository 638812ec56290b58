"""What a recipe takes, before it is run: time of each stage, memory, disk and images, from a probe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from anybudget.nets import build_network, build_supernet
from anybudget.planning.timing import Time, stage_times
from anybudget.planning.workload import Workload, workload_of
from anybudget.recipe import Recipe
from anybudget.runs.checks import check_recipe
from anybudget.runs.context import RunContext
from anybudget.runs.probe import Probe, probe

CHECKPOINTS = 3
"""Copies of a checkpoint that are there while one is written: the new one, the last, and the one before."""

MOMENTUM = 2
"""What a checkpoint has in weights: the weights themselves and the optimiser's momentum."""

SAMPLED = 8
"""Random networks of which the largest stands for those that race."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run takes.

    `stages` are times by name, of which "race" is a part of the search, if no two budgets share a network that races or
    an answer; `least` are those if all budgets share all of them, with the cheapest networks. `memory_bytes` are those
    of all processes, `device_bytes` those of an accelerator, `disk_bytes` the most that the run folder holds.
    """

    stages: Mapping[str, Time]
    least: Mapping[str, Time]
    images_trained: Mapping[str, int]
    memory_bytes: int
    device_bytes: int
    disk_bytes: int
    device: str
    threads: int
    workers: int
    notes: tuple[str, ...]

    @property
    def total(self) -> Time:
        """Of the whole run."""
        return sum(self.stages.values(), Time())

    @property
    def least_total(self) -> Time:
        """Of the whole run, if budgets share all that they can."""
        return sum(self.least.values(), Time())

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            **asdict(self),
            "stages": {name: asdict(took) for name, took in self.stages.items()},
            "total": asdict(self.total),
            "least": {name: asdict(took) for name, took in self.least.items()},
            "least_total": asdict(self.least_total),
        }


def estimate(run: RunContext, seconds: float = 30.0) -> Estimate:
    """Probe a recipe for some seconds, and say what running it takes; nothing is written.

    Args:
        run: not begun, or begun; what it has done already is not taken into account.
        seconds: how long steps are timed.

    Raises:
        ConfigError: the recipe cannot be run.
        BudgetError: a budget cannot be met.
        DataError: the data cannot be used.
    """
    check_recipe(run)
    return estimated(run, probe(run, seconds))


def estimated(run: RunContext, found: Probe) -> Estimate:
    """What running a recipe takes, by what was measured with it or with one of other lengths."""
    work = workload_of(run.recipe, found.images)
    return Estimate(
        times(run.recipe, found),
        times(run.recipe, found, shared=True),
        {stage: count for stage, count in work.images_trained().items() if count},
        found.bytes,
        found.device_bytes,
        _disk_bytes(run, work),
        str(run.device),
        found.threads,
        found.workers,
        tuple(_notes(run.recipe, work)),
    )


def times(recipe: Recipe, found: Probe, *, shared: bool = False) -> dict[str, Time]:
    """The time of each stage of a recipe; with `shared`, if all budgets share their networks, see `Workload.shared`."""
    images, work, train = found.images, workload_of(recipe, found.images), found.steps.train
    if shared:
        work = work.shared(min(range(len(train)), key=lambda budget: train[budget].seconds))
    return stage_times(work, found.steps, found.workers, images.test / images.validation)


def _notes(recipe: Recipe, work: Workload) -> list[str]:
    """What the estimate leaves out."""
    if work.judged is None:
        return [f"what the strategy {recipe.search.strategy} trains and judges is not known, and left out"]
    return []


def _disk_bytes(run: RunContext, work: Workload) -> int:
    """The most that the run folder holds: weights, and checkpoints of what is under way.

    A race keeps the states of all that take part, each with the one before.
    """
    recipe, kept = run.recipe, MOMENTUM + (MOMENTUM if run.recipe.supernet.rollbacks else 0)
    with torch.device("meta"):  # which takes no memory
        supernet = _bytes(build_supernet(run.space))
        drawn = [run.space.sample(np.random.default_rng(seed)) for seed in range(SAMPLED)]
        network = max(_bytes(build_network(run.space.block_specs(architecture))) for architecture in drawn)
    racing = len(recipe.search.budgets) * (recipe.search.race.candidates if work.race else 0)
    rolled = MOMENTUM + (MOMENTUM if recipe.retrain.rollbacks else 0)
    first = CHECKPOINTS * kept * supernet
    later = supernet + 2 * rolled * network * racing + network * (len(work.picks) + len(recipe.search.budgets))
    return max(first, later)


def _bytes(module: torch.nn.Module) -> int:
    return sum(int(tensor.nbytes) for tensor in module.state_dict().values())
