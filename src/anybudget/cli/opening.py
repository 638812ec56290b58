"""What commands open: runs, engines and budgets; torch is imported only where it is needed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anybudget.cli.streams import out
from anybudget.errors import ConfigError, shown

if TYPE_CHECKING:
    from anybudget.architecture import Architecture
    from anybudget.budgets import BudgetSet
    from anybudget.evaluation.engines import Factory
    from anybudget.runs.run import Run


def create_run(recipe: Path, out_dir: Path | None, overrides: Sequence[str] | None, *, all_stages: bool = False) -> Run:
    """Start or resume a run; what is wrong with the data, the device or the budgets leaves no folder behind."""
    from anybudget.recipe import load_recipe
    from anybudget.storage.run_folder import RunFolder

    loaded = load_recipe(recipe, overrides or ())
    folder = RunFolder(out_dir or Path("runs") / recipe.stem)
    from anybudget.cli.terminal import RichProgress
    from anybudget.runs.checks import check_recipe
    from anybudget.runs.context import RunContext
    from anybudget.runs.run import Run

    if folder.exists():
        return Run.create(loaded, folder.path, RichProgress())
    planned = RunContext(folder, loaded, RichProgress())
    if all_stages:
        check_recipe(planned)
    _ = planned.device, planned.data
    planned.begin()
    return Run(planned)


def text_of(data: Path | None) -> str | None:
    """A path as a text."""
    return None if data is None else str(data)


def with_source(overrides: Sequence[str] | None, data: Path | None) -> list[str]:
    """Overrides of a recipe, with where its data lie."""
    return [*(overrides or ()), *([] if data is None else [f"data.source={json.dumps(str(data), ensure_ascii=False)}"])]


def open_run(path: Path, data: Path | None = None) -> Run:
    """Open a run."""
    from anybudget.storage.run_folder import RunFolder

    RunFolder.open(path)  # a wrong path is said before torch is imported
    from anybudget.cli.terminal import RichProgress
    from anybudget.runs.run import Run

    return Run.open(path, RichProgress(), data=text_of(data))


@contextmanager
def engine_of(name: str, address: str | None, workers: int | None) -> Iterator[Factory | None]:
    """What gives a run its engine, whose workers end with this; None evaluates on this machine."""
    from anybudget.evaluation.engines import engine_factory

    factory = engine_factory(name, address=address, workers=workers)
    try:
        yield factory
    finally:
        if factory is not None:
            factory.close()


def with_engine(opened: Run, engine: Factory | None, workers: int | None) -> Run:
    """A run whose candidates an engine evaluates or, if None, so many workers of this machine, which train, too."""
    opened.engine = engine
    opened.workers = workers if engine is None else None
    return opened


def open_or_create(target: Path, out_dir: Path | None, overrides: Sequence[str] | None, data: Path | None) -> Run:
    """Open a run folder, or start a run from a recipe."""
    if not target.is_dir():
        return create_run(target, out_dir, with_source(overrides, data))
    if out_dir is not None or overrides:
        raise ConfigError(f"{target} is a run folder with a recipe of its own; --out and --set need a recipe (.toml)")
    return open_run(target, data)


def budgets_of(opened: Run, texts: Sequence[str] | None) -> list[BudgetSet]:
    """The budgets that were given, or the recipe's."""
    from anybudget.budgets import BudgetSet

    return [BudgetSet.parse(text, opened.costs) for text in texts] if texts else opened.recipe.budget_sets()


def counts_of(text: str) -> list[int]:
    """Numbers separated by commas."""
    try:
        counts = [int(part) for part in text.split(",")]
    except ValueError:
        counts = []
    if not counts or min(counts) < 1:
        raise ConfigError(f"--images {shown(text)}: write numbers above 0, separated by commas, such as 100,200,500")
    return counts


def references_of(opened: Run, texts: Sequence[str] | None) -> list[tuple[str, Architecture]]:
    """The architectures of files that are given as NAME=FILE, each with its name.

    Raises:
        ConfigError: a text is not of this form.
    """
    from anybudget.spaces.files import read_architectures

    found = []
    for text in texts or ():
        name, equals, file = text.partition("=")
        if not (name.strip() and equals and file.strip()):
            raise ConfigError(f"--reference {shown(text)}: write NAME=FILE, such as mobilenet=mobilenet.json")
        read = read_architectures(Path(file.strip()), opened.space)
        found += [(name.strip(), architecture) for architecture in read]
    return found


def once(opened: Run, stage: str, work: Any) -> None:
    """Run a stage that has not been finished."""
    if opened.folder.finished(stage):
        out.print(f"{stage}: finished before, kept; start anew with another --out")
        return
    work()
    out.print(f"{stage}: done, in {opened.folder.path}", markup=False)
