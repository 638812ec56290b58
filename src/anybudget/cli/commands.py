"""The command line: one subcommand per stage, JSON, and how mistakes and stops end.

Torch is imported inside the commands that need it, so that help is immediate.
"""

from __future__ import annotations

import io
import json
import logging
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from anybudget.cli.tables import (
    OutputClosed,
    RichProgress,
    err,
    out,
    print_candidates,
    print_comparison,
    print_examination,
    print_ranking,
    print_results,
    print_retrained,
    print_space,
    printable,
)
from anybudget.errors import AnyBudgetError, ConfigError, reason, shorten, shown
from anybudget.search import STRATEGIES

if TYPE_CHECKING:
    from anybudget.budgets import BudgetSet
    from anybudget.evaluation.engines import Factory
    from anybudget.runs.run import Run

app = typer.Typer(
    help="Train one supernet, ask for any budget, get a network.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
STOPPED, TERMINATED, BROKEN_PIPE = 130, 143, 141
"""Exit codes after Ctrl-C, SIGTERM and SIGPIPE, as shells have them: 128 and the number of the signal."""

STRATEGY_HELP = ", ".join(STRATEGIES.builtin) + "; or one that a package or --import adds."

RecipeArgument = Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe, such as recipes/demo.toml.")]
RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.")]
SetOption = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a recipe key.")]
BudgetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--budget",
        "--budgets",
        "-b",
        metavar="BUDGETS",
        help='Hard limits, such as "macs<=2M, params<=100k"; repeatable.',
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON with stable keys instead of a table.")]
OutOption = Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Run folder; default runs/RECIPE-NAME.")]
TargetArgument = Annotated[
    Path, typer.Argument(metavar="RUN|RECIPE", help="A run folder, or a recipe (.toml) to start a run from.")
]


EngineOption = Annotated[
    str,
    typer.Option("--engine", metavar="[local|ray]", help="What evaluates candidates: this process, or Ray's workers."),
]
AddressOption = Annotated[
    str | None, typer.Option("--address", metavar="HOST:PORT", help="A Ray cluster to join; without, one is started.")
]
DataOption = Annotated[
    Path | None,
    typer.Option("--data", metavar="PATH", help="Where the run's data lie now, if they have moved; kept from then on."),
]
WorkersOption = Annotated[
    int | None, typer.Option("--workers", min=1, help="Ray's workers; as many as there are cores if not given.")
]


@app.callback()
def begin(
    modules: Annotated[
        list[str] | None,
        typer.Option(
            "--import",
            metavar="MODULE",
            help="A Python module to import first, for what it registers; repeatable.",
        ),
    ] = None,
) -> None:
    """Train one supernet, ask for any budget, get a network."""
    if modules:
        sys.path.append(str(Path.cwd()))  # last, so that a file here replaces no package
    for module in modules or ():
        try:
            import_module(module)
        except AnyBudgetError:
            raise
        except Exception as error:
            raise ConfigError(
                f"--import {shown(module)}: cannot be imported: {type(error).__name__}: {reason(error)}; name a module "
                "as Python's import does, in this folder or installed"
            ) from error


@app.command()
def run(
    recipe: RecipeArgument,
    out_dir: OutOption = None,
    overrides: SetOption = None,
    engine: EngineOption = "local",
    address: AddressOption = None,
    workers: WorkersOption = None,
    data: DataOption = None,
) -> None:
    """Run all stages: supernet, generator, search, random baseline, retraining, report."""
    with _engine(engine, address, workers) as evaluating:
        opened = _create(recipe, out_dir, _with_source(overrides, data), all_stages=True)
        opened.engine = evaluating
        opened.run_all(err.print)
    print_results(opened)
    out.print(f"report: {opened.folder.path / 'report.html'}", markup=False)


@app.command()
def space(
    recipe: RecipeArgument, budget: BudgetOption = None, overrides: SetOption = None, as_json: JsonOption = False
) -> None:
    """Show the size of a search space, what its networks cost, and whether budgets are reachable."""
    from anybudget.budgets import BudgetSet
    from anybudget.decoding.reachability import space_summary
    from anybudget.recipe import load_recipe

    loaded = load_recipe(recipe, overrides or ())
    searched = loaded.build_space()
    costs = loaded.build_costs(searched, recipe.parent)
    given = [BudgetSet.parse(text, costs) for text in budget] if budget else loaded.budget_sets()
    summary = space_summary(searched, costs, given, seed=loaded.seed)
    if as_json:
        out.print_json(json.dumps(summary))
        return
    print_space(summary)


@app.command()
def supernet(
    target: TargetArgument, out_dir: OutOption = None, overrides: SetOption = None, data: DataOption = None
) -> None:
    """Train the supernet only."""
    opened = _open_or_create(target, out_dir, overrides, data)
    _once(opened, "supernet", opened.train_supernet)


@app.command()
def generator(target: RunArgument, data: DataOption = None) -> None:
    """Train the architecture generator against the trained supernet."""
    opened = _open(target, data)
    _once(opened, "generator", opened.train_generator)


@app.command()
def generate(
    target: RunArgument,
    budget: BudgetOption = None,
    as_json: JsonOption = False,
    engine: EngineOption = "local",
    address: AddressOption = None,
    workers: WorkersOption = None,
    data: DataOption = None,
) -> None:
    """Answer budgets with the trained generator; never over any of them."""
    with _engine(engine, address, workers) as evaluating:
        opened = _open_for(target, evaluating, data)
        candidates = opened.generate(_budgets(opened, budget))
    if as_json:
        out.print_json(json.dumps([candidate.to_dict() for candidate in candidates]))
    else:
        print_candidates([candidate.to_dict() for candidate in candidates])


@app.command()
def search(
    target: RunArgument,
    strategy: Annotated[str, typer.Option(metavar="NAME", help=STRATEGY_HELP)] = "generator",
    budget: BudgetOption = None,
    as_json: JsonOption = False,
    engine: EngineOption = "local",
    address: AddressOption = None,
    workers: WorkersOption = None,
    data: DataOption = None,
) -> None:
    """Answer budgets with any strategy; never over any of them."""
    with _engine(engine, address, workers) as evaluating:
        opened = _open_for(target, evaluating, data)
        candidates = [found.to_dict() for found in opened.search_with(strategy, _budgets(opened, budget))]
    if as_json:
        out.print_json(json.dumps(candidates))
    else:
        print_candidates(candidates)


@app.command()
def compare(
    target: RunArgument,
    strategies: Annotated[
        str, typer.Option(metavar="A,B,...", help="Which strategies: " + STRATEGY_HELP)
    ] = "generator,refined,random,evolution,nsga2,linear",
    budget: BudgetOption = None,
    as_json: JsonOption = False,
    engine: EngineOption = "local",
    address: AddressOption = None,
    workers: WorkersOption = None,
    data: DataOption = None,
) -> None:
    """Answer the same budgets with several strategies and compare what they find and spend."""
    names = [name.strip() for name in strategies.split(",") if name.strip()]
    with _engine(engine, address, workers) as evaluating:
        opened = _open_for(target, evaluating, data)
        found = opened.compare(names, _budgets(opened, budget))
    report_path = opened.report()
    if as_json:
        out.print_json(json.dumps(found))
        return
    print_comparison(found)
    out.print(f"report: {report_path}", markup=False)


@app.command()
def rank(
    target: RunArgument,
    paths: Annotated[int, typer.Option(min=3, help="Random architectures to order.")] = 100,
    images: Annotated[str, typer.Option(metavar="N,N,...", help="Validation images to order them by.")] = "100,200,500",
    table: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Ground truth: NAS-Bench-Macro's JSON or NAS-Bench-201's .npz.")
    ] = None,
    as_json: JsonOption = False,
    data: DataOption = None,
) -> None:
    """Show how well cheap scores order architectures, and how well the supernet's agree with ground truth."""
    opened = _open(target, data)
    found = opened.rank(paths, _counts(images), table)
    if as_json:
        out.print_json(json.dumps(found))
    else:
        print_ranking(found)


@app.command()
def retrain(
    target: RunArgument,
    architecture: Annotated[Path, typer.Argument(metavar="ARCH.json", help="An architecture, or generate's JSON.")],
    inherit: Annotated[
        bool | None, typer.Option("--inherit/--scratch", help="Start from the supernet's weights, or afresh.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs; the recipe's if not given.")] = None,
    as_json: JsonOption = False,
    data: DataOption = None,
) -> None:
    """Train architectures on their own and measure them on the test split."""
    opened = _open(target, data)
    from anybudget.spaces.files import read_architectures

    results = [
        opened.retrain(found, inherit=inherit, epochs=epochs)
        for found in read_architectures(architecture, opened.space)
    ]
    if as_json:
        out.print_json(json.dumps(results))
    else:
        print_retrained(results)


@app.command()
def report(target: RunArgument) -> None:
    """Write report.html from what the run folder holds."""
    from anybudget.report import write_report

    out.print(f"report: {write_report(target)}", markup=False)


@app.command()
def doctor(
    target: Annotated[
        Path | None, typer.Argument(metavar="RUN", help="The folder of a run to look at, besides the installation.")
    ] = None,
    as_json: JsonOption = False,
    data: Annotated[
        Path | None, typer.Option("--data", metavar="PATH", help="Where to look for the run's data; not kept.")
    ] = None,
) -> None:
    """Show what anybudget runs on, and whether a run folder is sound and can be resumed; changes nothing."""
    from anybudget.runs.doctor import examine

    if data is not None and target is None:
        raise ConfigError("--data: says where the data of a run lie; name the run, too")
    found = examine(target, data=_text(data))
    if as_json:
        out.print_json(json.dumps(found))
    else:
        print_examination(found)
    if found["problems"]:
        sys.exit(2)


def main() -> None:
    """Run the command line; a user's mistake gives one message and exit code 2, Ctrl-C exit code 130, SIGTERM 143."""
    from anybudget.runtime.signals import Stopped
    from anybudget.storage.files import is_main_process

    _write_any_character()
    _divert_native_output()
    # Of several processes that train together, one speaks.
    out.quiet = err.quiet = not is_main_process()
    logger = logging.getLogger("anybudget")
    logger.handlers = [_Notices()]
    logger.propagate = False
    logger.setLevel(logging.INFO)
    code: object = 0
    try:
        code = app(prog_name="anybudget", standalone_mode=False)
        sys.stdout.flush()  # here, so that a full disk is said, and not when Python ends
    except Stopped as stop:
        code = stop.exit_code
    except AnyBudgetError as error:
        _fail(str(error))
    except typer.Exit as stop:
        sys.exit(stop.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        code = STOPPED
    except (BrokenPipeError, OutputClosed):
        _forget_output()
        sys.exit(BROKEN_PIPE)
    except OSError as error:  # a name too long for the system, a folder where a file should be, no permission
        _forget_output()
        _fail(f"{shorten(str(error.filename))}: {reason(error)}" if error.filename else reason(error))
    except Exception as error:
        # Click's usage errors know how to print themselves, with the usage line, and carry exit code 2.
        if not hasattr(error, "show"):
            raise
        error.show()
        sys.exit(getattr(error, "exit_code", 2))
    if code in (STOPPED, TERMINATED):  # Typer turns a Ctrl-C that nobody has noted into this return value
        err.print("stopped; what has been saved is kept, run the same command again to resume", markup=False)
        sys.exit(code)


class _Notices(logging.Handler):
    """What the user should know though the work goes on, on standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one notice."""
        err.print(f"note: {record.getMessage()}", style="yellow", markup=False)


def _fail(message: str) -> NoReturn:
    """Print the one message of a mistake and exit; on one line, whatever characters files and arguments hold."""
    line = printable(message)
    line = re.sub(r"\S{400,}", lambda match: f"{match[0][:120]}…{match[0][-120:]}", line)  # a path may be any length
    err.print(f"error: {line}", style="bold red", markup=False)
    sys.exit(2)


def _forget_output() -> None:
    """Give up what standard output has not taken yet: Python would try again when it ends, and complain."""
    with suppress(AttributeError, OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _write_any_character() -> None:
    """Let output in an encoding without some characters, such as ASCII, have them escaped instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _divert_native_output() -> None:
    """Send what native libraries print to standard error: standard output is for tables and JSON.

    HiGHS prints a line of its own now and then, from C, whatever it is told about logging.
    """
    try:
        if sys.stdout.fileno() != 1:
            return
    except (AttributeError, OSError, ValueError):
        return  # standard output has been replaced already, by a test or a notebook
    sys.stdout.flush()
    sys.stdout = os.fdopen(os.dup(1), "w", encoding=sys.stdout.encoding, errors=sys.stdout.errors)
    os.dup2(2, 1)


def _create(recipe: Path, out_dir: Path | None, overrides: Sequence[str] | None, *, all_stages: bool = False) -> Run:
    """Start or resume a run; what is wrong with the data, the device or the budgets leaves no folder behind."""
    from anybudget.recipe import load_recipe
    from anybudget.storage.run_folder import RunFolder

    loaded = load_recipe(recipe, overrides or ())
    folder = RunFolder(out_dir or Path("runs") / recipe.stem)
    from anybudget.runs.context import RunContext
    from anybudget.runs.run import Run

    if folder.exists():
        return Run.create(loaded, folder.path, RichProgress())
    planned = RunContext(folder, loaded, RichProgress())
    if all_stages:
        planned.check_recipe()
    _ = planned.device, planned.data
    planned.begin()
    return Run(planned)


def _text(data: Path | None) -> str | None:
    return None if data is None else str(data)


def _with_source(overrides: Sequence[str] | None, data: Path | None) -> list[str]:
    """Overrides of a recipe, with where its data lie."""
    return [*(overrides or ()), *([] if data is None else [f"data.source={json.dumps(str(data), ensure_ascii=False)}"])]


def _open(path: Path, data: Path | None = None) -> Run:
    from anybudget.storage.run_folder import RunFolder

    RunFolder.open(path)  # a wrong path is said before torch is imported
    from anybudget.runs.run import Run

    return Run.open(path, RichProgress(), data=_text(data))


@contextmanager
def _engine(name: str, address: str | None, workers: int | None) -> Iterator[Factory | None]:
    """What gives a run its engine, whose workers end with this; None evaluates in this process."""
    from anybudget.evaluation.engines import engine_factory

    factory = engine_factory(name, address=address, workers=workers)
    try:
        yield factory
    finally:
        if factory is not None:
            factory.close()


def _open_for(path: Path, engine: Factory | None, data: Path | None) -> Run:
    """Open a run whose candidates an engine evaluates."""
    opened = _open(path, data)
    opened.engine = engine
    return opened


def _open_or_create(target: Path, out_dir: Path | None, overrides: Sequence[str] | None, data: Path | None) -> Run:
    if not target.is_dir():
        return _create(target, out_dir, _with_source(overrides, data))
    if out_dir is not None or overrides:
        raise ConfigError(f"{target} is a run folder with a recipe of its own; --out and --set need a recipe (.toml)")
    return _open(target, data)


def _budgets(opened: Run, texts: Sequence[str] | None) -> list[BudgetSet]:
    """The budgets that were given, or the recipe's."""
    from anybudget.budgets import BudgetSet

    return [BudgetSet.parse(text, opened.costs) for text in texts] if texts else opened.recipe.budget_sets()


def _counts(text: str) -> list[int]:
    """Numbers separated by commas."""
    try:
        counts = [int(part) for part in text.split(",")]
    except ValueError:
        counts = []
    if not counts or min(counts) < 1:
        raise ConfigError(f"--images {shown(text)}: write numbers above 0, separated by commas, such as 100,200,500")
    return counts


def _once(opened: Run, stage: str, work: Any) -> None:
    if opened.folder.finished(stage):
        out.print(f"{stage}: finished before, kept; start anew with another --out")
        return
    work()
    out.print(f"{stage}: done, in {opened.folder.path}", markup=False)
