"""The tables and figures of the papers, measured and written to docs/results.

What is kept there is not measured again, and an experiment that was stopped goes on: everything it makes is in
runs/papers. Two processes of one thread each are busy at a time; each measures one seed of one experiment.
Run: python benchmarks/papers.py [NAME ...] [--seed K] [--jobs 2] [--list] [--present] [--again]
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from tempfile import TemporaryDirectory

from filelock import FileLock
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from anybudget.storage.files import write_whole
from experiments import experiments
from experiments.base import ROOT, Experiment
from experiments.pages import RESULTS, Results, timed

RUNS = ROOT / "runs" / "papers"


@dataclass(frozen=True)
class Unit:
    """One seed of one experiment; those of one paper and seed share runs and take turns."""

    experiment: Experiment
    seed: int

    @property
    def shares(self) -> tuple[str, int]:
        """What no two units have that are measured at the same time."""
        return self.experiment.paper, self.seed

    def __str__(self) -> str:
        return f"{self.experiment.name} --seed {self.seed}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="experiments, or how their names begin; all if none is given")
    parser.add_argument("--seed", type=int, help="measure this seed alone, in this process")
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time, each with one thread")
    parser.add_argument("--runs", type=Path, default=RUNS, help="where everything that experiments make is kept")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where results are written")
    parser.add_argument("--list", action="store_true", help="say what there is, and what has been measured")
    parser.add_argument("--present", action="store_true", help="only write pages, pictures and the index again")
    parser.add_argument("--again", action="store_true", help="measure what is kept once more")
    parser.add_argument("--quick", action="store_true", help="try the code on few images; nothing is kept")
    arguments = parser.parse_args()
    if arguments.jobs < 1:
        parser.error(f"--jobs {arguments.jobs}: at least one process has to work")
    if arguments.seed is not None and arguments.seed < 0:
        parser.error(f"--seed {arguments.seed}: seeds are 0 or more")
    chosen, results = choose(arguments.names), Results(arguments.results)
    if arguments.list:
        Console(width=120).print(listed(chosen, results))
    elif arguments.present:
        present(chosen, results)
    elif arguments.quick:
        for experiment in chosen:
            with TemporaryDirectory() as folder:
                shown = experiment.present([experiment.measure(0, Path(folder), True)])
            print("\n\n".join(table.markdown() for table in shown.tables), flush=True)
    elif arguments.seed is not None:
        if "OMP_NUM_THREADS" not in os.environ:  # once torch is imported, which it is, the variable says nothing
            os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, "OMP_NUM_THREADS": "1"})
        for experiment in chosen:
            measure(Unit(experiment, arguments.seed), results, arguments.runs, again=arguments.again)
    else:
        units = [Unit(experiment, seed) for experiment in chosen for seed in range(experiment.seeds)]
        options = ["--runs", str(arguments.runs), "--results", str(arguments.results)] + ["--again"] * arguments.again
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # no process is left behind by it either
        failed = measure_all(units, results, arguments.runs, arguments.jobs, options, again=arguments.again)
        present(chosen, results)
        raise SystemExit(1 if failed else 0)


def choose(names: Sequence[str]) -> list[Experiment]:
    """The experiments whose names are given, or begin as it is given."""
    known = experiments()
    for name in names:
        if not any(experiment.name.startswith(name) for experiment in known):
            near = get_close_matches(name, [experiment.name for experiment in known], 1, 0.4)
            meant = f"; did you mean {near[0]!r}?" if near else ""
            print(f"no experiment {name!r}{meant}; --list names all", file=sys.stderr)
            raise SystemExit(2)
    exact = {experiment.name for experiment in known}.intersection(names)
    begins = tuple(name for name in names if name not in exact)
    return [e for e in known if not names or e.name in exact or (begins and e.name.startswith(begins))]


def listed(chosen: Sequence[Experiment], results: Results) -> Table:
    """What there is, and which seeds of it are kept."""
    table = Table("experiment", "what it is", "seeds kept", "missing")
    for experiment in chosen:
        kept = len(results.measured(experiment))
        table.add_row(experiment.name, experiment.title, f"{kept} of {experiment.seeds}", experiment.missing())
    return table


def present(chosen: Sequence[Experiment], results: Results) -> None:
    """Write the pages of what is kept, and the index of all."""
    for experiment in chosen:
        if results.measured(experiment):
            results.present(experiment)
    if any(results.measured(experiment) for experiment in experiments()):
        write_whole(results.folder / "README.md", results.index(experiments()).encode())


def measure(unit: Unit, results: Results, runs: Path, *, again: bool) -> None:
    """Measure a seed in this process, unless it is kept, and write its page."""
    experiment, seed = unit.experiment, unit.seed
    if missing := experiment.missing():
        print(f"{experiment.name}: {missing}", file=sys.stderr)
        raise SystemExit(2)
    if seed in results.measured(experiment) and not again:
        print(f"{unit}: kept in {results.folder}; --again measures it once more")
        return
    runs.mkdir(parents=True, exist_ok=True)
    command, stopped = f"python benchmarks/papers.py {unit}", runs / f".{experiment.name}-{seed}.stopped.json"
    with FileLock(runs / f".{experiment.paper}-{seed}.lock"), timed(command, stopped) as origin:
        outcome = experiment.measure(seed, runs, False)
    with FileLock(runs / ".results.lock"):
        results.keep(experiment, seed, outcome, origin)
        results.present(experiment)


def measure_all(
    units: Sequence[Unit], results: Results, runs: Path, jobs: int, options: Sequence[str], *, again: bool
) -> list[Unit]:
    """Measure what is not kept in processes of their own; those that failed, whose output is in runs/papers/logs."""
    left = [unit for unit in units if again or unit.seed not in results.measured(unit.experiment)]
    for experiment in {unit.experiment.name: unit.experiment for unit in left}.values():
        if missing := experiment.missing():
            print(f"left out: {experiment.name}: {missing}")
            left = [unit for unit in left if unit.experiment is not experiment]
    logs, busy, failed = runs / "logs", dict[Unit, subprocess.Popen[bytes]](), list[Unit]()
    logs.mkdir(parents=True, exist_ok=True)
    columns = BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}")
    with Progress(*columns) as progress:
        task = progress.add_task("", total=len(left))
        try:
            while left or busy:
                taken = {unit.shares for unit in busy}
                for unit in [unit for unit in left if unit.shares not in taken][: max(0, jobs - len(busy))]:
                    if unit.shares not in {other.shares for other in busy}:
                        left.remove(unit)
                        busy[unit] = start(unit, options, logs)
                progress.update(task, description=", ".join(map(str, busy)))
                time.sleep(0.5)
                for unit in [unit for unit, process in busy.items() if process.poll() is not None]:
                    if busy.pop(unit).returncode:
                        failed.append(unit)
                        progress.console.print(f"failed: {unit}: {log_of(unit, logs)}", style="red")
                    progress.advance(task)
        except KeyboardInterrupt:
            for process in busy.values():
                process.terminate()  # not SIGINT, which children of a shell's background ignore
            for process in busy.values():
                process.wait()
            print("stopped; the same command goes on from here", file=sys.stderr)
            raise SystemExit(130) from None
    return failed


def log_of(unit: Unit, logs: Path) -> Path:
    """Where the output of a unit goes."""
    return logs / f"{unit.experiment.name}-{unit.seed}.log"


def start(unit: Unit, options: Sequence[str], logs: Path) -> subprocess.Popen[bytes]:
    """A process of one thread that measures a unit; signals of the terminal do not reach it."""
    script, environment = Path(__file__).resolve(), os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(script), unit.experiment.name, "--seed", str(unit.seed), *options]
    with log_of(unit, logs).open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)


if __name__ == "__main__":
    main()
