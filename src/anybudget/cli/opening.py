"""What commands open: runs, engines and budgets; torch is imported only where it is needed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anybudget.cli.streams import err, out
from anybudget.errors import ConfigError, DataError, RunError, shown

if TYPE_CHECKING:
    from anybudget.architecture import Architecture
    from anybudget.budgets import BudgetSet
    from anybudget.evaluation.engines import Factory
    from anybudget.recipe import Recipe
    from anybudget.runs.run import Run

PLANNED = "planned.toml"
"""The file in a run folder that has the recipe that was planned for its data, with the reasons."""


def create_run(recipe: Path, out_dir: Path | None, overrides: Sequence[str] | None, *, all_stages: bool = False) -> Run:
    """Start or resume a run; what is wrong with the data, the device or the budgets leaves no folder behind."""
    from anybudget.recipe import load_recipe

    loaded = load_recipe(recipe, overrides or ())
    return begin_run(loaded, out_dir or Path("runs") / recipe.stem, all_stages=all_stages)


def begin_run(loaded: Recipe, path: Path, *, all_stages: bool) -> Run:
    """Start the run of a recipe at `path`, or resume the one that is there."""
    from anybudget.cli.terminal import RichProgress
    from anybudget.runs.checks import check_recipe
    from anybudget.runs.context import RunContext
    from anybudget.runs.run import Run
    from anybudget.storage.run_folder import RunFolder

    folder = RunFolder(path)
    if folder.exists():
        return Run.create(loaded, folder.path, RichProgress())
    planned = RunContext(folder, loaded, RichProgress())
    if all_stages:
        check_recipe(planned)
    _ = planned.device, planned.data
    planned.begin()
    return Run(planned)


def create_planned_run(data: Path, out_dir: Path | None, overrides: Sequence[str]) -> Run:
    """Start or resume a run on a data set, by a recipe that is planned for it and kept in the run folder."""
    from anybudget.cli.terminal import RichProgress
    from anybudget.recipe import settled_recipe
    from anybudget.runs.planning import Asked, name_of, plan
    from anybudget.storage.files import write_whole
    from anybudget.storage.run_folder import RunFolder
    from anybudget.storage.toml import read_toml

    folder = out_dir or Path("runs") / name_of(str(data))
    kept = folder / PLANNED
    if RunFolder(folder).exists() and not kept.is_file():
        raise RunError(f"{folder}: holds a run whose recipe was not planned for a data set; choose another --out")
    if kept.is_file():
        text = kept.read_text(encoding="utf-8")
    else:
        err.print(f"{data}: a data set; a recipe is planned for it, as anybudget init does, for one hour", markup=False)
        text = plan(str(data), Asked(), RichProgress()).text
    opened = begin_run(settled_recipe(read_toml(text, kept), kept, overrides), folder, all_stages=True)
    if not kept.is_file():
        write_whole(kept, text.encode())
        err.print(f"recipe: {kept}, every value with its reason", markup=False)
    return opened


def is_data(target: Path) -> bool:
    """Whether what `run` was given is a data set, and neither a recipe nor a run folder."""
    if target.suffix == ".toml" or (target / "recipe.toml").is_file():
        return False
    from anybudget.data.loading import kind_of

    try:
        kind_of(str(target))
    except DataError:
        return False
    return True


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
    from anybudget.decoding.reachability import parse_budgets

    return [parse_budgets(text, opened.costs) for text in texts] if texts else opened.recipe.budget_sets()


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
    """The architectures of files that are given as NAME=FILE, or networks of the zoo by name, each with its name.

    Raises:
        ConfigError: a text is neither, or a network of the zoo is not in the run's space.
    """
    from anybudget.spaces.files import read_architectures
    from anybudget.zoo import ZOO

    found = []
    for text in texts or ():
        if text in ZOO:
            found.append((text, _of_zoo(opened, text)))
            continue
        name, equals, file = text.partition("=")
        if not (name.strip() and equals and file.strip()):
            raise ConfigError(
                f"--reference {shown(text)}: write NAME=FILE, such as mobilenet=mobilenet.json, or a network of the "
                f"zoo: {', '.join(ZOO)}"
            )
        read = read_architectures(Path(file.strip()), opened.space)
        found += [(name.strip(), architecture) for architecture in read]
    return found


def _of_zoo(opened: Run, name: str) -> Architecture:
    """A network of the zoo as an architecture of the run's space, at the widths of that."""
    from anybudget.zoo import ZOO

    published = ZOO[name].found()
    if published is None or (published[0].name, published[0].decisions) != (opened.space.name, opened.space.decisions):
        raise ConfigError(
            f"--reference {name}: is no architecture of this run's space ({opened.space.name}, "
            f"{len(opened.space.decisions)} decisions); train it beside: anybudget retrain {opened.folder.path} "
            f"--zoo {name}"
        )
    return published[1]


def once(opened: Run, stage: str, work: Any) -> None:
    """Run a stage that has not been finished."""
    if opened.folder.finished(stage):
        out.print(f"{stage}: finished before, kept; start anew with another --out")
        return
    work()
    out.print(f"{stage}: done, in {opened.folder.path}", markup=False)
