"""The command `bench`, and the tables that it prints."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from anybudget.cli.options import JsonOption, SetOption, WorkersOption
from anybudget.cli.streams import out

if TYPE_CHECKING:
    from anybudget.storage.records import Bench


def bench(
    benchmark: Annotated[str, typer.Argument(metavar="BENCHMARK", help="nas-bench-macro or nas-bench-201.")],
    table: Annotated[
        Path, typer.Option(metavar="FILE", help="The truth: NAS-Bench-Macro's JSON or NAS-Bench-201's .npz.")
    ],
    data: Annotated[
        str, typer.Option(metavar="PATH", help="CIFAR-10: a folder, an archive of arrays, or one of encoded images.")
    ],
    track: Annotated[
        str, typer.Option(metavar="quick|standard|FILE", help="How much of it; or a track's file.")
    ] = "quick",
    seeds: Annotated[int, typer.Option(min=1, max=100, help="Supernets that are trained, each from another seed.")] = 3,
    out_dir: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Folder; default runs/bench-BENCHMARK-TRACK.")
    ] = None,
    overrides: SetOption = None,
    workers: WorkersOption = None,
    as_json: JsonOption = False,
) -> None:
    """Hold supernets and strategies against the truth of a tabular benchmark; truth is used for scoring only."""
    from anybudget.cli.terminal import RichProgress
    from anybudget.runs.bench import load_track, run_bench

    loaded = load_track(benchmark, track, overrides or ())
    folder = out_dir or Path("runs") / f"bench-{benchmark}-{Path(track).stem}"
    found = run_bench(loaded, table, data, folder, seeds=seeds, progress=RichProgress(), workers=workers)
    if as_json:
        out.print_json(found.model_dump_json())
        return
    print_bench(found)
    out.print(f"report: {folder / 'bench.html'}", markup=False)


def print_bench(found: Bench) -> None:
    """Print what a bench found: how well scores order networks, then what answers are worth."""
    from anybudget.cli.terminal import new_table, show
    from anybudget.report.bench import ordered_by, said, scored_in_words

    images = found.images
    out.print(
        f"{found.benchmark}, {found.track} track: {len(found.seeds)} seed(s), {found.networks:,} distinct networks"
        f"{scored_in_words(found)}; {images['train']:,} training and {images['validation']:,} validation images; a "
        f"supernet trains for {said(found.training_seconds, 0)} s, and networks are scored in "
        f"{said(found.scoring_seconds, 0)} s"
    )
    title = f"order of {'all' if found.scored == found.networks else 'the scored'} networks, against truth"
    table = new_table(title, ("by", "Kendall", "Spearman", "Kendall in the top 10%", "P@5%"))
    for name, order in ordered_by(found):
        table.add_row(name, *(said(f, 3) for f in (order.kendall, order.spearman, order.top_kendall, order.precision)))
    show(table)
    _print_strategies(found)
    if not found.first:
        return
    table = new_table("mean regret of the truly best among the first by score, points", ("score", *found.first["loss"]))
    for name, figures in found.first.items():
        table.add_row(name, *(said(figure, 3) for figure in figures.values()))
    show(table)


def _print_strategies(found: Bench) -> None:
    from anybudget.cli.terminal import new_table, show
    from anybudget.report.bench import blend_name, other_columns, said, spent_on

    title = f"answers to {len(found.limits)} budgets, in truth (points of accuracy)"
    answers = ("strategy", "mean regret", "worst", "equivalent N", "hypervolume", "violations")
    table = new_table(title, (*answers, "judged", "images", "MACs", "time"))
    for strategy in found.strategies:
        table.add_row(
            strategy.name,
            said(strategy.regret, 3),
            said(strategy.worst, 2),
            f"{strategy.equivalent:,}",
            said(strategy.hypervolume_ratio, 4),
            str(strategy.violations),
            *spent_on(strategy),
        )
    for blend in found.blends:
        table.add_row(f"best by {blend_name(blend)}", said(blend.regret, 3))
    for count, regret in found.random.items():
        table.add_row(f"random, {count} true evaluation(s)", f"{regret:.3f}", "", count)
    show(table)
    if others := other_columns(found):
        table = new_table("answers to the largest budget, by other accuracies of the table (%)", ("strategy", *others))
        for strategy in found.strategies:
            table.add_row(strategy.name, *(said(strategy.others_percent[column], 2) for column in others))
        show(table)
