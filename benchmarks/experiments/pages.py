"""What has been measured, kept: a JSON file for each experiment, its page and pictures, and the index of all."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from anybudget.storage.files import write_whole
from anybudget.storage.provenance import package_version
from experiments.base import ROOT, Experiment, Outcome, Picture

RESULTS = ROOT / "docs" / "results"
VERSION = 1


class Results:
    """The results in a folder, by default that of the documents.

    A file holds, by seed, the outcome and where it comes from: command, commit, date, versions and time.
    """

    def __init__(self, folder: Path = RESULTS) -> None:
        self.folder = folder

    def measured(self, experiment: Experiment) -> dict[int, dict[str, Any]]:
        """What is kept of an experiment, by seed."""
        path = self.folder / f"{experiment.name}.json"
        if not path.exists():
            return {}
        record = json.loads(path.read_text())
        if record["version"] != VERSION:
            raise SystemExit(f"{path}: version {record['version']}, where this reads {VERSION}; move it away")
        return {int(seed): kept for seed, kept in record["seeds"].items()}

    def outcomes(self, experiment: Experiment) -> list[Outcome]:
        """The outcomes of all seeds that are kept, in their order."""
        return [kept["outcome"] for _, kept in sorted(self.measured(experiment).items())]

    def keep(self, experiment: Experiment, seed: int, outcome: Outcome, origin: dict[str, Any]) -> None:
        """Add what a seed has measured; that of other seeds stays."""
        seeds = self.measured(experiment) | {seed: {**origin, "outcome": outcome}}
        record = {"version": VERSION, "experiment": experiment.name, "seeds": dict(sorted(seeds.items()))}
        write_whole(self.folder / f"{experiment.name}.json", (json.dumps(record, indent=1) + "\n").encode())

    def present(self, experiment: Experiment) -> None:
        """Write the page and the pictures of an experiment anew."""
        shown = experiment.present(self.outcomes(experiment))
        for end, picture in shown.pictures.items():
            write_whole(self.folder / picture_name(experiment, end), _svg(picture).encode())
        write_whole(self.folder / f"{experiment.name}.md", self.page(experiment).encode())

    def page(self, experiment: Experiment) -> str:
        """The page: what was done, tables, pictures, and where each seed's numbers come from."""
        shown = experiment.present(self.outcomes(experiment))
        pictures = [f"![{experiment.title}]({picture_name(experiment, end)})" for end in shown.pictures]
        parts = [
            f"# {experiment.title}",
            experiment.description,
            *(table.markdown() for table in shown.tables),
            *pictures,
        ]
        return "\n\n".join([*parts, "\n".join(self._origins(experiment))]) + "\n"

    def _origins(self, experiment: Experiment) -> Iterator[str]:
        yield "| seed | command | commit | date | core minutes | versions |"
        yield "|---:|---|---|---|---:|---|"
        for seed, kept in sorted(self.measured(experiment).items()):
            commit, when, minutes = _short(kept["commit"]), kept["date"][:10], _minutes([kept], 1)
            yield f"| {seed} | `{kept['command']}` | {commit} | {when} | {minutes} | {kept['versions']} |"

    def index(self, known: Sequence[Experiment]) -> str:
        """The page that lists all experiments that have been measured."""
        lines = ["# Tables and figures of the papers, measured here\n", _INDEX, "| experiment | seeds | core minutes |"]
        lines.append("|---|---:|---:|")
        for experiment in known:
            if kept := self.measured(experiment):
                minutes = _minutes(list(kept.values()), 0)
                lines.append(f"| [{experiment.title}]({experiment.name}.md) | {len(kept)} | {minutes} |")
        return "\n".join(lines) + "\n"


_INDEX = """`make papers` measures what is not kept, in about two hours on two cores for all. Each page says what was
done, at which scale, and with which command at which commit; the numbers behind it are in the JSON file beside it.
[papers.md](../papers.md) says of each part of the papers whether it holds here. What needs data or libraries that are
not there is left out, and said. Written by `python benchmarks/papers.py --present`.
"""


def _minutes(kept: Sequence[Mapping[str, Any]], digits: int) -> str:
    """Core minutes of some seeds; unknown where one was stopped by what did not note how long it had taken."""
    seconds = [one["processor_seconds"] for one in kept]
    return "unknown" if None in seconds else f"{sum(seconds) / 60:.{digits}f}"


def picture_name(experiment: Experiment, end: str) -> str:
    """The file of a picture."""
    return f"{experiment.name}{f'-{end}' if end else ''}.svg"


def _svg(picture: Picture) -> str:
    if isinstance(picture, str):
        return picture
    import vl_convert

    return str(vl_convert.vegalite_to_svg(picture.to_json()))


@contextmanager
def timed(command: str, stopped: Path) -> Iterator[dict[str, Any]]:
    """Where an outcome comes from; the times of this process and its children are there at the end.

    The file `stopped` keeps the times of attempts that were stopped or failed before; they count, too.
    """
    origin: dict[str, Any] = {
        "command": command,
        "commit": commit(),
        "date": datetime.now(UTC).isoformat("T", "seconds"),
    }
    origin["versions"] = f"torch {package_version('torch')}, Python {platform.python_version()}"
    earlier = json.loads(stopped.read_text()) if stopped.exists() else {"seconds": 0.0, "processor_seconds": 0.0}
    began, processor = time.perf_counter(), sum(os.times()[:4])
    try:
        yield origin
    finally:
        spent = {"seconds": time.perf_counter() - began, "processor_seconds": sum(os.times()[:4]) - processor}
        origin |= {name: round(earlier[name] + value, 1) for name, value in spent.items()}
        write_whole(stopped, json.dumps({name: origin[name] for name in spent}).encode())
    stopped.unlink()


def _short(commit: str) -> str:
    """A commit as pages show it."""
    revision, *changed = commit.split("-")
    return "-".join([revision[:10], *changed])


def commit() -> str:
    """The commit of the tree, marked where code or recipes differ from it."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True).stdout

    try:
        changed = git("status", "--porcelain", "--", "src", "benchmarks", "recipes").strip()
        return git("rev-parse", "HEAD").strip() + ("-changed" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"
