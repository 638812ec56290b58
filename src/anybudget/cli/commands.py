"""The commands: one for each stage, tables or JSON.

What is large, such as torch and the tables, is imported inside the commands that need it, so that help is immediate.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from anybudget.cli.bench import bench
from anybudget.cli.data import data as data_app
from anybudget.cli.detecting import detect
from anybudget.cli.doctor import doctor
from anybudget.cli.export import export
from anybudget.cli.instant import ANSWERS, answer_instantly, judging
from anybudget.cli.opening import (
    budgets_of,
    counts_of,
    create_planned_run,
    create_run,
    engine_of,
    is_data,
    once,
    open_or_create,
    open_run,
    references_of,
    with_engine,
    with_source,
)
from anybudget.cli.options import (
    STRATEGY_HELP,
    AddressOption,
    BudgetOption,
    DataOption,
    EngineOption,
    InstantOption,
    JsonOption,
    OutOption,
    RaceOption,
    RecipeArgument,
    RunArgument,
    SetOption,
    TargetArgument,
    WorkersOption,
)
from anybudget.cli.planning import estimate, init
from anybudget.cli.profiling import latency, profile
from anybudget.cli.retraining import retrain
from anybudget.cli.streams import err, out
from anybudget.cli.zoo import papers, zoo
from anybudget.errors import AnyBudgetError, ConfigError, reason, shown

app = typer.Typer(
    help="Train one supernet, ask for any budget, get a network.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _say_version(wanted: bool) -> None:
    if wanted:
        from anybudget.storage.provenance import package_version

        out.print(package_version("anybudget"), markup=False)
        raise typer.Exit


@app.callback()
def begin(
    version: Annotated[  # noqa: ARG001 - its callback answers
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Print the version and exit.")
    ] = False,
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
    recipe: Annotated[
        Path, typer.Argument(metavar="RECIPE|DATA", help="A recipe, or a data set, for which a recipe is planned.")
    ],
    out_dir: OutOption = None,
    overrides: SetOption = None,
    engine: EngineOption = "local",
    address: AddressOption = None,
    workers: WorkersOption = None,
    data: DataOption = None,
) -> None:
    """Run all stages: supernet, generator if it is asked, search, random baseline, retraining, report."""
    with engine_of(engine, address, workers) as evaluating:
        changes = with_source(overrides, data)
        if is_data(recipe):
            opened = create_planned_run(recipe, out_dir, changes)
        else:
            opened = create_run(recipe, out_dir, changes, all_stages=True)
        with_engine(opened, evaluating, workers).run_all(err.print)
    from anybudget.cli.tables import print_results

    print_results(opened)
    out.print(f"report: {opened.folder.path / 'report.html'}", markup=False)


@app.command()
def space(
    recipe: RecipeArgument, budget: BudgetOption = None, overrides: SetOption = None, as_json: JsonOption = False
) -> None:
    """Show the size of a search space, what its networks cost, and whether budgets are reachable."""
    from anybudget.decoding.reachability import parse_budgets, space_summary
    from anybudget.recipe import load_recipe

    loaded = load_recipe(recipe, overrides or ())
    searched = loaded.build_space()
    costs = loaded.build_costs(searched, recipe.parent)
    given = [parse_budgets(text, costs) for text in budget] if budget else loaded.budget_sets()
    summary = space_summary(searched, costs, given, seed=loaded.seed)
    if as_json:
        out.print_json(json.dumps(summary))
        return
    from anybudget.cli.tables import print_space

    print_space(summary)


@app.command()
def supernet(
    target: TargetArgument, out_dir: OutOption = None, overrides: SetOption = None, data: DataOption = None
) -> None:
    """Train the supernet only."""
    opened = open_or_create(target, out_dir, overrides, data)
    once(opened, "supernet", opened.train_supernet)


@app.command()
def generator(target: RunArgument, data: DataOption = None) -> None:
    """Train the architecture generator against the trained supernet."""
    opened = open_run(target, data)
    once(opened, "generator", opened.train_generator)


@app.command()
def generate(
    target: RunArgument,
    budget: BudgetOption = None,
    race: RaceOption = None,
    instant: InstantOption = False,
    as_json: JsonOption = False,
    engine: EngineOption = "local",
    address: AddressOption = None,
    workers: WorkersOption = None,
    data: DataOption = None,
) -> None:
    """Answer budgets with the strategy of the recipe, the trained generator by default; never over any of them."""
    if instant:
        answer_instantly(target, budget, as_json=as_json, otherwise=judging(race, engine, address, workers, data))
        return
    with engine_of(engine, address, workers) as evaluating:
        opened = with_engine(open_run(target, data), evaluating, workers)
        candidates = opened.generate(budgets_of(opened, budget), race=race)
    if as_json:
        out.print_json(json.dumps([candidate.to_dict() for candidate in candidates]))
    else:
        from anybudget.cli.tables import print_candidates

        print_candidates([candidate.to_dict() for candidate in candidates], metric=opened.recipe.search.metric)


@app.command()
def search(
    target: RunArgument,
    strategy: Annotated[
        str | None, typer.Option(metavar="NAME", help=f"The recipe's if not given: {STRATEGY_HELP}")
    ] = None,
    budget: BudgetOption = None,
    race: RaceOption = None,
    instant: InstantOption = False,
    as_json: JsonOption = False,
    engine: EngineOption = "local",
    address: AddressOption = None,
    workers: WorkersOption = None,
    data: DataOption = None,
) -> None:
    """Answer budgets with any strategy; never over any of them."""
    if instant:
        otherwise = judging(race, engine, address, workers, data)
        answer_instantly(
            target, budget, as_json=as_json, strategy=ANSWERS if strategy is None else strategy, otherwise=otherwise
        )
        return
    with engine_of(engine, address, workers) as evaluating:
        opened = with_engine(open_run(target, data), evaluating, workers)
        asked = opened.recipe.search.strategy if strategy is None else strategy
        answers = opened.search_with(asked, budgets_of(opened, budget), race=race)
    candidates = [found.to_dict() for found in answers]
    if as_json:
        out.print_json(json.dumps(candidates))
    else:
        from anybudget.cli.tables import print_candidates

        print_candidates(candidates, metric=opened.recipe.search.metric)


@app.command()
def compare(
    target: RunArgument,
    strategies: Annotated[
        str, typer.Option(metavar="A,B,...", help="Which strategies: " + STRATEGY_HELP)
    ] = "generator,refined,random,evolution,nsga2,linear",
    budget: BudgetOption = None,
    race: RaceOption = None,
    as_json: JsonOption = False,
    engine: EngineOption = "local",
    address: AddressOption = None,
    workers: WorkersOption = None,
    data: DataOption = None,
) -> None:
    """Answer the same budgets with several strategies and compare what they find and spend."""
    names = [name.strip() for name in strategies.split(",") if name.strip()]
    with engine_of(engine, address, workers) as evaluating:
        opened = with_engine(open_run(target, data), evaluating, workers)
        found = opened.compare(names, budgets_of(opened, budget), race=race)
    report_path = opened.report()
    if as_json:
        out.print_json(json.dumps(found))
        return
    from anybudget.cli.tables import print_comparison

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
    snapshots: Annotated[
        bool, typer.Option("--snapshots", help="While it was trained, too: the epochs that supernet.snapshots kept.")
    ] = False,
    as_json: JsonOption = False,
    workers: WorkersOption = None,
    data: DataOption = None,
) -> None:
    """Show how well cheap scores order architectures, and how well the supernet's agree with ground truth."""
    opened = with_engine(open_run(target, data), None, workers)
    found = opened.rank(paths, counts_of(images), table, snapshots=snapshots)
    if as_json:
        out.print_json(json.dumps(found))
    else:
        from anybudget.cli.tables import print_ranking

        print_ranking(found)


@app.command()
def health(
    target: RunArgument,
    networks: Annotated[int, typer.Option(min=3, max=1000, help="Networks to train, of equal cost and of all.")] = 8,
    seeds: Annotated[int, typer.Option(min=1, max=100, help="How often each is trained.")] = 2,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs; the recipe's for retraining if not given.")] = None,
    budget: Annotated[
        str | None,
        typer.Option("--budget", "-b", metavar="BUDGETS", help="What equal cost is; the recipe's middle one."),
    ] = None,
    as_json: JsonOption = False,
    workers: WorkersOption = None,
    data: DataOption = None,
) -> None:
    """Show whether the supernet is a judge: how it orders networks that are trained alone."""
    opened = with_engine(open_run(target, data), None, workers)
    from anybudget.worth.health import HealthSettings

    budgets = budgets_of(opened, [budget])[0] if budget else None
    found = opened.health(HealthSettings(networks, seeds, epochs, budgets))
    report_path = opened.report()
    if as_json:
        out.print_json(json.dumps(found))
        return
    from anybudget.cli.health import print_health

    print_health(found)
    out.print(f"report: {report_path}", markup=False)


@app.command()
def worth(
    target: RunArgument,
    budget: BudgetOption = None,
    random: Annotated[
        int | None, typer.Option(min=2, help="Random networks for each budget; the recipe's, or 8, if not given.")
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Trainings of each network; the recipe's, or 2.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs; those of [worth] or [retrain].")] = None,
    scored: Annotated[
        int | None, typer.Option(min=0, help="Random networks of which the supernet's first is trained; 0 for none.")
    ] = None,
    reference: Annotated[
        list[str] | None,
        typer.Option("--reference", metavar="NAME=ARCH.json", help="Or NAME of the zoo: compare with; repeatable."),
    ] = None,
    strategy: Annotated[
        str | None, typer.Option(metavar="NAME", help="Answers of search/NAME.jsonl, not the run's own.")
    ] = None,
    as_json: JsonOption = False,
    engine: EngineOption = "local",
    address: AddressOption = None,
    workers: WorkersOption = None,
    data: DataOption = None,
) -> None:
    """Train answers beside random networks of their cost, and say what the search was worth."""
    with engine_of(engine, address, workers) as evaluating:
        opened = with_engine(open_run(target, data), evaluating, workers)
        from anybudget.runs.rivals import Question, asked_for

        settings = asked_for(opened.recipe.worth, random=random, seeds=seeds, epochs=epochs, scored=scored)
        asked = Question(settings, budgets_of(opened, budget), strategy, references_of(opened, reference))
        found = opened.worth(asked)
    report_path = opened.report()
    if as_json:
        out.print_json(json.dumps(found.to_json()))
        return
    from anybudget.cli.worth import print_worth

    print_worth(found)
    out.print(f"report: {report_path}", markup=False)


@app.command()
def report(target: RunArgument) -> None:
    """Write report.html from what the run folder holds."""
    from anybudget.report import write_report

    out.print(f"report: {write_report(target)}", markup=False)


app.add_typer(data_app, name="data")
app.command()(init)
app.command()(estimate)
app.command()(profile)
app.command()(latency)
app.command()(export)
app.command()(detect)
app.command()(doctor)
app.command()(bench)
app.command()(zoo)
app.command()(papers)
app.command()(retrain)
