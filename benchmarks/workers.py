"""What two worker processes gain over one process: judging, trainings alone, and a race, on the demo.

The supernet is untrained, which costs the same; trainings and rounds are short. Each workload runs with one worker and
with two in turn, in one invocation. What is printed are medians and their ratio, beside what two workers gain on plain
convolutions that share nothing: what the machine has to give. Where it has other work, the second core is not free.
Run: python benchmarks/workers.py [--recipe R] [--rounds 5] [--networks 32] [--trainings 4]
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from anybudget.evaluation.evaluator import Evaluator
from anybudget.evaluation.settings import EvaluatorSettings
from anybudget.nets import build_supernet
from anybudget.nets.blocks import channels_last
from anybudget.recipe import load_recipe
from anybudget.runs.run import Run
from anybudget.runs.trainings import Training, train_each
from anybudget.runtime.progress import Task
from anybudget.runtime.workers import Piece, Workers
from anybudget.search.race import Race, RaceContext
from anybudget.search.race_settings import RaceSettings
from anybudget.storage.checkpoint import FileCheckpoint
from anybudget.training.loop import TrainingContext
from fashion import ROOT
from measure import machine, seconds

COUNTS = (1, 2)


class Workloads:
    """What is measured, each with a number of workers."""

    def __init__(self, arguments: argparse.Namespace, folder: Path) -> None:
        recipe = load_recipe(arguments.recipe, ["threads=1"])
        self.run, self.folder, self.calls = Run.create(recipe, folder / "run"), folder, 0
        torch.manual_seed(0)
        self.supernet = channels_last(build_supernet(self.run.space)).eval()
        rng = np.random.default_rng(0)
        drawn = (self.run.space.simplified(self.run.space.sample(rng)) for _ in range(10 * arguments.networks))
        self.networks = list(dict.fromkeys(drawn))[: arguments.networks]
        self.few = self.networks[: arguments.trainings]

    def judge(self, count: int) -> None:
        """Score all networks."""
        self._evaluator(count).scores(self.networks)

    def train(self, count: int) -> None:
        """Train some for an epoch each, with a seed that none of them has been trained with."""
        self.calls += 1
        self.run.workers = count
        train_each(self.run.context, [Training(network, self.calls, epochs=1) for network in self.few])

    def race(self, count: int) -> None:
        """Race some, with short rounds; trainings save themselves in files, as those of a run do."""
        self.calls += 1
        saved = self.folder / f"race {self.calls}"
        context = RaceContext(lambda name: TrainingContext(FileCheckpoint(saved / name, {})), workers=Workers(count, 1))
        settings = RaceSettings(candidates=len(self.few), epochs_per_round=0.25)
        Race(self._evaluator(1), self.run.recipe.retrain, settings, context=context).run([self.few])

    def convolve(self, count: int) -> None:
        """Compute what shares nothing."""
        list(Workers(count, 1).each([Piece(f"piece {number}", _convolve) for number in range(4)]))

    def _evaluator(self, count: int) -> Evaluator:
        settings = EvaluatorSettings(self.run.recipe.search.calibration_images)
        return Evaluator(self.supernet, self.run.data, settings, workers=Workers(count, 1))


def _convolve(_task: Task) -> float:
    images, weights = torch.ones(32, 16, 24, 24), torch.ones(32, 16, 3, 3)
    return sum(float(torch.nn.functional.conv2d(images, weights).sum()) for _ in range(500))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", type=Path, default=ROOT / "recipes" / "demo.toml")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--networks", type=int, default=32, help="judged")
    parser.add_argument("--trainings", type=int, default=4, help="networks that are trained, and that race")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        loads = Workloads(arguments, Path(folder))
        kinds: dict[str, Callable[[int], None]] = {
            f"judging {len(loads.networks)} networks": loads.judge,
            f"{len(loads.few)} trainings of an epoch": loads.train,
            f"a race of {len(loads.few)}": loads.race,
            "plain convolutions": loads.convolve,
        }
        works = {f"{name}, {count}": partial(work, count) for name, work in kinds.items() for count in COUNTS}
        found = seconds(works, arguments.rounds, warmup=1)
    title = f"{arguments.recipe.stem} ({machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f})"
    table = Table("", "1 worker, s", "2 workers, s", "times as fast", title=title)
    for name in kinds:
        one, two = (found[f"{name}, {count}"] for count in COUNTS)
        table.add_row(name, f"{one:.2f}", f"{two:.2f}", f"{one / two:.2f}")
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
