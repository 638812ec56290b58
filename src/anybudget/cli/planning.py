"""The commands `init` and `estimate`: a recipe from data and a machine, and what a recipe takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from anybudget.cli.opening import with_source
from anybudget.cli.options import DataOption, JsonOption, RecipeArgument, SetOption, WorkersOption
from anybudget.cli.streams import out
from anybudget.errors import ConfigError

if TYPE_CHECKING:
    from anybudget.planning.timing import Time
    from anybudget.runs.estimate import Estimate

HOURS = 1.0
"""For how long a run is planned where nobody says."""


def init(
    data: Annotated[str, typer.Argument(metavar="DATA", help="A folder, a file, or the name of a registered source.")],
    out_file: Annotated[
        Path | None, typer.Option("--out", metavar="RECIPE.toml", help="The recipe; default NAME-OF-DATA.toml.")
    ] = None,
    hours: Annotated[float, typer.Option("--hours", help="How long a whole run may take.")] = HOURS,
    budget: Annotated[
        list[str] | None,
        typer.Option("--budget", "-b", metavar="BUDGETS", help='Hard limits, such as "macs<=2M"; repeatable.'),
    ] = None,
    like: Annotated[
        str | None, typer.Option("--like", metavar="NETWORK", help='As costly as this: "mobilenetv2 x0.5", sgnas-a.')
    ] = None,
    device: Annotated[str, typer.Option("--device", help="Where networks are trained: auto, cpu, cuda.")] = "auto",
    force: Annotated[bool, typer.Option("--force", help="Replace a recipe that is there.")] = False,
) -> None:
    """Write a recipe from the data and this machine, every value with its reason; then: anybudget run RECIPE."""
    from anybudget.cli.terminal import RichProgress
    from anybudget.runs.planning import Asked, name_of, plan
    from anybudget.storage.files import write_whole

    path = out_file or Path(f"{name_of(data)}.toml")
    if path.suffix != ".toml":
        raise ConfigError(f"--out {path}: a recipe is a TOML file: give a name that ends with .toml")
    if path.exists() and not force:
        raise ConfigError(f"{path}: is there already; give another --out, or --force to replace it")
    planned = plan(data, Asked(hours, tuple(budget or ()), like, device), RichProgress())
    write_whole(path, planned.text.encode())
    print_estimate(planned.estimate)
    out.print(f"recipe: {path}; then: anybudget run {path}", markup=False)


def estimate(
    recipe: RecipeArgument,
    seconds: Annotated[float, typer.Option("--seconds", min=1, max=3600, help="How long steps are timed.")] = 30.0,
    overrides: SetOption = None,
    as_json: JsonOption = False,
    workers: WorkersOption = None,
    data: DataOption = None,
) -> None:
    """Show what a recipe takes, by a probe of some seconds: time of each stage, memory, disk; nothing is written."""
    from anybudget.cli.terminal import RichProgress
    from anybudget.recipe import load_recipe
    from anybudget.runs.context import RunContext
    from anybudget.runs.estimate import estimate as estimate_run
    from anybudget.storage.run_folder import RunFolder

    loaded = load_recipe(recipe, with_source(overrides, data))
    run = RunContext(RunFolder(Path("runs") / recipe.stem), loaded, RichProgress())
    run.asked_workers = workers
    found = estimate_run(run, seconds)
    if as_json:
        out.print_json(json.dumps(found.to_dict()))
    else:
        print_estimate(found)


def print_estimate(found: Estimate) -> None:
    """Print what a run takes."""
    from anybudget.cli.terminal import new_table, show
    from anybudget.runs.environment import size

    table = new_table("what a run takes here", ("stage", "time", "processor time", "images trained"))
    for stage, took in found.stages.items():
        images = found.images_trained.get(stage)
        table.add_row(stage, *_range(found.least[stage], took), "" if images is None else f"{images:,}")
    table.add_row("all", *_range(found.least_total, found.total), "")
    show(table)
    if found.least_total != found.total:
        out.print("a range begins where all budgets share one answer, and ends where no two share any", markup=False)
    device = f", {size(found.device_bytes)} on {found.device}" if found.device_bytes else ""
    out.print(
        f"memory: {size(found.memory_bytes)}{device}; disk: {size(found.disk_bytes)} at most; {found.workers} "
        f"worker(s), the supernet with {found.threads} thread(s)",
        markup=False,
    )
    for note in found.notes:
        out.print(f"note: {note}", markup=False)


def _range(least: Time, most: Time) -> tuple[str, str]:
    """Seconds that pass and those of processors, as ranges where they are some."""
    pairs = ((least.seconds, most.seconds), (least.processor_seconds, most.processor_seconds))
    passed, spent = (" to ".join(dict.fromkeys(map(_duration, pair))) for pair in pairs)
    return passed, spent


def _duration(seconds: float) -> str:
    """A time for people."""
    if seconds < 90:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
