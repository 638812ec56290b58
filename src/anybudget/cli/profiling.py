"""The command `profile`, and the table of what it measured."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer

from anybudget.cli.options import DataOption, JsonOption, RunArgument, SetOption
from anybudget.cli.streams import out
from anybudget.errors import ConfigError

if TYPE_CHECKING:
    from anybudget.costs.latency import LatencyProfile
    from anybudget.recipe import Recipe
    from anybudget.spaces import SearchSpace

KIND, FILE = "latency", "latency.json"


def profile(
    target: Annotated[Path, typer.Argument(metavar="RUN|RECIPE", help="A run folder, or a recipe (.toml).")],
    runtime: Annotated[str, typer.Option("--runtime", help="onnxruntime, openvino or torch.")] = "onnxruntime",
    device: Annotated[str, typer.Option("--device", help="cpu or cuda.")] = "cpu",
    threads: Annotated[int, typer.Option("--threads", min=1, max=1024, help="Threads of a network.")] = 1,
    batch: Annotated[int, typer.Option("--batch", min=1, max=100_000, help="Images at once.")] = 1,
    precision: Annotated[str, typer.Option("--precision", help="fp32, or int8 with ONNX Runtime.")] = "fp32",
    seconds: Annotated[float, typer.Option("--budget-seconds", min=1, help="How long measuring may take.")] = 300.0,
    cost: Annotated[
        str | None, typer.Option("--cost", metavar="NAME", help="Which [costs.NAME] of the recipe this is for.")
    ] = None,
    out_file: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="The file; default what the recipe names.")
    ] = None,
    measurements: Annotated[
        Path | None,
        typer.Option(
            "--from-measurements", metavar="FILE.csv", help="Measure nothing: fit to networks measured elsewhere."
        ),
    ] = None,
    remote: Annotated[
        Path | None,
        typer.Option("--remote", metavar="FOLDER", help="Measure nothing: write what another device measures."),
    ] = None,
    measured: Annotated[
        Path | None,
        typer.Option("--read", metavar="FOLDER/measured.json", help="Measure nothing: read what it measured."),
    ] = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure a space on this machine: milliseconds of every network, and how far they can be relied on."""
    from anybudget.cli.terminal import RichProgress
    from anybudget.costs.latency import Precision
    from anybudget.latency.profiling import ProfileSettings, profile_space

    recipe, its_own = _recipe_of(target, overrides or ())
    path = out_file or _file_of(recipe, its_own, cost)
    if precision not in get_args(Precision):
        raise ConfigError(f"--precision {precision}: expected {' or '.join(get_args(Precision))}")
    space = recipe.build_space()
    if sum(given is not None for given in (measurements, remote, measured)) > 1:
        raise ConfigError("--from-measurements, --remote and --read: give one of them")
    if remote is not None:
        _write_remote(space, remote)
        return
    if measurements is None and measured is None:
        settings = ProfileSettings(runtime, device, threads, batch, cast(Precision, precision), seconds)
        found = profile_space(space, settings, path, RichProgress())
    else:
        found = _measured_elsewhere(space, measurements, measured, path)
    if as_json:
        out.print_json(found.model_dump_json())
        return
    print_profile(found)
    _print_file(recipe, path)


def _recipe_of(target: Path, overrides: Sequence[str]) -> tuple[Recipe, Path | None]:
    """The recipe of a run or in a file, and where this file is.

    Raises:
        ConfigError: it cannot be read; a run's recipe is to be changed.
    """
    from anybudget.recipe import load_unmeasured

    if not target.is_dir():
        return load_unmeasured(target, overrides), target
    if overrides:
        raise ConfigError(f"{target} is a run folder with a recipe of its own; --set needs a recipe (.toml)")
    return load_unmeasured(target / "recipe.toml"), None


def _write_remote(space: SearchSpace, folder: Path) -> None:
    """Write what another device measures, and say what to do with it."""
    from anybudget.cli.terminal import RichProgress
    from anybudget.latency.remote import write_folder

    write_folder(space, folder, RichProgress())
    out.print(f"copy {folder} to the device, run there: python measure.py, and copy measured.json back", markup=False)


def _measured_elsewhere(
    space: SearchSpace, measurements: Path | None, measured: Path | None, path: Path
) -> LatencyProfile:
    """The profile of what one of two files says was measured elsewhere, written to `path`."""
    from anybudget.cli.terminal import RichProgress
    from anybudget.latency.elsewhere import profile_of, read_measurements
    from anybudget.latency.profiling import text_of
    from anybudget.latency.remote import read_folder
    from anybudget.storage.files import write_whole

    if measurements is not None:
        found = profile_of(space, read_measurements(measurements, space), measurements.stem, RichProgress())
    else:
        assert measured is not None
        found = read_folder(space, measured, RichProgress())
    write_whole(path, text_of(found).encode())
    return found


def _print_file(recipe: Recipe, path: Path) -> None:
    """Print where the latencies are, and what a recipe without any has to say to limit them."""
    out.print(f"latencies: {path}", markup=False)
    if not any(kind == KIND for kind, _ in recipe.cost_tables().values()):
        table = f'[costs.latency_ms] with kind = "{KIND}" and file = "{path}"'
        out.print(f"to limit them, add to the recipe: {table}", markup=False)


def latency(target: RunArgument, as_json: JsonOption = False, data: DataOption = None) -> None:
    """Measure what a run has found within budgets on latencies, on this machine, and write the report."""
    from anybudget.cli.opening import open_run
    from anybudget.cli.tables import print_latencies

    opened = open_run(target, data)
    found = opened.measure_answers()
    report_path = opened.report()
    if as_json:
        out.print_json(json.dumps([{**row.to_json(), "kept": row.kept} for row in found]))
        return
    if not found:
        raise ConfigError(f"{target}: no answer has a budget on a latency that can be measured here")
    print_latencies(found)
    out.print(f"report: {report_path}", markup=False)


def _file_of(recipe: Recipe, at: Path | None, cost: str | None) -> Path:
    """The file that the recipe names for its latencies.

    Raises:
        ConfigError: it names several, and it is not said which; or none of this name.
    """
    files = {
        name: Path(table.file)  # type: ignore[attr-defined]
        for name, (kind, table) in recipe.cost_tables().items()
        if kind == KIND
    }
    if cost is not None and cost not in files:
        raise ConfigError(f"--cost {cost}: the recipe has latencies of {', '.join(files) or 'nothing'}")
    if at is None or (not files and cost is None):
        return Path(FILE)  # files of a run folder are its own
    if cost is None and len(files) > 1:
        raise ConfigError(f"the recipe names files of {', '.join(files)}: give --cost NAME, or --out FILE")
    return files[cost or next(iter(files))]


def print_profile(found: LatencyProfile) -> None:
    """Print how a space was measured, how well the model predicts, and what it can promise."""
    from anybudget.cli.terminal import new_table, show

    device, check = found.device, found.check
    out.print(
        f"{found.running} on {device.processor} ({device.cores} cores, load {' to '.join(map(str, device.load))})",
        markup=False,
    )
    if check is not None:
        table = new_table(
            f"predicted and measured quiet latency of {check.networks} networks that were not fitted",
            ("mean error", "within 3%", "within 10%", "tau", "tau of multiply-adds"),
        )
        table.add_row(
            f"{check.mape_percent:.2f}%",
            f"{check.within_3_percent:.1f}%",
            f"{check.within_10_percent:.1f}%",
            f"{check.tau:.3f}",
            f"{check.tau_macs:.3f}",
        )
        show(table)
    table = new_table("what is promised above predicted", ("quantity", "90%", "95%", "98%", "of that drift"))
    for name, promise in found.promises.items():
        margins = [_margin(promise, probability) for probability in (0.9, 0.95, 0.98)]
        table.add_row(name, *margins, f"{100 * promise.drift:.2f}%")
    show(table)


def _margin(promise: object, probability: float) -> str:
    from anybudget.costs.latency import Promise

    assert isinstance(promise, Promise)
    try:
        return f"{100 * promise.margin(probability):.2f}%"
    except ConfigError:
        return "too few networks"
