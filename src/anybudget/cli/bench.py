"""The command `bench`, and the tables that it prints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from anybudget.cli.options import JsonOption, SetOption
from anybudget.cli.terminal import RichProgress, new_table, out, show

if TYPE_CHECKING:
    from anybudget.storage.records import Bench, Figure, OrderFigures


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
    as_json: JsonOption = False,
) -> None:
    """Hold supernets and strategies against the truth of a tabular benchmark; truth is used for scoring only."""
    from anybudget.runs.bench import load_track, run_bench

    loaded = load_track(benchmark, track, overrides or ())
    folder = out_dir or Path("runs") / f"bench-{benchmark}-{Path(track).stem}"
    found = run_bench(loaded, table, data, folder, seeds=seeds, progress=RichProgress())
    if as_json:
        out.print_json(found.model_dump_json())
        return
    print_bench(found)
    out.print(f"report: {folder / 'bench.html'}", markup=False)


def print_bench(found: Bench) -> None:
    """Print what a bench found: how well scores order networks, then what answers are worth."""
    images = found.images
    out.print(
        f"{found.benchmark}, {found.track} track: {len(found.seeds)} seed(s), {found.networks:,} distinct networks, "
        f"{images['train']:,} training and {images['validation']:,} validation images; a supernet trains for "
        f"{_said(found.training_seconds, 0)} s, and all networks are scored in {_said(found.scoring_seconds, 0)} s"
    )
    title = "order of all networks, against truth"
    table = new_table(title, ("by", "Kendall", "Spearman", "Kendall in the top 10%", "P@5%"))
    rows: list[tuple[str, OrderFigures]] = [
        *((f"supernet, {name}", order) for name, order in found.order.items()),
        *((f"loss rank and {b.floor}, weight {_weights(b.weights)}", b.order) for b in found.blends),
        *((f"floor: {name}", order) for name, order in found.floors.items()),
        *([("ceiling: one training", found.ceiling)] if found.ceiling else []),
    ]
    for name, order in rows:
        table.add_row(name, *(_said(f, 3) for f in (order.kendall, order.spearman, order.top_kendall, order.precision)))
    show(table)
    _print_strategies(found)
    table = new_table("mean regret of the truly best among the first by score, points", ("score", *found.first["loss"]))
    for name, figures in found.first.items():
        table.add_row(name, *(_said(figure, 3) for figure in figures.values()))
    show(table)


def _print_strategies(found: Bench) -> None:
    title = f"answers to {len(found.limits)} budgets, in truth (points of accuracy)"
    columns = ("strategy", "mean regret", "worst", "equivalent N", "hypervolume", "violations", "judged", "images", "s")
    table = new_table(title, columns)
    for strategy in found.strategies:
        spent = strategy.spent
        table.add_row(
            strategy.name,
            _said(strategy.regret, 3),
            _said(strategy.worst, 2),
            f"{strategy.equivalent:,}",
            _said(strategy.hypervolume_ratio, 4),
            str(strategy.violations),
            *(
                ["", "", ""]
                if spent is None
                else [f"{spent.evaluations:,.0f}", f"{spent.images:.3g}", f"{spent.seconds:.0f}"]
            ),
        )
    for count, regret in found.random.items():
        table.add_row(f"random, {count} true evaluation(s)", f"{regret:.3f}", "", count, *[""] * 5)
    show(table)


def _said(figure: Figure, decimals: int) -> str:
    """A mean with its standard error."""
    if figure.mean is None:
        return ""
    error = "" if figure.error is None else f" ± {figure.error:.{decimals}f}"
    return f"{figure.mean:.{decimals}f}{error}"


def _weights(weights: Sequence[float]) -> str:
    """The weights of the seeds; one where all are the same."""
    return ", ".join(dict.fromkeys(f"{weight:.2g}" for weight in weights))
